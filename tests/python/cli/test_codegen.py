"""`thyme codegen python`: what it writes passes mypy --strict, runs, and is the same each time."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import thyme
from client.rides import DEFINITIONS
from running import PYTHON, Server, start_server
from thyme import (
    Count,
    Max,
    Sum,
    ThymeClient,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    inputs,
    local,
    pipeline,
)
from thyme._codegen import HEADER, python_package

REPOSITORY = PYTHON.parent
TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)

# Names that Python, mypy or the generated code itself could take for something else.
_AWKWARD = ("str", "int", "float", "list", "dict", "client", "at", "result", "row", "each", "v", "k", "ids",
            "_t", "_dt", "_thyme", "self", "cls", "match", "type", "inputs", "__x", "_y", "größe", "print",
            "NAME", "Row", "Key", "position", "Awkward")  # fmt: skip


def awkward() -> dict[str, Any]:
    """A dataset and a featureset named like a type and a module, with every awkward name in both."""
    kinds = ["str", "int", "float", "bool", "datetime"]
    values = [
        {"name": name, "type": kinds[i % 5], "optional": i % 2 == 0, "role": "value"}
        for i, name in enumerate(_AWKWARD)
    ]
    key = {"name": "annotations", "type": "str", "role": "key"}
    time = {"name": "when", "type": "datetime", "role": "timestamp"}
    features = [
        {"id": i + 2, "name": name, "type": kinds[i % 5], "optional": i % 2 == 0, "request": True}
        for i, name in enumerate(_AWKWARD)
    ]
    first = {"id": 1, "name": "annotations", "type": "str"}
    meta = {"description": 'A """quoted""" \\ text\nof two lines # with a hash\x0c and a form feed'}
    sets = [
        {"name": name, "features": [first, *features], "meta": meta}
        for name in ("str", "_t", "ThymeClient", "Any")
    ]
    sets.append({"name": "Plain", "features": [{**first, "meta": {"deprecated": True, **meta}}]})
    return {
        "format": 1,
        "datasets": [{"name": "int", "index": True, "fields": [key, time, *values], "meta": meta}],
        "featuresets": sets,
    }


@dataset(index=True, description="a leg")
class GenLeg:
    origin: str = field(key=True)
    stops: int = field(key=True)
    fare: float | None
    seats: int = field(default=1)
    at: datetime = field(timestamp=True)


@dataset
class GenLegStats:
    origin: str = field(key=True)
    stops: int = field(key=True)
    at: datetime = field(timestamp=True)
    legs: int
    best: float

    @pipeline(version=1)
    @inputs(GenLeg)
    def compute(cls, legs):  # type: ignore[no-untyped-def]
        return legs.groupby("origin", "stops").aggregate(legs=Count(), best=Max(of="fare"))


@featureset
class GenLegFeatures:
    origin: str = feature(id=1)
    stops: int = feature(id=2)
    legs: int = feature(id=3, ref=GenLegStats.legs)
    best: float = feature(id=4, ref=GenLegStats.best)
    dearest: float = feature(id=5, ref=GenLegStats.best, default=0.0, deprecated=True, replacement="best")
    hour: int = feature(id=6, request=True)
    day: int = feature(id=7, request=True, default=1)
    note: str | None = feature(id=8, request=True)
    score: float = feature(id=9)

    @extractor
    @extractor_inputs("legs", "hour")
    @extractor_outputs("score")
    def scored(cls, ts, legs, hour):  # type: ignore[no-untyped-def]
        return legs * 1.0 + hour


LEGS = [GenLeg, GenLegStats, GenLegFeatures]


def renamed() -> list[Any]:
    @dataset
    class Paid:
        who: str = field(key=True)
        amount: float
        at: datetime = field(timestamp=True)

    def features(name: str, version: int) -> list[Any]:
        @dataset(version=version)
        class PaidStats:
            who: str = field(key=True)
            at: datetime = field(timestamp=True)
            total: float

            @pipeline(version=version)
            @inputs(Paid)
            def compute(cls, paid):  # type: ignore[no-untyped-def]
                return paid.groupby("who").aggregate(total=Sum(of="amount", window=f"{version}h"))

        names = {"who": (1, str, None), name: (2, float, PaidStats.total)}
        body = {each: feature(id=number, ref=ref) for each, (number, _, ref) in names.items()}
        kinds = {each: kind for each, (_, kind, _) in names.items()}
        kind = type("PaidFeatures", (), {**body, "__annotations__": kinds, "__module__": __name__})
        return [Paid, PaidStats, featureset(kind)]

    return [features("total", 1), features("sum_1h", 2)]


def package(*commits: Any) -> dict[str, str]:
    with local() as client:
        for each in commits:
            client.commit(each, source=False)
        return python_package(client.inspect(), client.committed()["definitions"], "0")


CATALOGS: dict[str, Callable[[], dict[str, str]]] = {
    "rides": lambda: package(DEFINITIONS),
    "legs": lambda: package(LEGS),
    "awkward": lambda: package(awkward()),
    "renamed": lambda: package(*renamed()),
}

USE = """
import datetime
import typing

import thyme
from legs.datasets import GenLeg, GenLegStats
from legs.featuresets import GenLegFeatures


def use(client: thyme.ThymeClient) -> None:
    row = GenLegFeatures.query(client, "JFK", 2, hour=3)
    typing.assert_type(row["legs"], int)
    typing.assert_type(row["best"], float | None)
    typing.assert_type(row["dearest"], float)
    typing.assert_type(row["hour"], int)
    typing.assert_type(row["day"], int)
    typing.assert_type(row["note"], str | None)
    typing.assert_type(row["score"], float | None)
    rows = GenLegFeatures.query_batch(client, [("JFK", 2)], {"hour": 3})
    typing.assert_type(rows[0]["origin"], str)
    GenLeg.log(client, [{"origin": "JFK", "stops": 2, "at": datetime.datetime.now()}])
    leg = GenLeg.lookup(client, "JFK", 2)
    typing.assert_type(leg, GenLeg.Row | None)
    if leg is not None:
        typing.assert_type(leg["fare"], float | None)
        typing.assert_type(leg["seats"], int)
    stats = GenLegStats.lookup(client, "JFK", 2, at=0.0)
    if stats is not None:
        typing.assert_type(stats["best"], float | None)


async def use_async(client: thyme.AsyncThymeClient) -> None:
    row = await GenLegFeatures.query_async(client, "JFK", 2, hour=3, note="x")
    typing.assert_type(row["legs"], int)
"""
MISUSE = {
    'GenLegFeatures.query(client, "JFK", "2", hour=3)': "arg-type",
    'GenLegFeatures.query(client, "JFK", hour=3)': "call-arg",
    'GenLegFeatures.query(client, "JFK", 2)': "call-arg",
    'GenLegFeatures.query(client, "JFK", 2, hour=3, other=1)': "call-arg",
    'GenLegFeatures.query(client, "JFK", 2, hour=3)["nothing"]': "typeddict-item",
    'GenLegFeatures.query_batch(client, ["JFK"], {"hour": 3})': "list-item",
    'GenLegFeatures.query_batch(client, [("JFK", 2)], {"day": 3})': "arg-type",
    'GenLeg.log(client, [{"origin": "JFK", "at": 0}])': "typeddict-item",
    'GenLeg.log(client, [{"origin": "JFK", "stops": 2, "at": 0, "x": 1}])': "typeddict-unknown-key",
    'GenLegStats.log(client, [])': "attr-defined",
}  # fmt: skip


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All catalogs as packages in one folder, beside code that uses one of them rightly and wrongly."""
    root = tmp_path_factory.mktemp("generated")
    for name, make in CATALOGS.items():
        (root / name).mkdir()
        for file, text in make().items():
            (root / name / file).write_text(text, encoding="utf-8")
    (root / "use.py").write_text(USE)
    wrong = "\n".join(f"{line}" for line in MISUSE)
    imports = "import thyme\nfrom legs.datasets import *\nfrom legs.featuresets import *\nclient = thyme.ThymeClient()\n"
    (root / "misuse.py").write_text(imports + wrong + "\n")
    return root


def test_the_generated_code_passes_mypy_strict_and_its_misuse_does_not(generated: Path) -> None:
    files = [*CATALOGS, "use.py", "misuse.py"]
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            REPOSITORY / "pyproject.toml",
            "--cache-dir",
            REPOSITORY / ".mypy_cache",
            "--no-error-summary",
            *files,
        ],
        cwd=generated,
        env={**os.environ, "MYPYPATH": str(PYTHON)},
        capture_output=True,
        text=True,
        check=False,
    )
    first = 5
    found = {
        line.split(" ")[0]: line.rpartition("[")[2].rstrip("]")
        for line in result.stdout.splitlines()
        if "error:" in line
    }
    expected = {f"misuse.py:{first + i}:": code for i, code in enumerate(MISUSE.values())}
    assert found == expected, result.stdout + result.stderr


def test_the_same_catalog_gives_the_same_text(generated: Path) -> None:
    for name, make in CATALOGS.items():
        for file, text in make().items():
            assert (generated / name / file).read_text(encoding="utf-8") == text


def test_the_order_of_the_catalog_does_not_show() -> None:
    with local() as client:
        client.commit(LEGS + DEFINITIONS, source=False)
        catalog, definitions = client.inspect(), client.committed()["definitions"]
    backwards = {
        **catalog,
        "datasets": catalog["datasets"][::-1],
        "featuresets": [
            {**each, "features": each["features"][::-1]} for each in catalog["featuresets"][::-1]
        ],
    }
    assert python_package(backwards, definitions, "0") == python_package(catalog, definitions, "0")


def test_what_is_said_of_definitions_is_in_the_code() -> None:
    text = package(LEGS)["featuresets.py"]
    assert '"dearest": float,  # 5, GenLegStats.best; Deprecated: use best' in text
    text = package(*renamed())["featuresets.py"]
    assert '"sum_1h": float | None,  # 2, PaidStats.total; formerly total' in text
    assert "class PaidStats_1:" in package(*renamed())["datasets.py"]


@pytest.fixture
def imported(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(str(generated))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_awkward_names_reach_the_server_as_they_are(imported: Callable[[str], ModuleType]) -> None:
    kinds: list[Any] = ["x", 1, 1.5, True, TEN]
    values: dict[str, Any] = {name: kinds[i % 5] for i, name in enumerate(_AWKWARD)}
    rows, sets = imported("awkward.datasets"), imported("awkward.featuresets")
    with local() as client:
        client.commit(awkward(), source=False)
        event: Mapping[str, Any] = {"annotations": "a", "when": TEN, **values}
        rows.int_.log(client, [event])
        assert rows.int_.lookup(client, "a", at=TEN) == event
        for kind in (sets.str_, sets._t_, sets.ThymeClient, sets.Any):
            # The arguments are in the order of the features, whatever they had to be called.
            names = list(kind.query.__annotations__)[2 : 2 + len(_AWKWARD)]
            by_type = sorted(_AWKWARD, key=lambda each: _AWKWARD.index(each) % 2 == 0)
            given = {name: values[each] for name, each in zip(names, by_type, strict=True)}
            assert kind.query(client, "a", **given) == {"annotations": "a", **values}
            assert kind.query_batch(client, ["a", "b"], values)[1] == {"annotations": "b", **values}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("codegen") / "data")
    yield running
    running.process.terminate()
    running.process.wait(timeout=20)


def test_the_command_writes_a_package_that_works(
    own_server: Server,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = {"THYME_API_URL": own_server.url}
    assert "nothing is committed yet" in run("codegen", "python", "--out", "made", **url).stderr
    with ThymeClient(own_server.url) as client:
        commit = client.commit(LEGS, source=False)["commit"]
        written = run("codegen", "python", "--out", "made", **url)
        assert (written.returncode, written.stderr) == (0, "")
        assert written.stdout == f"made: 1 featuresets, 2 datasets of commit {commit}\n"
        assert run("codegen", "python", "--out", "made", "--check", **url).returncode == 0
        monkeypatch.syspath_prepend(str(tmp_path))
        assert commit == importlib.import_module("made").COMMIT
        legs = importlib.import_module("made.featuresets").GenLegFeatures
        rows = importlib.import_module("made.datasets")
        position = rows.GenLeg.log(client, [{"origin": "JFK", "stops": 2, "at": TEN}])
        row = legs.query(client, "JFK", 2, hour=3, at=TEN, min_position=position)
        assert (row["legs"], row["best"], row["dearest"], row["day"], row["score"]) == (1, None, 0.0, 1, 4.0)
        assert rows.GenLegStats.lookup(client, "JFK", 2, at=TEN) == {"legs": 1, "best": None}
        client.commit([GenLeg, GenLegStats, GenLegFeatures, *DEFINITIONS], source=False)
        assert run("codegen", "python", "--out", "made", "--check", **url).returncode == 2
    (tmp_path / "made" / "datasets.py").write_text("mine = 1\n")
    refused = run("codegen", "python", "--out", "made", **url)
    assert refused.returncode == 1
    assert "was not written by this command" in refused.stderr
    assert (
        (tmp_path / "made" / "featuresets.py").read_text().startswith(f"{HEADER} (Thyme {thyme.__version__})")
    )
