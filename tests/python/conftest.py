"""What the Python tests share: a stand-in for the server, and a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running import PYTHON, Server, start_server
from stand_in import FakeServer
from thyme.client import ThymeClient


@pytest.fixture
def fake() -> FakeServer:
    """A stand-in for the server."""
    return FakeServer()


@pytest.fixture
def client(fake: FakeServer) -> ThymeClient:
    """A client of the stand-in."""
    return ThymeClient(transport=fake)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the settings of whoever runs the tests out of them; gives the home directory in effect."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("API_URL", "API_BASE", "QUERY_URL", "FRONTEND_URL", "API_KEY"):
        monkeypatch.delenv(f"THYME_{name}", raising=False)
    return home


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server, shared by all tests; each uses datasets of its own."""
    running = start_server(tmp_path_factory.mktemp("server") / "data")
    yield running
    running.process.terminate()
    running.process.wait(timeout=20)


@pytest.fixture
def run(no_settings: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the `thyme` command in an empty directory."""

    def thyme(*arguments: str, stdin: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "thyme", *arguments],
            env={**os.environ, "PYTHONPATH": str(PYTHON), "HOME": str(no_settings), **environ},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return thyme
