"""Vectorized extractors: the same values through every door, whatever shape they return, and how they fail."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest

from thyme import (
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
from thyme._document import collect
from thyme.cli.inspect import _print_extractors
from thyme.errors import ThymeError

START = datetime(2026, 3, 15, 10, tzinfo=timezone.utc)


@dataset(index=True)
class VRide:
    """Rides."""

    driver: str = field(key=True)
    fare: float | None
    seats: int
    at: datetime = field(timestamp=True)


@dataset
class VStats:
    """Of a driver."""

    driver: str = field(key=True)
    rides: int
    fares: float
    at: datetime = field(timestamp=True)

    @pipeline
    @inputs(VRide)
    def compute(cls, rides: Any) -> Any:
        """Over an hour."""
        return rides.groupby("driver").aggregate(rides=Count(window="1h"), fares=Sum(of="fare", window="1h"))


@featureset
class VRows:
    """By rows."""

    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=VStats.rides)
    fares: float = feature(id=3, ref=VStats.fares)
    factor: float = feature(id=4, request=True, default=1.5)
    score: float = feature(id=5)
    busy: bool = feature(id=6)
    label: str = feature(id=7)
    last_fare: float | None = feature(id=8)
    last_at: datetime | None = feature(id=9)
    half: float = feature(id=10)

    @extractor
    @extractor_inputs("fares", "factor", "rides")
    @extractor_outputs("score", "busy")
    def scored(cls, ts, fares, factor, rides):
        """A tuple."""
        return fares * factor + ts.hour, rides >= 2

    @extractor
    @extractor_inputs("driver", "rides")
    @extractor_outputs("label")
    def labelled(cls, ts, inputs):
        """A text."""
        return inputs["driver"] + "/" + str(inputs["rides"])

    @extractor
    @extractor_inputs("driver")
    @extractor_outputs("last_fare", "last_at")
    def last(cls, ts, inputs):
        """A lookup."""
        row = VRide.lookup(ts - timedelta(minutes=1), driver=inputs["driver"])
        return {"last_fare": row["fare"], "last_at": row["at"]}

    @extractor
    @extractor_inputs("rides")
    @extractor_outputs("half")
    def halved(cls, ts, rides):
        """Of an int."""
        return rides / 2


@featureset
class VColumns:
    """By columns."""

    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=VStats.rides)
    fares: float = feature(id=3, ref=VStats.fares)
    factor: float = feature(id=4, request=True, default=1.5)
    score: float = feature(id=5)
    busy: bool = feature(id=6)
    label: str = feature(id=7)
    last_fare: float | None = feature(id=8)
    last_at: datetime | None = feature(id=9)
    half: float = feature(id=10)

    @extractor(vectorized=True)
    @extractor_inputs("fares", "factor", "rides")
    @extractor_outputs("score", "busy")
    def scored(cls, ts, fares, factor, rides):
        """A tuple of Series."""
        return fares * factor + ts.dt.hour(), rides >= 2

    @extractor(vectorized=True)
    @extractor_inputs("driver", "rides")
    @extractor_outputs("label")
    def labelled(cls, ts, inputs):
        """A frame in, a frame out."""
        return inputs.select(label=pl.col("driver") + "/" + pl.col("rides").cast(pl.String))

    @extractor(vectorized=True)
    @extractor_inputs("driver")
    @extractor_outputs("last_fare", "last_at")
    def last(cls, ts, inputs):
        """A lookup of all rows."""
        row = VRide.lookup(ts - timedelta(minutes=1), driver=inputs["driver"])
        return {"last_fare": row["fare"], "last_at": row["at"]}

    @extractor(vectorized=True)
    @extractor_inputs("rides")
    @extractor_outputs("half")
    def halved(cls, ts, rides):
        """An array of NumPy."""
        return np.asarray(rides, dtype=np.float32) / 2


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


def opened(*featuresets: type) -> ThymeClient:
    client = local(clock="event")
    client.commit([VRide, VStats, *featuresets])
    client.log("VRide", rows())
    return client


def answers(client: ThymeClient, featureset: type) -> list[Any]:
    """Online, in a batch with facts, and at labels."""
    ids = [f"d{number}" for number in range(9)]
    labels = [
        {"driver": each, "at": START + timedelta(seconds=700 * n), "factor": n / 3}
        for n in range(9)
        for each in ids
    ]
    columns = {"entity_column": "driver", "timestamp_column": "at"}
    facts = client.query_batch(featureset, ids, meta=True)
    return [
        [client.query(featureset, each, {"factor": 0.1}).to_dict() for each in ids],
        facts.to_dict(),
        {name: (each.status, each.newest) for name, each in facts.meta.items()},
        client.query_offline(featureset, labels, **columns).to_dict(),
    ]


def test_columns_give_what_rows_give_through_every_door() -> None:
    with opened(VRows, VColumns) as client:
        assert repr(answers(client, VColumns)) == repr(answers(client, VRows))


def test_lookups_of_columns_are_at_what_was_known_for_each_row() -> None:
    with local() as client:
        client.commit([VRide, VStats, VRows, VColumns])
        now = datetime.now(timezone.utc)
        for number in range(4):
            at = now - timedelta(minutes=10 - number)
            client.log("VRide", [{"driver": "d1", "fare": 1.0 * number, "seats": 1, "at": at}])
        known = datetime.now(timezone.utc)
        client.log("VRide", [{"driver": "d1", "fare": 9.0, "seats": 1, "at": now - timedelta(minutes=5)}])
        labels = [{"driver": "d1", "at": at} for at in (known, datetime.now(timezone.utc)) for _ in "ab"]
        found = [
            client.query_offline(
                each, labels, entity_column="driver", timestamp_column="at", as_served=True
            ).to_dict()
            for each in (VRows, VColumns)
        ]
        assert repr(found[0]) == repr(found[1])
        assert [row["last_fare"] for row in found[1]] == [3.0, 3.0, 9.0, 9.0]


def test_it_is_said_of_a_vectorized_extractor_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with opened(VColumns) as client:
        (said, *_) = client.inspect(VColumns)["extractors"]
        assert (said["runs_in"], said["vectorized"]) == ("CPython", True)
        _print_extractors([said])
        assert capsys.readouterr().out == "  extractor scored runs in CPython, vectorized\n"
    document = collect([VRide, VStats, VRows, VColumns])
    marks = {
        each["name"]: ["vectorized" in one for one in each["extractors"]] for each in document["featuresets"]
    }
    assert marks == {"VRows": [False] * 4, "VColumns": [True] * 4}


def featureset_of(function: Any, *, output: Any = float, vectorized: bool = True) -> type:
    """A featureset with one extractor of the seats and the fare of the last ride."""
    marked = extractor(vectorized=vectorized)(
        extractor_inputs("seats", "fare")(extractor_outputs("y")(function))
    )
    names = {
        "__annotations__": {"driver": str, "seats": int, "fare": float | None, "y": output},
        "__module__": __name__,
        "driver": feature(id=1),
        "seats": feature(id=2, ref=VRide.seats),
        "fare": feature(id=3, ref=VRide.fare),
        "y": feature(id=4),
        function.__name__: marked,
    }
    return featureset(type("VOne", (), names))


def test_rows_that_fail_fail_alone() -> None:
    def f(cls, ts, seats, fare):
        if (seats == 4).any():
            raise ValueError("four seats")
        return seats * 1.0

    with opened(featureset_of(f)) as client:
        ids = [f"d{number}" for number in range(7)]
        result = client.query_batch("VOne", ids, meta=True)
        seats = [row["seats"] for row in result.to_dict()]
        expected = ["ERROR" if each == 4 else "OK" for each in seats]
        assert result.meta["y"].status == expected
        assert {"ERROR", "OK"} == set(expected)
        assert [row["y"] for row in result.to_dict()] == [None if each == 4 else each * 1.0 for each in seats]
        failed = expected.index("ERROR")
        assert "VOne.f: ValueError: four seats (" in result.meta["y"].error[failed]
        with pytest.raises(ThymeError, match="four seats"):
            client.query_batch("VOne", ids)


def returned(kind: str) -> Any:
    """An extractor that returns something of a kind."""

    def shorter(cls, ts, seats, fare):
        return fare.drop_nulls().head(1)

    def of_text(cls, ts, seats, fare):
        return seats.cast(pl.String)

    def nothing(cls, ts, seats, fare):
        seats * 2

    def listed(cls, ts, seats, fare):
        return seats.to_list()

    def of_lists(cls, ts, seats, fare):
        return pl.Series([[one] for one in seats])

    def otherwise(cls, ts, seats, fare):
        return {"x": seats}

    def mixed(cls, ts, seats, fare):
        return seats - seats.mean()

    def once(cls, ts, seats, fare):
        return VRide.lookup(ts[0], driver="d1")["fare"]

    def filtered(cls, ts, seats, fare):
        return VRide.lookup(ts.head(1), driver=seats.cast(pl.String))["fare"]

    return {one.__name__: one for one in (
        shorter, of_text, nothing, listed, of_lists, otherwise, mixed, once, filtered
    )}[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shorter", "expected 3 rows for y, one for each row given, got 1"),
        ("of_text", "y is declared float, the extractor returned a str"),
        ("nothing", "expected a polars Series of 3 rows for y, got NoneType"),
        ("listed", "expected a polars Series of 3 rows for y, got a list"),
        ("of_lists", "expected a Series of int, float, str, bool or datetime for y, got one of List"),
        ("otherwise", "expected a dict with y, got one with x"),
        ("mixed", "depends on the rows it is run with"),
        ("once", "takes a Series for ts, a row for each row given; got a datetime"),
        ("filtered", "takes as many rows for ts as the extractor was given, 3, since"),
    ],
)
def test_what_is_no_column_of_the_rows_is_refused(kind: str, said: str) -> None:
    one = featureset_of(returned(kind))
    with opened(one) as client, pytest.raises(ThymeError, match=said):
        client.query_batch("VOne", ["d1", "d2", "d3"])


def test_values_of_every_type_come_back_as_they_are() -> None:
    def floats(cls, ts, seats, fare):
        odd = pl.Series([math.nan, -0.0, None, math.inf, 1e-310], dtype=pl.Float64)
        return odd.gather(seats.clip(0, 4))

    def narrow(cls, ts, seats, fare):
        return seats.cast(pl.UInt8)

    def times(cls, ts, seats, fare):
        return (ts.dt.replace_time_zone(None) + seats * timedelta(microseconds=1)).cast(pl.Datetime("ns"))

    def categories(cls, ts, seats, fare):
        return seats.cast(pl.String).cast(pl.Categorical)

    def nulls(cls, ts, seats, fare):
        return pl.Series([None] * len(seats))

    ids = [f"d{number}" for number in range(7)]
    at = START + timedelta(hours=3)
    for function, output, expected in (
        (floats, float, [math.nan, 0.0, None, math.inf, 1e-310]),
        (narrow, int, [0, 1, 2, 3, 4]),
        (times, datetime, [at + timedelta(microseconds=number) for number in range(5)]),
        (categories, str, ["0", "1", "2", "3", "4"]),
        (nulls, str, [None] * 5),
    ):
        with opened(featureset_of(function, output=output)) as client:
            found = client.query_batch("VOne", ids, at=at).to_dict()
            for row in found:
                value = row["y"]
                utc = value.astimezone(timezone.utc) if isinstance(value, datetime) else value
                assert repr(utc) == repr(expected[row["seats"]]), function.__name__


def test_to_make_an_extractor_vectorized_takes_a_new_version() -> None:
    def f(cls, ts, seats, fare):
        return seats * 1.0

    wanted = "vectorized: false -> true; bump @extractor"
    with opened(featureset_of(f, vectorized=False)) as client, pytest.raises(ThymeError, match=wanted):
        client.commit([VRide, VStats, featureset_of(f)])


def test_vectorized_is_true_or_false() -> None:
    with pytest.raises(TypeError, match=r"@extractor\(vectorized=\) takes True or False"):
        extractor(vectorized="yes")  # type: ignore[call-overload]
