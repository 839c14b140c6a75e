"""Both READMEs, with the output of each command and Python line as it is now."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex

from egretscore.cli import main as egretscore
from pages import ROOT


def with_outputs(text: str) -> str:
    """Return a README with the output of each command and Python line as it is now."""
    text = re.sub(
        r"(<!-- output of: (egretscore [^\n]*) -->\n```text\n).*?(```)",
        lambda found: found[1] + _output_of(found[2]) + found[3],
        text,
        flags=re.DOTALL,
    )
    return re.sub(
        r"(<!-- python -->\n```python\n)(.*?)(```)",
        lambda found: found[1] + _python_session(found[2]) + found[3],
        text,
        flags=re.DOTALL,
    )


def _output_of(command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit), contextlib.chdir(ROOT):
        egretscore(shlex.split(command)[1:])
    return out.getvalue()


def _python_session(session: str) -> str:
    """Run the lines of an interactive session and return them with their output."""
    names: dict[str, object] = {}
    lines = []
    for example in doctest.DocTestParser().get_examples(session):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(example.source, "<README>", "single"), names)  # noqa: S102 - the README's own lines
        lines += [f">>> {example.source}", out.getvalue()]
    return "".join(lines)
