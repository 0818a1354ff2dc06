"""`collect` and `load`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from definition_texts import HEADER, RIDES, Import

from thyme._document import collect, load
from thyme.errors import DefinitionTypeError, DefinitionValueError

FEATURES = """
@featureset
class Features:
    driver: str = feature(id=1)
    n: int = feature(id=2, ref=DriverStats.rides_1h)
"""


def names(document: dict[str, Any]) -> list[str]:
    return [one["name"] for part in ("datasets", "featuresets") for one in document[part]]


def test_a_class_brings_all_that_it_refers_to(imported: Import) -> None:
    module = imported(HEADER, RIDES, FEATURES)
    everything = ["Ride", "DriverStats", "Features"]
    assert names(collect(module.Features)) == everything
    assert names(collect(module.DriverStats)) == everything[:2]
    assert names(collect([module.Features, module.Ride])) == everything
    assert names(collect(module)) == everything
    assert collect(module) == collect([module, module.Ride])
    assert collect(module)["format"] == 1


def test_what_a_module_imports_counts(imported: Import) -> None:
    imported(HEADER, RIDES, name="rides_for_import.py")
    module = imported("from rides_for_import import Ride\n", name="other.py")
    assert names(collect(module)) == ["Ride"]


def test_two_different_classes_of_one_name_are_refused(imported: Import) -> None:
    module = imported(HEADER, RIDES, FEATURES)
    other = imported(
        HEADER,
        RIDES.replace("fare: float", "fare: int").replace("fare_7d: float", "fare_7d: int"),
        name="b.py",
    )
    with pytest.raises(DefinitionValueError) as caught:
        collect([module.Features, other.Ride])
    assert str(caught.value) == (
        "two different classes are called Ride, here and at features.py:7; rename one, or, in a notebook, "
        "run the cells that use Ride again (b.py:7)"
    )


def test_a_class_that_was_read_twice_is_one(imported: Import) -> None:
    module, again = imported(HEADER, RIDES, FEATURES), imported("\n\n", HEADER, RIDES, name="b.py")
    assert names(collect([module, again])) == ["Ride", "DriverStats", "Features"]


def test_nothing_to_commit(imported: Import) -> None:
    with pytest.raises(DefinitionValueError, match="has no datasets or featuresets"):
        collect(sys)
    with pytest.raises(DefinitionValueError, match="the list is empty"):
        collect([])
    for wrong in ("features.py", int, None, [3]):
        with pytest.raises(
            DefinitionTypeError, match="expected classes decorated with @dataset or @featureset"
        ):
            collect(wrong)


def test_files_are_loaded_by_path(imported: Import, tmp_path: Path) -> None:
    module = imported(HEADER, RIDES)
    assert load("features.py") is load(str(tmp_path / "features.py")) is module
    assert load("features.py:Ride") is module.Ride
    assert load("./features.py:Ride") is module.Ride
    before = list(sys.path)
    (tmp_path / "sibling_of_file.py").write_text("LIMIT = 3\n")
    assert imported("from sibling_of_file import LIMIT\n", name="x.py").LIMIT == 3
    assert sys.path == before


def test_a_changed_file_is_loaded_anew(imported: Import) -> None:
    first, second = imported("A = 1\n"), imported("A = 2\n")
    assert (first.A, second.A, first.__name__ == second.__name__) == (1, 2, True)


def test_modules_are_loaded_by_name(
    imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "pack_for_load"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "features.py").write_text(HEADER + RIDES)
    assert names(collect(load("pack_for_load.features"))) == ["Ride", "DriverStats"]
    assert load("pack_for_load.features:Ride").__name__ == "Ride"


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("missing.py", "missing.py cannot be read: there is no such file"),
        ("missing.py:Ride", "missing.py cannot be read"),
        ("no_such_module", "there is no module no_such_module"),
        ("no_such_module.features:Ride", "there is no module no_such_module"),
        ("features.py:Rode", "features.py has no Rode; it has Ride"),
        ("features.py:Xyz", "features.py has no Xyz; it has Ride, DriverStats"),
        ("a b", "'a b' is no module"),
        ("", "'' is no module"),
    ],
)
def test_what_is_not_there(imported: Import, ref: str, says: str) -> None:
    imported(HEADER, RIDES)
    with pytest.raises(DefinitionValueError) as caught:
        load(ref)
    assert says in str(caught.value)


def test_an_error_inside_the_file_passes_through(imported: Import) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        imported("import no_such_dependency\n")
    with pytest.raises(ZeroDivisionError):
        imported("1 / 0\n")
    with pytest.raises(SyntaxError):
        imported("def\n")


def test_a_failed_load_leaves_no_module(imported: Import) -> None:
    before = {name for name in sys.modules if name.startswith("_thyme_file_")}
    with pytest.raises(ZeroDivisionError):
        imported("1 / 0\n", name="failing.py")
    assert {name for name in sys.modules if name.startswith("_thyme_file_")} == before
