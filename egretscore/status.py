"""The status of a person, and how a commitment was settled."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Whether a person is scored, and if not, why."""

    SCORED = "scored"
    NOT_CONSENTED = "not_consented"
    WITHDRAWN = "withdrawn"
    NOT_ADULT = "not_adult"


class Settlement(StrEnum):
    """How a commitment stands on a date, from best to worst. Open ones do not stand at all."""

    KEPT = "kept"
    LATE = "late"
    PARTLY = "partly"
    OVERDUE = "overdue"
    UNFULFILLED = "unfulfilled"
