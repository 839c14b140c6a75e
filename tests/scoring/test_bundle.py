"""The bundle: text, hashed, never unpickled; altered by a byte it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import egretscore as es
from egretscore.features import declare_features, problems_of
from egretscore.scoring.bundle import MANIFEST, SEAL, bundle_files
from egretscore.scoring.tables import ScoreTable
from egretscore.shipped import shipped_model

FILES = sorted(file.name for file in shipped_model().iterdir())


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    return Path(shutil.copytree(shipped_model(), tmp_path_factory.mktemp("bundle") / "model"))


@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_changed_byte_in_any_file_is_refused(copy, name, where, change):
    file = copy / name
    whole = file.read_bytes()
    position = int(where * len(whole))
    file.write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])
    try:
        with pytest.raises(es.BundleError, match="manifest" if name == SEAL else name):
            es.load_engine(copy)
    finally:
        file.write_bytes(whole)


@given(st.sampled_from(FILES), st.sampled_from([b"", b"\n", b" "]))
def test_a_longer_or_shorter_file_is_refused(copy, name, added):
    file = copy / name
    whole = file.read_bytes()
    file.write_bytes(whole + added if added else whole[:-1])
    try:
        with pytest.raises(es.BundleError):
            es.load_engine(copy)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tmp_path, name):
    folder = Path(shutil.copytree(shipped_model(), tmp_path / "model"))
    (folder / name).unlink()
    with pytest.raises(es.BundleError, match="missing"):
        es.load_engine(folder)


def test_no_folder_at_all_is_refused(tmp_path):
    with pytest.raises(es.BundleError, match="nowhere"):
        es.load_engine(tmp_path / "nowhere")


def reseal(folder: Path, manifest: dict) -> None:
    import hashlib

    for name in manifest.get("files", ()):
        if (folder / name).is_file():
            manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / SEAL).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(format=99), "format"),
        (lambda m: m.update(format=None), "format"),
        (lambda m: m.pop("features"), "does not fit together"),
        (lambda m: m["features"].pop(), "does not fit together"),
        (lambda m: m["features"][0].update(direction=-1), "breaks a promise"),
        (lambda m: m["features"][0].update(direction=0), "breaks a promise"),
        (lambda m: m["features"][-1].update(prior=None), "a rate declares its prior"),
        (lambda m: m["features"][-1].update(aggregate="count"), "a rate declares its prior"),
        (lambda m: m.update(format=True), "format"),
        (lambda m: m.update(format=[1]), "format"),
        (lambda m: m.pop("files"), "does not fit together"),
        (lambda m: m["files"].pop("model.txt"), "parts of a model"),
        (lambda m: m["score"].update(lowest=0), "does not state what the tables give"),
        (lambda m: m["score"]["chances"].update({"550": 0.99}), "does not state what the tables give"),
        (lambda m: m["score"].update(points_per_log_odds=100), "does not state what the tables give"),
        (lambda m: m["files"].update({"../../etc/passwd": "0"}), "parts of a model"),
        (lambda m: m.update(name="xiamen-official"), "the name is"),
        (lambda m: m.update(invented="false"), "invented"),
        (lambda m: m.update(notice=""), "invented"),
        (lambda m: m.update(training={}), "does not fit together"),
        (lambda m: m["features"][0].update(indicator="elsewhere"), "no indicator"),
        (lambda m: m["features"][0].update(cap="5"), "in place of a whole number"),
        (lambda m: m["features"][0].update(cap=-5), "at most"),
        (lambda m: m["features"][0].update(cap=2**31), "at most"),
        (lambda m: m["features"][0].update(direction=True), "in place of a whole number"),
        (lambda m: m["features"][0].update(en=None), "in place of a text"),
        (lambda m: m["features"][0].update(column=1), "in place of a text"),
        (lambda m: m["features"][0]["where"].update(activity=[None]), "in place of a text"),
        (lambda m: m["features"][-1]["prior"].update(permille=850.0), "in place of a whole number"),
        (lambda m: m["features"][0].update(weights=[["365", 1]]), "not written as this model"),
        (lambda m: m.update(libraries=None), "versions of the libraries"),
        (lambda m: m.update(libraries={"numpy": 2}), "versions of the libraries"),
        (lambda m: m.update(notice="Trained on everyone."), "not written as this model"),
        (lambda m: m.update(approved_by="the mayor"), "not written as this model"),
        (lambda m: m["training"].update(seed=float("nan")), "does not fit together"),
        (lambda m: m.update(features=m.pop("features")), "not written as this model"),
        (lambda m: m["training"].pop("smallest_leaf_people"), "does not fit together"),
        (lambda m: m["training"].update(horizon_days="a year"), "in place of a figure"),
        (lambda m: m["training"].update(as_of=["lately", *m["training"]["as_of"][-1:]]), "does not fit together"),
        (lambda m: m["report"].update(learnt={}), "does not fit together"),
        (lambda m: m["report"]["held_out"].update(people="many"), "in place of a figure"),
        (lambda m: m["report"]["measures"].pop("score"), "does not measure the model"),
        (lambda m: m["report"]["measures"]["score"].update(auc=None), "in place of a figure"),
        (lambda m: m["report"]["measures"]["score"]["calibration"][0].update(observed="all"), "in place of a figure"),
        (lambda m: m["report"]["chances"].update(stated_error=True), "in place of a figure"),
        (lambda m: m["report"]["chances"]["bands"][0].update(snapshots="some"), "in place of a figure"),
        (lambda m: m["features"][0].update(code=m["features"][1]["code"]), "the same code"),
        (lambda m: m["features"][0].update(name=m["features"][1]["name"]), "does not fit together"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_even_when_resealed(tmp_path, change, says):
    folder = Path(shutil.copytree(shipped_model(), tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    reseal(folder, manifest)
    with pytest.raises(es.BundleError, match=says):
        es.load_engine(folder)


def test_a_tampered_table_is_refused_even_when_resealed(tmp_path):
    folder = Path(shutil.copytree(shipped_model(), tmp_path / "model"))
    scorecard = folder / "scorecard.csv"
    lines = scorecard.read_text(encoding="utf-8").splitlines()
    *cells, log_odds, points = lines[2].split(",")
    lines[2] = ",".join([*cells, str(float(log_odds) - 1), str(int(points) - 144)])
    scorecard.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reseal(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    with pytest.raises(es.BundleError, match=r"goes the wrong way|whole points"):
        es.load_engine(folder)


def a_table_twice(lines: list[str]) -> list[str]:
    first = next(line.split(",")[0] for line in lines[1:] if not line.split(",")[4])
    return [*lines, *(f"99,{rest}" for number, rest in (line.split(",", 1) for line in lines) if number == first)]


def a_gap(lines: list[str]) -> list[str]:
    return [line.replace(",civic_recent,93,", ",civic_recent,99,") for line in lines]


def a_column_more(lines: list[str]) -> list[str]:
    return [f"{line},0" for line in lines]


@pytest.mark.parametrize("change", [a_table_twice, a_gap, a_column_more])
def test_lines_that_a_pencil_adds_up_to_something_else_are_refused_even_when_resealed(tmp_path, change):
    folder = Path(shutil.copytree(shipped_model(), tmp_path / "model"))
    scorecard = folder / "scorecard.csv"
    lines = scorecard.read_text(encoding="utf-8").splitlines()
    assert change(lines) != lines
    scorecard.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")
    reseal(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    with pytest.raises(es.BundleError, match="lines of the scorecard"):
        es.load_engine(folder)


@pytest.mark.parametrize(
    ("declares", "says"),
    [
        ({"name": "religion_score"}, "promise 5"),
        *(({"name": name}, "cannot be called") for name in ("subject_id", 'a"b', "Unkept", "reason_a", "benefit_b")),
        ({"code": ""}, "code"),
        ({"zh": "宗教信仰"}, "promise 5"),
        ({"en": "monthly income"}, "promise 5"),
        ({"en": "points\n   999  = the score"}, "label"),
        ({"unit_en": "points\x1b[2K"}, "label"),
        ({"cap": 2**31}, "at most"),
        ({"weights": [[4000, 1]]}, "an age"),
        ({"weights": [[90, 10**18]]}, "a weight"),
        ({"where": {"activity": []}}, "different words"),
        ({"aggregate": "variety", "words": []}, "different words"),
        ({"aggregate": "variety", "words": [f"word_{number}" for number in range(63)]}, "different words"),
        ({"aggregate": "rate", "prior": {"permille": 9, "weight": 10**7, "against": [[365, 1]]}}, "starting value"),
        ({"aggregate": "rate", "prior": {"permille": 9, "weight": 12, "against": [[365, 101]]}}, "a weight"),
    ],
)
def test_a_declaration_that_no_policy_gives_is_refused_even_when_resealed(tmp_path, declares, says):
    """Months and words are bits of one whole number, and sums are whole numbers that must fit."""
    folder = Path(shutil.copytree(shipped_model(), tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    unused = next(f for f in manifest["features"] if f["name"] not in (folder / "scorecard.csv").read_text())
    unused.update(declares)
    reseal(folder, manifest)
    with pytest.raises(es.BundleError, match=says):
        es.load_engine(folder)


def test_what_a_policy_declares_is_allowed():
    assert [problem for feature in declare_features(es.shipped_policy()) for problem in problems_of(feature)] == []


def written_with(
    engine: es.Engine, folder: Path, change: Callable[[ScoreTable], ScoreTable], **of_feature: int
) -> Path:
    """Write the bundle of a model whose first table, and its feature's declaration, are changed: all hashes right."""
    model = engine.model
    card = model.scorecard
    first = next(table for table in card.log_odds.tables if len(table.features) == 1)
    tables = tuple(change(table) if table is first else table for table in card.log_odds.tables)
    features = tuple(
        replace(feature, **of_feature) if position in first.features else feature
        for position, feature in enumerate(card.features)
    )
    tampered = replace(card, features=features, log_odds=replace(card.log_odds, tables=tables))
    folder.mkdir()
    for name, text in bundle_files(replace(model, scorecard=tampered)).items():
        (folder / name).write_bytes(text.encode())
    return folder


def test_a_reward_turned_into_a_burden_is_refused_even_when_sealed(engine, tmp_path):
    """Turn a feature's direction and its table around together: the table goes one way, the wrong one."""

    def turned(table: ScoreTable) -> ScoreTable:
        return ScoreTable(table.features, -table.values)

    direction = engine.model.scorecard.features[
        next(table for table in engine.model.scorecard.log_odds.tables if len(table.features) == 1).features[0]
    ].direction
    folder = written_with(engine, tmp_path / "model", turned, direction=-direction)
    with pytest.raises(es.BundleError, match="goes the wrong way"):
        es.load_engine(folder)


def test_a_table_that_gives_the_blank_file_points_is_refused_even_when_sealed(engine, tmp_path):
    folder = written_with(engine, tmp_path / "model", lambda table: ScoreTable(table.features, table.values - 0.1))
    with pytest.raises(es.BundleError, match="blank file"):
        es.load_engine(folder)


def test_what_is_read_is_what_was_written(engine, tmp_path):
    engine.model.save(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (shipped_model() / name).read_bytes()
    assert es.load_engine(tmp_path / "again").sha256 == engine.sha256
    assert set(bundle_files(engine.model)) == set(FILES)


def test_a_model_that_was_changed_is_not_known_by_the_hash_of_the_one_that_was_read(tmp_path):
    model = es.load_engine().model
    changed = replace(model, training={**model.training, "seed": 1})
    changed.save(tmp_path / "model")
    assert changed.sha256 == es.load_engine(tmp_path / "model").sha256 != model.sha256


def test_saving_replaces_a_model_and_nothing_else(engine, tmp_path):
    engine.model.save(tmp_path / "model")
    engine.model.save(tmp_path / "model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(es.ArgumentError, match="something else"):
        engine.model.save(tmp_path / "other")
    (tmp_path / "other" / MANIFEST).write_text("{}")
    with pytest.raises(es.ArgumentError, match="something else"):
        engine.model.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "other"]


def test_format_1_stays_readable():
    """A copy of the bundle that was shipped in format 1, which did not state the chances."""
    folder = Path(__file__).parent / "bundles" / "format-1"
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["format"] == 1
    engine = es.load_engine(folder)
    assert engine.name == manifest["name"]
    assert engine.sha256 == (folder / SEAL).read_text(encoding="utf-8").split()[0]
    assert engine.model.report.chances is None


def test_a_bundle_of_format_1_that_does_not_state_what_its_tables_give_is_refused_even_when_resealed(tmp_path):
    folder = Path(shutil.copytree(Path(__file__).parent / "bundles" / "format-1", tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["score"]["lowest"] = 0
    reseal(folder, manifest)
    with pytest.raises(es.BundleError, match="does not state what the tables give"):
        es.load_engine(folder)


def test_format_2_is_what_is_written_and_states_the_chances(engine):
    """The shipped bundle is of format 2; when the format changes, a copy of it goes beside that of format 1."""
    manifest = json.loads((shipped_model() / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["format"] == 2
    chances = manifest["score"]["chances"]
    values = list(chances.values())
    assert values == sorted(values)
    assert chances["550"] == round(1 / (1 + np.exp(-manifest["score"]["blank_log_odds"])), 6)
    check = engine.model.report.chances
    assert sum(band.snapshots for band in check.bands) <= manifest["report"]["held_out"]["snapshots"]
    assert all(band.lowest // 50 * 50 == band.lowest for band in check.bands)


def test_nothing_on_the_way_in_can_unpickle():
    package = Path(es.__file__).parent
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import pickle" not in text
        # To count the cores is all that joblib is for.
        assert "joblib" not in text.replace("from joblib import effective_n_jobs", "")
        assert "allow_pickle" not in text


def test_the_seal_is_what_sha256sum_checks():
    import subprocess

    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    done = subprocess.run(["sha256sum", "-c", SEAL], cwd=shipped_model(), check=False, capture_output=True)  # noqa: S607 - the one on the path is meant
    assert done.returncode == 0
