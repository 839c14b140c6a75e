"""The documentation that follows from the code and from what was measured, a module for each page."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "benchmarks"))  # whose scripts say what their figures are
