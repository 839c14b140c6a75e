"""The documentation that follows from the code, a module for each page."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
