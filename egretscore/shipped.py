"""What travels with the package: the sample town and the model trained on a larger one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from egretscore.errors import EgretError

SHIPPED_MODEL: Final = "invented-town"

_PACKAGE = Path(__file__).parent


def shipped_model() -> Path:
    """Return the folder of the shipped model, trained on an invented town."""
    return _shipped(f"models/{SHIPPED_MODEL}")


def sample_records() -> Path:
    """Return the folder of the sample town's records: about 2,000 invented residents.

    Returns
    -------
    Path

    Raises
    ------
    EgretError
        If it is missing: the package is not installed whole.
    """
    return _shipped("data/sample")


def _shipped(name: str) -> Path:
    # Installed, the folders lie inside the package; in a checkout, beside it.
    for place in (_PACKAGE / "shipped_files" / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise EgretError(
        "a folder that travels with the package is missing",
        file=_PACKAGE / "shipped_files" / name,
        remedy="Install egretscore again.",
    )
