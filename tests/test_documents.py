"""What is written down is so: READMEs, generated documents, the notebook and the shipped model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import egretscore as es
from egretscore.cli import main
from egretscore.scoring.bundle import library_versions
from egretscore.shipped import shipped_model

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def documents() -> Mapping[Path, str]:
    import build

    return build.documents()


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "README.zh.md",
        "docs/city.md",
        "docs/records.md",
        "docs/features.md",
        "docs/policy.md",
        "docs/scorecard.md",
    ],
)
def test_a_generated_document_says_what_the_code_and_the_benchmarks_say(documents, name):
    assert (ROOT / name).read_text(encoding="utf-8") == documents[ROOT / name], "run `make docs`"


@pytest.fixture
def results(tmp_path):
    return Path(shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "results"))


def said_of(results: Path, way: str, residents: int, **figures: object) -> dict[str, str]:
    """Return the measured blocks of docs/city.md if a way had these figures."""
    from pages import city

    file = results / "city.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    one = next(one for one in about["ways"] if (one["what"], one["residents"]) == (way, residents))
    one.update(figures)
    file.write_text(json.dumps(about), encoding="utf-8")
    return city.blocks(results)


KEPT = {"wall_seconds": 10.0, "peak_mib": 100}


@pytest.mark.parametrize(
    ("way", "residents", "figures", "cell"),
    [
        ("score kept", 4_300_000, {"wall_seconds": 60.0}, "| about a minute | 60 seconds |"),
        ("score kept", 4_300_000, {"wall_seconds": 60.4}, "| about a minute | **60.4 seconds** |"),
        ("bare aggregation", 43_000, {"wall_seconds": 10.0}, "| 1.5 at most | 1.0, "),
        ("bare aggregation", 43_000, {"wall_seconds": 6.6}, "| 1.5 at most | **1.52**, "),
        ("bare, kept", 43_000, {"wall_seconds": 5.0}, "| 1.5 at most | **2.0**, "),
        ("pandas", 430_000, {"wall_seconds": 150.0}, "| 15 times | 15.0 |"),
        ("pandas", 430_000, {"wall_seconds": 149.9}, "| 15 times | **14.99** |"),
        ("pandas, plain", 43_000, {"wall_seconds": 600.0}, "| 60 times | 60, "),
        ("pandas, plain", 43_000, {"wall_seconds": 598.0}, "| 60 times | **59.8**, "),
        ("pandas", 43_000, {"peak_mib": 300}, "| 1/3 at most | 1/3.0, "),
        ("pandas", 43_000, {"peak_mib": 296}, "| 1/3 at most | **1/2.96**, "),
        ("score kept", 4_300_000, {"wall_seconds": 100.0}, "| 10 times at most | 10.0 times |"),
        ("score kept", 4_300_000, {"wall_seconds": 100.4}, "| 10 times at most | **10.04 times** |"),
    ],
)
def test_a_goal_is_bold_where_it_is_not_reached_and_shows_that(results, way, residents, figures, cell):
    for town in (43_000, 430_000):
        said_of(results, "score kept", town, **KEPT)
    assert cell in said_of(results, way, residents, **figures)["goals"]


def test_only_contributions_that_were_reckoned_are_said_to_be(results):
    said_of(results, "pandas", 430_000, stages={"read": 1.0, "group": 2.0, "explain": 3.0})
    said = said_of(results, "polars", 430_000, stages={"explain": 3.0})["peers"].replace("\n", " ")
    assert "The contributions of the plain LightGBM are measured on 10,000 people" in said


def test_how_fast_the_tables_explain_is_said_as_it_was_measured(results):
    from explain_speed import PREDICT, WAYS, WHOLE_POINTS
    from pages import estimator

    speed = results / "explain_speed.json"
    rates = {**dict.fromkeys(WAYS, 1.0), WHOLE_POINTS: 1_234_567.0, PREDICT: 3_456.0}
    timings = [{"way": way, "rows": 1, "rows_per_second": of, "mib_beyond_output": None} for way, of in rates.items()]
    size = {"trees_asked": 400, "trees": 398, "features": 28, "one_person_us": 5.4, "rows_at_once": {"1": 5.0}}
    speed.write_text(json.dumps([{**size, "timings": timings}]), encoding="utf-8")
    said = estimator.blocks(results)["speed"].replace("\n", " ")
    assert "With 398 trees and 28 whole-number features, `tables.reasons` gives 1.2 million exact" in said
    assert "LightGBM gives 3 thousand plain predictions" in said
    assert "One person takes 5 µs." in said


def test_a_measured_block_goes_from_its_mark_to_the_next_empty_line():
    from pages.wording import filled

    text = "before\n\n<!-- measured: one -->\n| old |\n| 1 |\n\nbetween\n\n<!-- measured: two -->\nold\n"
    assert filled(text, {"one": "new", "two": "newer"}) == (
        "before\n\n<!-- measured: one -->\nnew\n\nbetween\n\n<!-- measured: two -->\nnewer\n"
    )
    for blocks in ({"one": "new"}, {"one": "new", "two": "newer", "three": "nowhere"}):
        with pytest.raises(ValueError, match="there are the blocks"):
            filled(text, blocks)


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_a_readme_starts_with_the_two_commands_and_shows_output(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.match(r"# [^\n]+\n\n```console\n\$ make explain\n\$ make test\n```\n", text)
    assert "= the score" in text or "= 分数" in text
    assert "'scored'" in text


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_a_readme_names_every_status(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert all(f"`{status}`" in text for status in es.Status)


def test_a_policy_of_one_s_own_begins_as_it_is_written_down(tmp_path):
    commands = re.findall(
        r'^\$ python -c "(.*)"$', (ROOT / "docs" / "policy.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    said = [
        subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for command in commands
    ]
    assert es.read_policy(tmp_path / "policy.toml") == es.shipped_policy()
    assert said == ["", f"{es.shipped_policy()}\n"]


def test_links_of_the_documents_lead_somewhere():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document}: {target}"


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path):
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    NotebookClient(content, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in content.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_model_is_made_by_the_command_that_is_written_down(tmp_path):
    """With the versions that made it, the same commands give the same bytes: in CI they always do (.ci/run)."""
    if library_versions() != es.load_engine().model.libraries:
        pytest.skip("the shipped model was made with other library versions")
    commands = re.findall(
        r"^\$ egretscore (.*)$", (ROOT / "models" / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    places = {"town": str(tmp_path / "town"), "models/invented-town": str(tmp_path / "model")}
    for command in commands:
        assert main([places.get(word, word) for word in command.split()]) == 0
    for file in shipped_model().iterdir():
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_changelog_names_this_version():
    assert f"## {es.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_is_invented_says_so():
    assert "invented" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert "invented" in (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    manifest = json.loads((shipped_model() / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["invented"] is True
    assert "nothing about real people" in manifest["notice"]
    for name in ("README.md", "docs/scorecard.md"):
        assert "invented" in (ROOT / name).read_text(encoding="utf-8")


def test_no_data_for_measuring_is_in_the_project():
    names = {file.name for file in ROOT.rglob("*") if ".venv" not in file.parts and ".git" not in file.parts}
    assert not names & {"student_assessment.parquet", "heloc.csv", "taiwan.csv", "gmsc.parquet", "violations.parquet"}


def test_make_help_lists_the_commands():
    if shutil.which("make") is None:
        pytest.skip("no make here")
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607 - the one on the path is meant
    for command in ("explain", "test", "check", "format", "bench", "docs"):
        assert f"make {command}" in text
