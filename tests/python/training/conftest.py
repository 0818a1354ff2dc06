"""An engine with trips, for training sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from thyme import local
from thyme._local import LocalClient
from training.definitions import DEFINITIONS, TrainTrip, trips


class Trained(NamedTuple):
    """An engine, and the events in it."""

    client: LocalClient
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    """An engine with trips."""
    events = trips(900)
    with local() as client:
        client.commit(DEFINITIONS)
        client.log(TrainTrip, events)
        yield Trained(client, events)
