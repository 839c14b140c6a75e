"""Commands in a process of their own, killed at chosen points."""

from __future__ import annotations

import subprocess
import sys

STOPPED_AT = """
import os, signal, sys
from egretscore import writing
from egretscore.everyone import files, on_one_machine
from egretscore.records.in_bulk import runs
from egretscore.records.upkeep import adding, keeping
from egretscore.records.kept import folder
from egretscore.cli import main

def die_at(module, name, call, after):
    inner, calls = getattr(module, name), 0

    def dying(*arguments, **options):
        nonlocal calls
        calls += 1
        this = calls  # others may be called meanwhile
        if this == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*arguments, **options)
        if this == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, dying)

on_one_machine.parts_at_once = keeping.parts_at_once = lambda *_: 4
{deaths}
sys.exit(main(sys.argv[1:]))
"""


def run(arguments: list[str], deaths: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, which takes four parts at once, and let it die where it is told to."""
    program = STOPPED_AT.format(deaths=deaths)
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
