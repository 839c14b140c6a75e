"""What a good analyst would write without this library: the same vectors in pandas and in polars.

The declarations of the features say what is counted; how it is counted is written here again, the
way one writes it in each library (``in_pandas.py``, ``in_polars.py``), and ``city.py`` holds the vectors
against ours. Nothing is checked and nobody's broken row is set aside: the peers are given good records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egretscore.features import Feature
from egretscore.policy import Policy
from egretscore.status import Settlement

# What a vector is made from; the rest of the columns is not read.
COLUMNS = {
    "consents": ["subject_id", "letter_version", "adult_confirmed", "granted_on", "withdrawn_on"],
    "civic_points": ["subject_id", "activity", "points", "earned_on", "recorded_on", "excluded_on"],
    "penalties": ["decision_no", "subject_id", "category", "fine_yuan", "decided_on", "effective_on", "revoked_on",
                  "repaired_on", "recorded_on"],
    "commitments": ["commitment_id", "subject_id", "kind", "due_on", "outcome", "outcome_on", "recorded_on"],
    "objections": ["table", "record_id", "subject_id", "filed_on", "resolved_on", "outcome"],
}  # fmt: skip


def counts_until(features: Sequence[Feature]) -> int:
    """Return from which age on, in days, no record counts in any of these features."""
    return max(days for feature in features for days, _ in feature.every_step)


def retention(policy: Policy) -> dict[str, int]:
    """Return for how many days a commitment stands, by how it was settled."""
    rules = policy.commitments
    return {
        Settlement.KEPT.value: np.iinfo(np.int64).max,
        Settlement.LATE.value: rules.late_retention_days,
        Settlement.PARTLY.value: rules.partly_retention_days,
        Settlement.OVERDUE.value: rules.unkept_retention_days,
        Settlement.UNFULFILLED.value: rules.unkept_retention_days,
    }
