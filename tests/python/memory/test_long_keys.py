"""Entities whose keys are longer than the store's tree takes are kept as all others are."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from running import Server, start_server
from thyme import Count, Sum, dataset, feature, featureset, field, inputs, pipeline
from thyme.client import ThymeClient

LENGTHS = (5, 59_999, 60_001, 65_535, 65_536, 70_000, 1_000_000)


@dataset(index=True)
class Visit:
    page: str = field(key=True)
    seconds: float
    referrer: str
    at: datetime = field(timestamp=True)


@dataset
class FromReferrer:
    referrer: str = field(key=True)
    at: datetime = field(timestamp=True)
    visits: int
    seconds: float

    @pipeline(version=1)
    @inputs(Visit)
    def by_referrer(cls, visits: Any) -> Any:
        return visits.groupby("referrer").aggregate(visits=Count(), seconds=Sum(of="seconds"))


@featureset
class ReferrerFeatures:
    referrer: str = feature(id=1)
    visits: int = feature(id=2, ref=FromReferrer.visits)
    seconds: float = feature(id=3, ref=FromReferrer.seconds)


def page(length: int) -> str:
    return "p" * length


def stop(server: Server, how: signal.Signals) -> None:
    server.process.send_signal(how)
    server.process.wait(60)


@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[2:]], ids=["beside short ones", "alone"])
def test_long_keys_are_there_after_a_checkpoint_and_restarts(
    tmp_path: Path, lengths: tuple[int, ...]
) -> None:
    for start in range(4):
        server = start_server(tmp_path / "data", "--shards", str(1 + start % 2))
        try:
            with ThymeClient(server.url) as client:
                if start == 0:
                    client.commit([Visit, FromReferrer, ReferrerFeatures])
                elif start == 1:
                    # The stop before made a checkpoint, of these entities too.
                    assert client.status()["state"]["checkpoint_position"] != "e0"
                for length in lengths:
                    event = {
                        "page": page(length),
                        "seconds": 0.1 * (start + 1),
                        "referrer": page(length),
                        "at": f"2026-03-01T00:00:0{start}Z",
                    }
                    position = client.log(Visit, [event])
                    got = client.query(ReferrerFeatures, page(length), min_position=position).to_dict()[0]
                    assert got["visits"] == start + 1, length
                    if length > 60_000:
                        continue  # longer than a URL may be
                    row = client.lookup(Visit, page(length))
                    assert row is not None
                    assert row["seconds"] == 0.1 * (start + 1)
        finally:
            stop(server, signal.SIGKILL if start == 2 else signal.SIGTERM)
