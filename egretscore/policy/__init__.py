"""The policy: the rules a score depends on that are not learned from data.

A policy is one dated, versioned TOML file in which each entry names its source
(``xiamen.toml`` beside this module is the shipped one). Reading it is strict: an
unknown key, a missing source or a figure that would break a promise is an error.
"""

from egretscore.policy.model import (
    Activity,
    Benefit,
    Category,
    CommitmentRules,
    Grade,
    Group,
    Indicator,
    Kind,
    Letter,
    Policy,
    Scale,
    Severity,
    SeverityLevel,
    WeightsByAge,
    WeightSteps,
)
from egretscore.policy.reading import as_policy, parse_policy, read_policy, shipped_policy

__all__ = [
    "Activity",
    "Benefit",
    "Category",
    "CommitmentRules",
    "Grade",
    "Group",
    "Indicator",
    "Kind",
    "Letter",
    "Policy",
    "Scale",
    "Severity",
    "SeverityLevel",
    "WeightSteps",
    "WeightsByAge",
    "as_policy",
    "parse_policy",
    "read_policy",
    "shipped_policy",
]
