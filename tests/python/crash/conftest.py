"""Faults for the servers that these tests kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from .faults import Faults, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def faults(library: Path, tmp_path: Path) -> Faults:
    return Faults(library, tmp_path / "data")
