"""The command line: ``arguments`` parses it, ``commands`` run it, ``terminal`` prints results and progress."""

from egretscore.cli.commands import main

__all__ = ["main"]
