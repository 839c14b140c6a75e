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
    from egretscore.audit import Report
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
    from egretscore.everyone.in_parts import score_everyone
    from egretscore.explanation import Explanation, Reason
    from egretscore.policy import Policy, read_policy, shipped_policy
    from egretscore.records import Records, read_records
    from egretscore.records.kept.adding import add_records
    from egretscore.records.kept.keeping import keep_records
    from egretscore.scoring.bundle import Model
    from egretscore.shipped import sample_records
    from egretscore.simulate import simulate_town
    from egretscore.status import Status
    from egretscore.training.estimator import ScoreTableClassifier
    from egretscore.training.train import train

__version__ = "0.1.0"

# Where each public name lives: loaded when it is first used.
_HOMES = {
    "ArgumentError": "errors",
    "BundleError": "errors",
    "EgretError": "errors",
    "Engine": "engine",
    "Explanation": "explanation",
    "ForbiddenColumnError": "errors",
    "Model": "scoring.bundle",
    "Policy": "policy",
    "PolicyError": "errors",
    "Reason": "explanation",
    "Records": "records",
    "RecordsError": "errors",
    "Report": "audit",
    "ScoreTableClassifier": "training.estimator",
    "Status": "status",
    "TrainingError": "errors",
    "add_records": "records.kept.adding",
    "keep_records": "records.kept.keeping",
    "load_engine": "engine",
    "read_policy": "policy",
    "read_records": "records",
    "sample_records": "shipped",
    "score_everyone": "everyone.in_parts",
    "shipped_policy": "policy",
    "simulate_town": "simulate",
    "train": "training.train",
}

__all__ = [
    "ArgumentError",
    "BundleError",
    "EgretError",
    "Engine",
    "Explanation",
    "ForbiddenColumnError",
    "Model",
    "Policy",
    "PolicyError",
    "Reason",
    "Records",
    "RecordsError",
    "Report",
    "ScoreTableClassifier",
    "Status",
    "TrainingError",
    "__version__",
    "add_records",
    "keep_records",
    "load_engine",
    "read_policy",
    "read_records",
    "sample_records",
    "score_everyone",
    "shipped_policy",
    "simulate_town",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
