"""The public interface: what is there, that all of it is documented, and how errors read."""

from __future__ import annotations

import ast
import copy
import graphlib
import importlib
import inspect
import pickle
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import product
from pathlib import Path
from types import FunctionType, MethodType, ModuleType

import numpy as np
import pytest

import egretscore as es
from egretscore import errors


def test_all_is_what_can_be_had():
    assert sorted(es.__all__) == es.__all__
    assert {*es.__all__} - {"__version__"} == {*es._HOMES}
    for name in es.__all__:
        assert getattr(es, name) is not None
    assert dir(es) == sorted(es.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = es.nonsense


@pytest.mark.parametrize(
    "name", ["add_records", "keep_records", "score_everyone", "score_on_spark", "train", "validate_records"]
)
def test_what_a_public_function_returns_is_public(name):
    assert inspect.signature(getattr(es, name)).return_annotation in es.__all__


@pytest.mark.parametrize(
    "name", ["Added", "Contradiction", "Explanation", "Kept", "Outcome", "Reason", "Records", "Validated"]
)
def test_what_a_public_result_is_made_of_is_public(name):
    """So that whoever calls the library can name in an annotation what it hands out."""
    ours = {of.__name__ for module in modules() for of in classes_of(importlib.import_module(module))}
    handed_out: list[object] = []
    for of in (of for of in getattr(es, name).__mro__ if of.__module__.startswith("egretscore.")):
        handed_out += [annotation for field, annotation in inspect.get_annotations(of).items() if field[0] != "_"]
        for member_name, member in vars(of).items():
            function = getattr(member, "fget", None) or getattr(member, "func", member)
            if member_name[0] != "_" and inspect.isfunction(function):
                handed_out.append(inspect.get_annotations(function)["return"])
    assert handed_out
    named = {word for annotation in handed_out for word in re.findall(r"(?<!\.)\b\w+", str(annotation))}
    assert named & ours <= {*es.__all__}


def classes_of(module: ModuleType) -> list[type]:
    return [of for of in vars(module).values() if inspect.isclass(of) and of.__module__ == module.__name__]


def test_whom_progress_is_told_gets_what_is_public():
    told: list[object] = []
    found = es.validate_records(es.sample_records(), progress=told.append)
    assert isinstance(found, es.Validated)
    assert {type(one) for one in told} == {es.Progress}


def modules() -> list[str]:
    return [name for _, name, _ in pkgutil.walk_packages(es.__path__, "egretscore.")]


@pytest.mark.parametrize("name", modules())
def test_everything_public_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for member_name, member in vars(module).items():
        if member_name.startswith("_") or getattr(member, "__module__", None) != name:
            continue
        if inspect.isclass(member) or inspect.isfunction(member):
            assert member.__doc__, f"{name}.{member_name}"


def public_callables() -> dict[str, Callable[..., object]]:
    """Return what can be called: public functions, public methods that are ours, and classes made by arguments."""
    found = {}
    for name in {*es.__all__} - {"__version__"}:
        member = getattr(es, name)
        if not inspect.isclass(member) or "__init__" in vars(member):
            found[name] = member
        if inspect.isclass(member):
            found |= {
                f"{name}.{method}": function
                for method, function in inspect.getmembers(member, lambda of: isinstance(of, FunctionType | MethodType))
                if not method.startswith("_") and function.__module__.startswith("egretscore.")
            }
    return found


def sections(docstring: str) -> dict[str, list[str]]:
    """Return the names that begin the entries of each section of a numpydoc docstring."""
    _, *parts = re.split(r"^(\w+)\n-+$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    entries = [re.findall(r"^(\S[^:\n]*)", text, re.MULTILINE) for text in parts[1::2]]
    named = [[name.strip(" *") for entry in own for name in entry.split(",")] for own in entries]
    return dict(zip(parts[::2], named, strict=True))


@pytest.mark.parametrize("name", sorted(public_callables()))
def test_what_can_be_called_documents_exactly_its_arguments_and_what_it_returns(name):
    function = public_callables()[name]
    signature, documented = inspect.signature(function), sections(function.__doc__)
    arguments = [argument for argument in signature.parameters if argument != "self"]
    if arguments:
        is_record = inspect.isclass(function) and "Parameters" not in documented
        assert sorted(documented["Attributes" if is_record else "Parameters"]) == sorted(arguments)
    assert "Returns" in documented or inspect.isclass(function) or signature.return_annotation == "None"


def test_a_section_of_a_docstring_names_what_it_describes():
    said = "Do.\n\nParameters\n----------\none, two : int\n    Any: of it.\n**more\n\nReturns\n-------\nint\n"
    assert sections(said) == {"Parameters": ["one", "two", "more"], "Returns": ["int"]}


def test_what_holds_arrays_is_compared_by_identity():
    """NumPy compares arrays value by value, so that `==` of what holds them would raise."""
    ours = (of for name in modules() for of in classes_of(importlib.import_module(name)) if is_dataclass(of))
    holding = [of for of in ours if any("NDArray" in str(field.type) for field in fields(of))]
    assert {"ScoreTable", "ScoreTables"} <= {of.__name__ for of in holding}
    assert all(of.__eq__ is object.__eq__ for of in holding)
    assert es.load_engine().model.scorecard != es.load_engine().model.scorecard


def test_the_error_tree_is_the_one_drawn():
    drawn = errors.__doc__
    classes = [c for c in vars(errors).values() if inspect.isclass(c) and c.__module__ == errors.__name__]
    assert all(c.__name__ in drawn and issubclass(c, es.EgretError) for c in classes)


def tree() -> list[type]:
    return [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


def test_the_types_let_no_error_be_raised_without_an_expectation_or_a_remedy():
    """Where one is raised without, ``make check`` says so."""
    ways = typing.get_overloads(es.EgretError.__init__)
    needed = [{n for n, p in inspect.signature(way).parameters.items() if p.default is p.empty} for way in ways]
    assert [names & {"expected", "remedy"} for names in needed] == [{"expected"}, {"remedy"}]
    assert not any("__init__" in vars(one) for one in tree() if one is not es.EgretError)


def test_an_error_names_place_expectation_and_remedy():
    error = es.RecordsError(
        "it is wrong", file="a.csv", row=3, column="points", value="x\u202e\0", expected="a number", remedy="Mend it."
    )
    assert str(error) == (
        "a.csv, row 3, column 'points', value 'x\\u202e\\x00': it is wrong. Expected a number. Mend it."
    )


def test_a_long_value_is_cut():
    assert len(str(es.RecordsError("wrong", value="x" * 10**6, remedy="Cut it."))) < 200


ROOMS = {
    "egretscore": (
        *("errors", "dates", "paths", "numbers", "status", "shipped", "arrays", "writing"),
        *("policy", "records", "standing", "features", "audit", "scoring", "training", "benefits", "explanation"),
        *("scored", "engine", "everyone"),
        *("simulate", "cli", "__main__"),
    ),
    "egretscore.records": (
        *("schema", "parts", "files", "database"),
        *("kept", "quarantine", "one_person", "checked", "intake", "reading"),
        *("in_bulk", "validating", "upkeep"),
    ),
}


@pytest.mark.parametrize("house", ROOMS)
def test_each_room_imports_only_rooms_before_it(house):
    """Records do not know features, features do not know scoring, and so on down the one direction."""
    folder = Path(es.__file__).parent.joinpath(*house.split(".")[1:])
    places = {path.stem: path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {*ROOMS[house], "__init__"} == {*places}
    for position, room in enumerate(ROOMS[house]):
        later = {f"{house}.{name}" for name in ROOMS[house][position + 1 :]}
        for file in places[room].rglob("*.py") if places[room].is_dir() else [places[room]]:
            for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
                assert not any(name == one or name.startswith(f"{one}.") for one in later), f"{file} imports {name}"


def test_scoring_needs_numpy_alone():
    """What grows forests stands in another room, so that nobody who is scored waits for it."""
    package = Path(es.__file__).parent
    for file in (package / "scoring").glob("*.py"):
        needed = {name.split(".")[0] for name in imported(ast.parse(file.read_text(encoding="utf-8")))}
        assert needed <= {"numpy", "egretscore", *sys.stdlib_module_names}, file


def test_no_module_needs_one_that_needs_it():
    """Not even by a lazy import: what only types need, under TYPE_CHECKING, is left out."""
    package = Path(es.__file__).parent
    files = {
        f"egretscore.{path.relative_to(package).with_suffix('')}".replace("/", "."): path
        for path in package.rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items() if name != "egretscore.__init__"}
    needs = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        found = {one if one in files else one.rpartition(".")[0] for one in imported(tree)}
        needs[name] = {one for one in found if one in files and one != name}
    graphlib.TopologicalSorter(needs).prepare()


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the name of every module that may be imported, and of what is taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize(
    "statement", ["from egretscore import cli", "import egretscore.cli", "from egretscore.cli import main"]
)
def test_whatever_way_a_room_is_imported_it_is_seen(statement):
    assert any(name.startswith("egretscore.cli") for name in imported(ast.parse(statement)))


def test_the_package_carries_no_file_that_is_a_drawer_for_leftovers():
    names = {file.stem for file in Path(es.__file__).parent.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_what_a_notebook_shows_is_one_line(engine, sample):
    scored = engine.explain(sample, sample.invented["subject_id"], "2026-10-31")
    unknown = engine.explain(sample, "nobody", "2026-10-31")
    report, policy = engine.model.report, engine.policy
    assert repr(engine.model) == f"<Model: {engine.name}>"
    assert repr(policy) == f"<Policy: {policy.name} {policy.version}>"
    assert repr(scored) == f"<Explanation: {scored.subject_id!r} as of 2026-10-31, 677 (good)>"
    assert repr(unknown) == "<Explanation: 'nobody' as of 2026-10-31, not_consented>"
    assert repr(report) == (
        f"<Report: AUC {report.measures['score'].auc:.4f} on {report.held_out['people']:,} people held out>"
    )


def test_an_explanation_reads_as_its_text(engine, sample):
    scored = engine.explain(sample, sample.invented["subject_id"], "2026-10-31")
    assert str(scored) == scored.text("en")


def test_a_report_reads_as_what_training_prints(engine):
    assert str(engine.model.report).startswith("Learnt from ")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"engine": "model"}, "'str': this is no engine"),
        ({"records": None}, "'NoneType': .* come from a folder"),
        ({"out": None}, "'NoneType': .* a path"),
        ({"memory": "4GB"}, "'4GB': .* bytes"),
        ({"memory": 4e9}, "'4000000000.0': .* bytes"),
        ({"threads": "4"}, "'4': threads cannot"),
    ],
)
@pytest.mark.parametrize("score", [es.score_everyone, es.score_on_spark])
def test_everyone_is_scored_by_an_engine_from_a_folder_to_a_place(engine, tmp_path, score, given, says):
    usable = {"engine": engine, "records": es.sample_records(), "as_of": "2026-10-31", "out": tmp_path / "out"}
    with pytest.raises(es.ArgumentError, match=says):
        score(**{**usable, **given})
    assert list(tmp_path.iterdir()) == []


def test_what_is_given_in_place_of_records_or_a_folder_is_an_argument_error(engine, sample, tmp_path):
    with pytest.raises(es.ArgumentError, match="'str': this is not a model"):
        es.Engine("model")
    with pytest.raises(es.ArgumentError, match="'str': these are not records"):
        es.train("town", "2025-10-01")
    with pytest.raises(es.ArgumentError, match="'str': these are not records"):
        engine.explain("town", "p1", "2026-10-31")
    with pytest.raises(es.ArgumentError, match="'int': a model comes from a folder"):
        es.load_engine(5)
    with pytest.raises(es.ArgumentError, match=r"'CheckedRecords': .* ask engine\.score"):
        es.score_everyone(engine, sample, "2026-10-31", tmp_path / "out")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda _, out: es.keep_records({"consents": None}, out), "'dict': the records to keep come from a folder"),
        (lambda records, _: es.keep_records(records, None), "'NoneType': kept records go into a folder"),
        (lambda records, out: es.add_records(es.read_records(records), out), "'CheckedRecords': the records to add"),
        (lambda records, _: es.add_records(records, None), "'NoneType': kept records are in a folder"),
        (lambda *_: es.validate_records({"consents": None}), "'dict': the records to validate come from a folder"),
        (lambda records, _: es.read_records(records, policy=3), "'int': a policy comes from a file"),
        (lambda *_: es.read_records(""), "'': records come from a folder"),
        (lambda *_: es.load_engine(""), "'': a model comes from a folder"),
        (lambda *_: es.load_engine("mod\0el"), r"'mod\\x00el': a model comes from a folder"),
        (lambda *_: es.read_policy(None), "'NoneType': a policy comes from a file"),
        (lambda *_: es.simulate_town(3, None), "'NoneType': a town goes into a folder"),
        (lambda _, out: es.simulate_town("3", out), "'3': residents cannot have this value. Expected a whole number"),
        (lambda _, out: es.simulate_town(1.5, out), "'1.5': residents cannot have this value"),
        (lambda _, out: es.simulate_town(3, out, seed=1.0), "'1.0': seed cannot have this value"),
        (lambda records, out: es.keep_records(records, out, progress=3), "'3': progress cannot be called"),
        (lambda records, out: es.add_records(records, out, progress=3), "'3': progress cannot be called"),
        (lambda records, _: es.validate_records(records, progress=3), "'3': progress cannot be called"),
        (
            lambda records, out: es.score_everyone(es.load_engine(), records, "2026-10-31", out, progress=3),
            "'3': progress cannot be called",
        ),
        (lambda _, out: es.simulate_town(3, out, progress=3), "'3': progress cannot be called"),
        (lambda *_: es.load_engine().model.save(None), "'NoneType': a model goes into a folder"),
    ],
)
def test_what_is_given_in_place_of_a_path_a_number_or_a_function_is_an_argument_error(tmp_path, call, says):
    with pytest.raises(es.ArgumentError, match=says):
        call(es.sample_records(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_records_say_why_they_go_to_no_other_process(sample, tmp_path):
    es.keep_records(es.sample_records(), tmp_path / "kept")
    for records, send in product((sample, es.read_records(tmp_path / "kept")), (pickle.dumps, copy.deepcopy)):
        with pytest.raises(TypeError, match="let each process read them"):
            send(records)


def test_no_progress_is_none(tmp_path):
    es.simulate_town(3, tmp_path, progress=None)
    assert es.validate_records(tmp_path, progress=None).problems == ()


def test_a_frame_of_scores_has_the_columns_of_the_arrays(engine, sample):
    every_column = {"vectors": True, "reasons": True, "benefits": True}
    columns = engine.score_columns(sample, "2026-10-31", **every_column)
    frame = engine.score(sample, "2026-10-31", **every_column)
    assert list(frame.columns) == list(columns)
    for name, values in columns.items():
        assert frame[name].astype(object).where(frame[name].notna(), None).tolist() == values.tolist()
    assert {str(frame[f"benefit_{benefit.id}"].dtype) for benefit in engine.policy.benefits} == {"bool"}
    assert {str(frame[name].dtype) for name in engine.feature_names} == {"Int64"}


@pytest.mark.parametrize("threads", [True, 2.0, "2", np.array([1, 2]), 0, 257])
def test_what_is_no_number_of_threads_is_refused(threads, tmp_path):
    with pytest.raises(es.ArgumentError, match="threads cannot have this value"):
        es.score_everyone(es.load_engine(), es.sample_records(), "2026-10-31", tmp_path / "scores", threads=threads)
    assert list(tmp_path.iterdir()) == []


def test_a_number_of_any_type_is_one(tmp_path):
    assert es.simulate_town(np.int64(2), tmp_path / "town", seed=np.uint8(3)) == tmp_path / "town"
    with pytest.raises(es.ArgumentError, match="residents cannot have this value"):
        es.simulate_town(residents=True, out=tmp_path / "another")
