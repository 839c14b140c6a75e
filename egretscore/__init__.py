"""A consent-based personal credit score that is the sum of its reasons.

The whole public interface is here::

    import egretscore as es

    records = es.read_records(es.sample_records())
    engine = es.load_engine()
    engine.explain(records, records.invented["subject_id"], "2026-10-31").text("zh")

Importing it loads none of the libraries that only training needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egretscore.audit import Measures, Report
    from egretscore.benefits import Decision
    from egretscore.engine import Engine, load_engine
    from egretscore.errors import (
        ArgumentError,
        BundleError,
        EgretError,
        ForbiddenColumnError,
        PolicyError,
        RecordsError,
        TrainingError,
    )
    from egretscore.everyone.files import Outcome
    from egretscore.everyone.on_one_machine import score_everyone
    from egretscore.everyone.on_spark import score_on_spark
    from egretscore.explanation import Explanation, Reason, RecordEffect
    from egretscore.features import Feature
    from egretscore.policy import Benefit, Policy, read_policy, shipped_policy
    from egretscore.records import Records, read_records
    from egretscore.records.checked.store import SourceCount, UnmatchedObjection
    from egretscore.records.in_bulk.runs import Progress
    from egretscore.records.quarantine import Problem
    from egretscore.records.upkeep.adding import Added, add_records
    from egretscore.records.upkeep.keeping import Kept, keep_records
    from egretscore.records.upkeep.merging import Contradiction, Difference
    from egretscore.records.validating import Validated, validate_records
    from egretscore.scoring.bundle import Model
    from egretscore.shipped import sample_records
    from egretscore.simulate import simulate_town
    from egretscore.status import Status
    from egretscore.training.estimator import ScoreTableClassifier
    from egretscore.training.train import train

__version__ = "0.1.0"

# Where each public name lives: loaded when it is first used.
_HOMES = {
    "Added": "records.upkeep.adding",
    "ArgumentError": "errors",
    "Benefit": "policy",
    "BundleError": "errors",
    "Contradiction": "records.upkeep.merging",
    "Decision": "benefits",
    "Difference": "records.upkeep.merging",
    "EgretError": "errors",
    "Engine": "engine",
    "Explanation": "explanation",
    "Feature": "features",
    "ForbiddenColumnError": "errors",
    "Kept": "records.upkeep.keeping",
    "Measures": "audit",
    "Model": "scoring.bundle",
    "Outcome": "everyone.files",
    "Policy": "policy",
    "PolicyError": "errors",
    "Problem": "records.quarantine",
    "Progress": "records.in_bulk.runs",
    "Reason": "explanation",
    "RecordEffect": "explanation",
    "Records": "records",
    "RecordsError": "errors",
    "Report": "audit",
    "ScoreTableClassifier": "training.estimator",
    "SourceCount": "records.checked.store",
    "Status": "status",
    "TrainingError": "errors",
    "UnmatchedObjection": "records.checked.store",
    "Validated": "records.validating",
    "add_records": "records.upkeep.adding",
    "keep_records": "records.upkeep.keeping",
    "load_engine": "engine",
    "read_policy": "policy",
    "read_records": "records",
    "sample_records": "shipped",
    "score_everyone": "everyone.on_one_machine",
    "score_on_spark": "everyone.on_spark",
    "shipped_policy": "policy",
    "simulate_town": "simulate",
    "train": "training.train",
    "validate_records": "records.validating",
}

__all__ = [
    "Added",
    "ArgumentError",
    "Benefit",
    "BundleError",
    "Contradiction",
    "Decision",
    "Difference",
    "EgretError",
    "Engine",
    "Explanation",
    "Feature",
    "ForbiddenColumnError",
    "Kept",
    "Measures",
    "Model",
    "Outcome",
    "Policy",
    "PolicyError",
    "Problem",
    "Progress",
    "Reason",
    "RecordEffect",
    "Records",
    "RecordsError",
    "Report",
    "ScoreTableClassifier",
    "SourceCount",
    "Status",
    "TrainingError",
    "UnmatchedObjection",
    "Validated",
    "__version__",
    "add_records",
    "keep_records",
    "load_engine",
    "read_policy",
    "read_records",
    "sample_records",
    "score_everyone",
    "score_on_spark",
    "shipped_policy",
    "simulate_town",
    "train",
    "validate_records",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
