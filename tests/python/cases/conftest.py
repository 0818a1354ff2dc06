"""What the cases share: their imported definitions, engines, and one engine that was killed twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .case_file import all_cases
from .doors import Types, types_of
from .modules import Definitions, import_cases

if TYPE_CHECKING:
    from thyme import ThymeClient

PACKAGE = __package__ or ""
IMPORT_ROOT = Path(__file__).resolve().parents[len(PACKAGE.split("."))]


@dataclass(frozen=True)
class Prepared:
    """A case's definitions and what their document says."""

    definitions: Definitions
    document: dict[str, Any]
    types: Types


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared | Exception]:
    """All cases, imported; a case that cannot be is its error."""
    from thyme._document import collect

    cases = [case for case in all_cases() if not case.definition_error]
    found: dict[str, Prepared | Exception] = {}
    for name, definitions in import_cases(cases, tmp_path_factory.mktemp("modules")).items():
        if isinstance(definitions, Exception):
            found[name] = definitions
            continue
        try:
            document = collect(definitions.module)
            found[name] = Prepared(definitions, document, types_of(document))
        except Exception as error:
            found[name] = error
    return found


@pytest.fixture(scope="session")
def shards_client() -> Iterator["ThymeClient"]:
    """An engine in memory with three shards."""
    from thyme._local import LocalClient
    from thyme._transport import LocalTransport

    with LocalClient(LocalTransport.open(shards=3)) as client:
        yield client


@pytest.fixture(scope="session")
def offline_client() -> Iterator["ThymeClient"]:
    """An engine in memory."""
    import thyme

    with thyme.local() as client:
        yield client


@pytest.fixture(scope="session")
def http_client(server: Any) -> Iterator["ThymeClient"]:
    """A client of the server that all tests share."""
    import thyme

    with thyme.ThymeClient(server.url) as client:
        yield client


@dataclass(frozen=True)
class Restarted:
    """An engine that was killed after each half of the events, and what went wrong before."""

    client: "ThymeClient"
    errors: dict[str, str]


@pytest.fixture(scope="session")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    """Two processes that were killed, then an engine here on what they left."""
    import thyme

    data = tmp_path_factory.mktemp("restart") / "data"
    errors: dict[str, str] = {}
    for phase in ("1", "2"):
        modules = tmp_path_factory.mktemp(f"restart_modules_{phase}")
        done = subprocess.run(
            [sys.executable, "-m", f"{PACKAGE}.restart_child", phase, str(data), str(modules)],
            cwd=IMPORT_ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(IMPORT_ROOT), *filter(None, sys.path)])},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != -signal.SIGKILL:
            pytest.fail(
                f"life {phase} was not killed but ended with {done.returncode}:\n{done.stderr[-4000:]}"
            )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        errors |= {line["case"]: f"life {phase}: {line['error']}" for line in reversed(lines)}
    with thyme.local(path=data) as client:
        yield Restarted(client, errors)
