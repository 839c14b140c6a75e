"""The command line: ``arguments`` parses it, ``commands`` run it, ``terminal`` prints results and progress.

Exit status: 0 done; 1 bad input, with a message on stderr; 2 wrong usage; 3 from
``explain`` when the person is not scored; 130 interrupted.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from egretscore.cli.terminal import (
    BAD_INPUT,
    INTERRUPTED,
    WRONG_USAGE,
    complain,
    interrupts_noted,
    never_fail_to_print,
)
from egretscore.errors import ArgumentError, EgretError

__all__ = ["main"]

_LACKS_MEMORY = (
    "there is not enough memory. Give records of fewer people, or fewer dates, or use a machine with more memory."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    never_fail_to_print()
    interrupts: Sequence[int] = ()
    try:
        with interrupts_noted() as interrupts:
            from egretscore.cli.commands import run  # not before interrupts are noted: it takes a while

            return run(arguments)
    # A library may turn an interrupt into an error of its own.
    except (Exception, KeyboardInterrupt) as error:
        if interrupts or isinstance(error, KeyboardInterrupt):
            return complain("interrupted; give the same command again to finish", INTERRUPTED)
        if isinstance(error, EgretError):
            return complain(error, WRONG_USAGE if isinstance(error, ArgumentError) else BAD_INPUT)
        if isinstance(error, OSError):
            return complain(_what_failed(error), BAD_INPUT)
        if isinstance(error, MemoryError):
            return complain(_LACKS_MEMORY, BAD_INPUT)
        raise


def _what_failed(error: OSError) -> str:
    what = f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return f"{what}. Make room, and give the same command again." if full else what
