"""Compiled extractors behind the doors: what is said of them, how they fail, and that nothing else is different."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from thyme import (
    Avg,
    Count,
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
from thyme._host import Host
from thyme.errors import ThymeError

START = datetime(2026, 3, 15, 10, tzinfo=timezone.utc)
LIMIT = 30.0


@dataset(index=True)
class CRide:
    """Rides."""

    driver: str = field(key=True)
    fare: float | None
    seats: int
    at: datetime = field(timestamp=True)


@dataset
class CStats:
    """Of a driver."""

    driver: str = field(key=True)
    rides: int
    fares: float
    seats: int
    mean: float | None
    at: datetime = field(timestamp=True)

    @pipeline
    @inputs(CRide)
    def compute(cls, rides: Any) -> Any:
        """Over an hour."""
        return rides.groupby("driver").aggregate(
            rides=Count(window="1h"),
            fares=Sum(of="fare", window="1h"),
            seats=Sum(of="seats"),
            mean=Avg(of="fare"),
        )


def share(part: float, whole: float) -> float:
    """A part of a whole."""
    return part / whole if whole else 0.0


@featureset
class CFeatures:
    """Some by compiled extractors, some by CPython's."""

    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=CStats.rides)
    fares: float = feature(id=3, ref=CStats.fares)
    seats: int = feature(id=4, ref=CStats.seats)
    factor: float = feature(id=5, request=True, default=1.5)
    score: float = feature(id=6)
    busy: bool = feature(id=7)
    last_fare: float = feature(id=8)
    last_seats: int = feature(id=9)
    per_ride: float = feature(id=10)
    squared: int = feature(id=11)
    summed: float = feature(id=12)
    hour: int = feature(id=13)

    @extractor
    @extractor_inputs("fares", "factor", "rides")
    @extractor_outputs("score", "busy")
    def scored(cls, ts, fares, factor, rides):
        """Two outputs, a function and a constant of the module."""
        score = round(min(fares * factor, LIMIT), 1)
        return score + share(fares, rides), rides >= 2

    @extractor
    @extractor_inputs("driver")
    @extractor_outputs("last_fare", "last_seats")
    def last(cls, ts, inputs):
        """A lookup."""
        row = CRide.lookup(ts - timedelta(minutes=1), driver=inputs["driver"])
        return {"last_fare": row["fare"] or 0.0, "last_seats": row.get("seats")}

    @extractor
    @extractor_inputs("fares", "rides")
    @extractor_outputs("per_ride")
    def per_ride_of(cls, ts, fares, rides):
        """Fails for whoever has no rides."""
        return fares / rides

    @extractor
    @extractor_inputs("seats")
    @extractor_outputs("squared")
    def squared_of(cls, ts, seats):
        """Goes through ints outside int64."""
        return seats * 2**62 // 2**62 * seats

    @extractor
    @extractor_inputs("score", "squared")
    @extractor_outputs("summed")
    def summed_of(cls, ts, score, squared):
        """In CPython."""
        return sum([score, squared])

    @extractor
    @extractor_inputs()
    @extractor_outputs("hour")
    def hour_of(cls, ts):
        """Of no input."""
        return ts.hour


ALL = [name for name in CFeatures.__annotations__ if name != "per_ride"]


def rows() -> list[dict[str, Any]]:
    """A few rides of a few drivers."""
    chance = random.Random(7)
    return [
        {
            "driver": f"d{chance.randint(0, 6)}",
            "fare": chance.choice((None, round(chance.uniform(1, 30), 2))),
            "seats": chance.randint(0, 4),
            "at": START + timedelta(seconds=chance.randint(0, 7000)),
        }
        for _ in range(60)
    ]


def opened() -> ThymeClient:
    client = local(clock="event")
    client.commit([CRide, CStats, CFeatures])
    client.log("CRide", rows())
    return client


def test_inspect_says_which_run_where_and_why() -> None:
    with opened() as client:
        said = {each["name"]: each for each in client.inspect(CFeatures)["extractors"]}
    runs = {name: each["runs_in"] for name, each in said.items()}
    assert runs == {**dict.fromkeys(said, "Rust"), "summed_of": "CPython"}
    assert "because" not in said["last"]
    assert said["summed_of"]["because"].startswith("a call of `sum` (")
    line = CFeatures.summed_of.__code__.co_firstlineno
    assert f"test_doors.py:{line + 5})" in said["summed_of"]["because"]


def answers(client: ThymeClient) -> list[Any]:
    """Online, in a batch, at labels and as served, with their facts."""
    ids = [f"d{number}" for number in range(9)]
    labels = [
        {"driver": each, "at": START + timedelta(seconds=700 * n), "factor": n / 3}
        for n in range(9)
        for each in ids
    ]
    offline = client.query_offline(
        CFeatures, labels, entity_column="driver", timestamp_column="at", features=ALL
    )
    facts = client.query_batch(CFeatures, ids, meta=True)
    return [
        [client.query(CFeatures, each, {"factor": 0.1}, features=ALL).to_dict() for each in ids],
        client.query_batch(CFeatures, ids, features=ALL).to_dict(),
        offline.to_dict(),
        facts.to_dict(),
        facts.meta,
    ]


def test_everything_is_the_same_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as client:
        compiled = answers(client)
    monkeypatch.setenv("THYME_COMPILE", "0")
    with opened() as client:
        said = client.inspect(CFeatures)["extractors"]
        assert {(each["runs_in"], each["because"]) for each in said} == {("CPython", "THYME_COMPILE=0")}
        assert repr(answers(client)) == repr(compiled)


@pytest.mark.parametrize("compiles", ["1", "0"])
def test_an_extractor_that_fails_fails_alone(compiles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THYME_COMPILE", compiles)
    with opened() as client:
        result = client.query_batch(CFeatures, ["d1", "nobody"], meta=True)
        (one, nobody), meta = result.to_dict(), result.meta
        assert one["per_ride"] is not None
        assert nobody["per_ride"] is None
        assert nobody["hour"] is not None
        assert meta["per_ride"].status == ["OK", "ERROR"]
        assert meta["hour"].status == ["OK", "OK"]
        assert (
            "CFeatures.per_ride_of: ZeroDivisionError: float division by zero (" in meta["per_ride"].error[1]
        )
        (event,) = client.events(event_type="extractor_failed")
        assert (event["severity"], event["subject"]) == ("error", "CFeatures.per_ride_of")
        assert "ZeroDivisionError" in event["message"]


def test_what_is_compiled_never_calls_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(self: Host, handle: int, *rest: Any) -> None:
        raise AssertionError("Python was called")

    with opened() as client:
        monkeypatch.setattr(Host, "call", called)
        some = ["score", "busy", "last_fare", "last_seats", "hour"]
        labels = [{"driver": f"d{n}", "at": START + timedelta(seconds=700 * n)} for n in range(9)]
        found = client.query_offline(
            CFeatures, labels, entity_column="driver", timestamp_column="at", features=some
        ).to_dict()
        assert len({row["score"] for row in found}) > 3
        assert client.query(CFeatures, "d1", features=some).to_dict()[0]["hour"] == 11
        with pytest.raises(ThymeError, match="Python was called"):
            client.query(CFeatures, "d1", features=["summed"])
