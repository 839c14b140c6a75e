"""A trained model and its bundle: a folder of text that is hashed, checked when read, and never unpickled.

::

    manifest.json      what the model is: declarations, training, report, the hash of every file
    manifest.sha256    the hash of the manifest, as ``sha256sum -c`` reads it
    scorecard.csv      the score tables: the published scorecard
    policy.toml        the policy it was trained under
    model.txt          LightGBM's own text, from which the tables were compiled

Changing the format: give it a new number in ``FORMAT`` and say in ``_STATED_IN`` what it states,
let ``_read`` read the old ones too, and keep a bundle of the old format for its test: bundles stay
readable for good. A change in how the manifest is written is a new format too, because a manifest
of the newest format must be, to the last character, what saving the model again would write.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from egretscore.audit import OURS, Report, as_stated
from egretscore.errors import BundleError, PolicyError
from egretscore.features import Feature, problems_of
from egretscore.paths import as_path
from egretscore.policy import Policy, parse_policy
from egretscore.scoring.scorecard import Scorecard, read_scorecard, write_scorecard
from egretscore.writing import MODEL_MARK, check_can_be_made, check_replaceable, whole_folder

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
SEAL: Final = MODEL_MARK
POLICY: Final = "policy.toml"
# What the manifest of each format states of the tables; since format 2 the report may hold the chances against
# later data.
_STATED_IN: Final = {
    1: {"blank_log_odds", "points_per_log_odds", "lowest", "highest"},
    2: {"blank_log_odds", "points_per_log_odds", "lowest", "highest", "chances"},
}
_PARTS: Final = ("model.txt", POLICY, "scorecard.csv")
_FILES: Final = (MANIFEST, SEAL, *_PARTS)
_LIBRARIES: Final = ("egretscore", "numpy", "duckdb", "lightgbm", "scikit-learn")
_NOT_A_MODEL: Final = (
    *(AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError),
    *(csv.Error, PolicyError),
)
_AGAIN: Final = "Get the model again from where it was published."
_NOTICE: Final = "Trained on invented records: it says nothing about real people."


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    Attributes
    ----------
    policy : Policy
    scorecard : Scorecard
        The tables that are the score.
    forest : str
        The LightGBM model the tables were compiled from, as LightGBM writes it.
    invented : bool
        Whether it was trained on invented records.
    training : Mapping
        Dates, horizon, seed, settings and the fingerprint of the training data.
    report : Report
    libraries : Mapping
        The versions of what it was trained with.
    """

    policy: Policy
    scorecard: Scorecard
    forest: str
    invented: bool
    training: Mapping[str, Any]
    report: Report
    libraries: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Model: {self.name}>"

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same hash."""
        return self.sha256 == other.sha256 if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def name(self) -> str:
        """The policy and the last training date; says so when the model is of invented records."""
        origin = "invented-" if self.invented else ""
        return f"{origin}{self.policy.name}-{self.policy.version}-{self.training['as_of'][-1]}"

    @cached_property
    def sha256(self) -> str:
        """The hash that identifies the model: that of its manifest, which holds the hash of every other file."""
        return _sha256(bundle_files(self)[MANIFEST])

    def save(self, folder: str | Path) -> None:
        """Write the model's bundle into a folder, whole or not at all.

        A bundle already there is replaced; a folder that holds anything else is refused.

        Parameters
        ----------
        folder : path

        Raises
        ------
        ArgumentError
            If it is not a path, or the folder holds something else, cannot be replaced, lies in one of ours, or is
            being written.
        """
        with whole_folder(as_path(folder, "a model goes into a folder"), replaces=_FILES) as scratch:
            for name, text in bundle_files(self).items():
                (scratch / name).write_bytes(text.encode())


def check_takes_a_model(folder: Path) -> None:
    """Raise if no model can be written into a folder: to be known before one is trained."""
    check_replaceable(folder, _FILES)
    check_can_be_made(folder)


def bundle_files(model: Model) -> Mapping[str, str]:
    """Return the files of a model's bundle: name to text."""
    parts = {
        "model.txt": model.forest,
        POLICY: model.policy.text,
        "scorecard.csv": write_scorecard(model.scorecard),
    }
    manifest = {
        "format": FORMAT,
        "name": model.name,
        "invented": model.invented,
        "notice": _NOTICE if model.invented else "",
        "score": _stated(model.scorecard),
        "features": [feature.to_dict() for feature in model.scorecard.features],
        "training": dict(model.training),
        "report": model.report.to_dict(),
        "libraries": model.libraries,
        "files": {name: _sha256(text) for name, text in sorted(parts.items())},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {**parts, MANIFEST: text, SEAL: f"{_sha256(text)}  {MANIFEST}\n"}


def _stated(card: Scorecard) -> dict[str, Any]:
    """Return the figures of the tables that the manifest states."""
    lowest, highest = card.points.bounds()
    return {
        "blank_log_odds": card.log_odds.base,
        "points_per_log_odds": card.points_per_log_odds,
        "lowest": int(lowest),
        "highest": int(highest),
        "chances": {str(score): as_stated(card.chance(score)) for score in card.stated_scores},
    }


def read_bundle(folder: str | Path) -> Model:
    """Read a model's bundle, having checked every byte of it.

    Raises
    ------
    BundleError
        If a file is missing or altered, the format is unknown, the tables break a promise, or the
        manifest is not the one that would be written of the model.
    """
    folder = Path(folder)
    manifest_text = _text_of(folder / MANIFEST)
    if _text_of(folder / SEAL) != f"{_sha256(manifest_text)}  {MANIFEST}\n":
        raise _altered(folder / MANIFEST)
    try:
        manifest = json.loads(manifest_text)
        _check_format(manifest, folder / MANIFEST)
        model = _read(manifest, _hashed_parts(manifest, folder))
        vars(model)["sha256"] = _sha256(manifest_text)  # that of the file: an older format is not written any more
        problem = next(model.scorecard.problems(), None)
        _check_name_and_notice(manifest, model)
        _check_features(model)
        _check_figures(model)
        written_again = None if problem else bundle_files(model)[MANIFEST]
    except _NOT_A_MODEL as error:
        why = error.problem if isinstance(error, PolicyError) else error  # its remedy is for who writes the policy
        raise BundleError(f"the model does not fit together ({why})", file=folder, remedy=_AGAIN) from error
    if problem:
        raise BundleError(f"the model breaks a promise: {problem}", file=folder, remedy=_AGAIN)
    stated = {name: said for name, said in _stated(model.scorecard).items() if name in _STATED_IN[manifest["format"]]}
    said = manifest["score"]
    if wrong := [name for name in {**stated, **said} if said.get(name, ...) != stated.get(name, ...)]:
        raise BundleError(
            f"the manifest does not state what the tables give: its {wrong[0]!r} is another",
            file=folder / MANIFEST,
            remedy=_AGAIN,
        )
    if manifest["format"] == FORMAT and manifest_text != written_again:
        raise BundleError(
            "the manifest is not written as this model's would be",
            file=folder / MANIFEST,
            expected="the bytes that saving the model again gives",
            remedy=_AGAIN,
        )
    return model


def _check_format(manifest: Mapping[str, Any], file: Path) -> None:
    found = manifest["format"]
    if type(found) is not int or found not in _STATED_IN:
        raise BundleError(
            "the model is of a format this version does not know",
            file=file,
            value=found,
            expected=f"format {' or '.join(map(str, _STATED_IN))}",
            remedy="Use a newer egretscore, or a model written for this one.",
        )


def _hashed_parts(manifest: Mapping[str, Any], folder: Path) -> Mapping[str, str]:
    listed = manifest["files"]
    if set(listed) != set(_PARTS):
        raise BundleError(
            "the manifest does not list the parts of a model",
            file=folder / MANIFEST,
            value=", ".join(sorted(listed)),
            expected=", ".join(sorted(_PARTS)),
        )
    parts = {name: _text_of(folder / name) for name in _PARTS}
    for name, text in parts.items():
        if _sha256(text) != listed[name]:
            raise _altered(folder / name)
    return parts


def _check_name_and_notice(manifest: Mapping[str, Any], model: Model) -> None:
    """Raise if the manifest's name, notice or libraries are not those of such a model."""
    if type(manifest["invented"]) is not bool or bool(manifest["notice"]) != manifest["invented"]:
        raise ValueError("the notice and the mark of invented records disagree")
    if manifest["name"] != model.name:
        raise ValueError(f"the name is {manifest['name']!r}, not {model.name!r}")
    libraries = manifest["libraries"]
    if not isinstance(libraries, dict) or not all(isinstance(version, str) for version in libraries.values()):
        raise ValueError(f"the versions of the libraries cannot be {libraries!r}")


def _check_figures(model: Model) -> None:
    """Raise if what is published of the training and of the report as a figure is none."""
    report, training = model.report, model.training
    sides = [side[what] for side in (report.learnt, report.held_out) for what in ("people", "snapshots")]
    every = [*report.measures.values(), *(bin_ for of in report.measures.values() for bin_ in of.calibration)]
    if report.chances is not None:
        every += [report.chances, *report.chances.bands]
    figures = [figure for of in every for figure in vars(of).values() if not isinstance(figure, tuple)]
    for found in (training["horizon_days"], training["smallest_leaf_people"], *sides, *figures):
        if type(found) not in (int, float):
            raise ValueError(f"{found!r} stands in place of a figure")
    if OURS not in report.measures:
        raise ValueError("the report does not measure the model")
    for day in (*training["as_of"], *report.learnt["as_of"], *report.held_out["as_of"]):
        date.fromisoformat(day)


def _check_features(model: Model) -> None:
    """Raise if a feature's declaration is not allowed, or two share a name or a code."""
    features, indicators = model.scorecard.features, {indicator.id for indicator in model.policy.indicators}
    for feature in features:
        problem = next(problems_of(feature), None)
        if problem is not None:
            raise ValueError(problem)
        if feature.indicator not in indicators:
            raise ValueError(f"the feature {feature.name!r} stands under no indicator of the policy")
    for what in ("name", "code"):
        if len({getattr(feature, what) for feature in features}) < len(features):
            raise ValueError(f"two features have the same {what}")


def _read(manifest: Mapping[str, Any], parts: Mapping[str, str]) -> Model:
    policy = parse_policy(parts[POLICY], origin=POLICY)
    features = tuple(Feature.from_dict(raw) for raw in manifest["features"])
    return Model(
        policy=policy,
        scorecard=read_scorecard(
            parts["scorecard.csv"], features, policy.scale, float(manifest["score"]["blank_log_odds"])
        ),
        forest=parts["model.txt"],
        invented=manifest["invented"],
        training=manifest["training"],
        report=Report.from_dict(manifest["report"]),
        libraries=manifest["libraries"],
    )


def _text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except FileNotFoundError as error:
        raise BundleError(
            "a file of the model is missing", file=file, expected="a folder that `egretscore train` wrote"
        ) from error
    except OSError as error:
        raise BundleError(
            f"a file of the model cannot be read ({error.strerror})",
            file=file,
            expected="a folder that `egretscore train` wrote, and that this process may read",
        ) from error
    except UnicodeDecodeError as error:
        raise _altered(file) from error


def _altered(file: Path) -> BundleError:
    return BundleError(
        "the file is not the one that was trained: its SHA-256 differs",
        file=file,
        remedy=_AGAIN,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries a model's bytes depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}
