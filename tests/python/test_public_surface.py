"""What `help()` says of everything public: it is there, it is complete, and its examples run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pydoc
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import thyme
from running import PYTHON, Server, start_server
from thyme import ThymeClient

MODULES = ("thyme", "thyme.client", "thyme.testing", "thyme.connectors", "thyme.errors", "thyme.expectations")

# What examples are about.
PRELUDE = """
import asyncio
from datetime import datetime

from thyme import *
from thyme.connectors import FileSource
from thyme.testing import MockContext


@dataset(index=True)
class Ride:
    driver: str = field(key=True)
    fare: float
    tip: float | None
    at: datetime = field(timestamp=True)


@dataset
class DriverStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides_1h: int
    fare_7d: float

    @pipeline(version=1)
    @inputs(Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides_1h=Count(window="1h"), fare_7d=Sum(of="fare", window="7d"))


@featureset
class DriverFeatures:
    driver: str = feature(id=1)
    rides_1h: int = feature(id=2, ref=DriverStats.rides_1h)
    fare_7d: float = feature(id=3, ref=DriverStats.fare_7d, default=0.0)
    hour: int = feature(id=4, request=True, default=12)


"""


def public() -> dict[str, Any]:
    """Everything that is exported, and the public methods and properties of exported classes, by name."""
    found: dict[str, Any] = {}
    for module in MODULES:
        content = importlib.import_module(module)
        found[module] = content
        for name in content.__all__:
            given = getattr(content, name)
            found[f"{module}.{name}"] = given
            if not inspect.isclass(given) or not given.__module__.startswith("thyme"):
                continue
            for kind in given.__mro__:
                if kind.__module__.startswith("thyme"):
                    for member, value in vars(kind).items():
                        plain = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
                        if inspect.isfunction(plain) or isinstance(plain, property):
                            if not member.startswith("_") or member == "__init__":
                                found.setdefault(f"{module}.{name}.{member}", plain)
    return found


PUBLIC = public()


def test_nothing_public_lacks_a_docstring() -> None:
    assert len(PUBLIC) > 150
    # Of `inspect.getdoc`, which also finds what a base class says of a method.
    silent = [name for name, given in PUBLIC.items() if not (getattr(given, "__doc__", None) or "").strip()]
    # `dataclass` and `Enum` write methods of their own.
    assert [name for name in silent if not name.endswith(".__init__")] == []


def test_docstrings_begin_with_a_sentence() -> None:
    for name, given in PUBLIC.items():
        if not (inspect.ismodule(given) or inspect.isclass(given) or inspect.isfunction(given)):
            continue  # the name of a type, which has none of its own
        first = (given.__doc__ or "It is.").strip().splitlines()[0]
        assert first.endswith((".", ":")), f"{name}: {first}"


def arguments_said(doc: str) -> list[str]:
    """The names in a docstring's section on arguments."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", inspect.cleandoc(doc) + "\n", re.MULTILINE)
    return [] if section is None else re.findall(r"^    \*{0,2}(\w+):", section[1], re.MULTILINE)


def test_each_argument_is_said_once_and_none_that_is_not_there() -> None:
    counted = 0
    for name, given in PUBLIC.items():
        if not inspect.isfunction(given) or not arguments_said(given.__doc__ or ""):
            continue
        parameters = [each for each in inspect.signature(given).parameters if each not in ("self", "cls")]
        if "cls" in arguments_said(given.__doc__ or ""):
            parameters = ["cls", *parameters]
        assert arguments_said(given.__doc__ or "") == parameters, name
        counted += 1
    assert counted > 40


def test_help_can_be_read_for_everything() -> None:
    for name, given in PUBLIC.items():
        text = pydoc.plain(pydoc.render_doc(given))
        assert "*positional: 'Any'" not in text.splitlines()[2], name
    assert "Sum(*, of=None, window=None, where=None, default=None)" in pydoc.plain(
        pydoc.render_doc(thyme.Sum)
    )


def test_everything_of_the_top_level_is_there_when_it_is_asked_for() -> None:
    assert dir(thyme) == sorted(thyme.__all__)
    for name in thyme.__all__:
        assert getattr(thyme, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Thyme'"):
        thyme.Thyme  # type: ignore[attr-defined]


def examples() -> dict[str, str]:
    """The code of the docstrings' examples, each once."""
    found: dict[str, str] = {}
    for name, given in PUBLIC.items():
        doc = inspect.cleandoc(given.__doc__ or "")
        for code in re.findall(r"^Example:\n((?:    .*\n|\n)+)", doc + "\n", re.MULTILINE):
            text = textwrap.dedent(code).strip()
            if text not in found.values():
                found[name] = text
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("surface") / "data")
    yield running
    running.process.terminate()
    running.process.wait(timeout=20)


@pytest.fixture(scope="module")
def play(own_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Runs an example in a module of its own, after the definitions that examples are about."""
    folder = tmp_path_factory.mktemp("examples")

    def run(name: str, code: str) -> Any:
        path = folder / f"{name.replace('.', '_')}.py"
        here = code.replace("http://localhost:8080", own_server.url)
        path.write_text(f"{PRELUDE}client = ThymeClient({own_server.url!r})\n\n{here}\n")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[path.stem]
        return module

    with ThymeClient(own_server.url) as client:
        module = run("prelude", "")
        client.commit([module.Ride, module.DriverStats, module.DriverFeatures], source=False)
    return run


def test_there_are_examples_where_a_stranger_begins() -> None:
    begun = {name.removeprefix("thyme.") for name in EXAMPLES}
    for name in ("dataset", "featureset", "pipeline", "extractor", "field", "feature", "ThymeClient", "local",
                 "AsyncThymeClient", "ThymeClient.query", "ThymeClient.log", "ThymeClient.query_offline"):  # fmt: skip
        assert any(each.endswith(name) for each in begun), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, play: Callable[[str, str], Any]) -> None:
    module = play(name, EXAMPLES[name])
    if "async def score" in EXAMPLES[name]:
        import asyncio

        assert len(asyncio.run(module.score(["d1", "d2"]))) == 2


def test_examples_are_typed_as_they_are_written(tmp_path: Path) -> None:
    """All examples in one file, each in a function of its own, pass mypy."""
    parts = [PRELUDE.replace("def compute(cls, rides):", "def compute(cls, rides: Stream) -> Stream:")]
    for i, code in enumerate(EXAMPLES.values()):
        parts.append(
            f"def example_{i}(client: ThymeClient) -> None:\n" + textwrap.indent(code, "    ") + "\n"
        )
    (tmp_path / "examples.py").write_text("\n\n".join(parts))
    repository = PYTHON.parent
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", repository / "pyproject.toml", "--cache-dir",
         repository / ".mypy_cache", "examples.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(PYTHON)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
