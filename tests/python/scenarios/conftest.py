"""A server of its own for each scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.lives import Lives
from scenarios.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Lives(tmp_path / "data"))
    try:
        world.lives.start()
        world.lives.wait_ready()
        yield world
    finally:
        world.close()
