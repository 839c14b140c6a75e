"""What is written down is so: READMEs, generated documents, the notebook and the shipped model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import build
import nbformat
import pytest
from nbclient import NotebookClient

import egretscore as es
from egretscore.cli import main
from egretscore.scoring.bundle import library_versions
from egretscore.shipped import shipped_model

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def documents() -> dict[Path, str]:
    return build.documents()


@pytest.mark.parametrize(
    "name", ["README.md", "README.zh.md", "docs/records.md", "docs/features.md", "docs/policy.md", "docs/scorecard.md"]
)
def test_a_generated_document_says_what_the_code_says(documents, name):
    assert (ROOT / name).read_text(encoding="utf-8") == documents[ROOT / name], "run `make docs`"


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
