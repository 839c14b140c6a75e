"""The command line: ``commands`` are what it does, ``arguments`` what can be typed, ``terminal`` how it speaks."""

from egretscore.cli.commands import main

__all__ = ["main"]
