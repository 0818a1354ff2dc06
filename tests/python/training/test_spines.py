"""Training sets without labels: each entity at regular times, each event at its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest

from running import Server
from thyme import (
    Count,
    Sum,
    _labels,
    _spine,
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
from thyme._errors import InvalidDataError, NotFoundError, ThymeError
from thyme._local import LocalClient
from thyme._session import ThymeWarning
from thyme.client import ThymeClient
from thyme.testing import MockContext
from training.conftest import Trained
from training.definitions import DEFINITIONS, START, TrainFeatures, TrainTrip, expected
from training.test_values import bits, same

# All but the request feature, which these rows do not have.
WITHOUT_HOUR = ["rider", "trips_6h", "paid_2d", "mean_paid", "best_tip_1d"]
RANGE = (START, START + timedelta(days=9, seconds=1))


@dataset(max_lateness="1h")
class SpineStop:
    stop: int = field(key=True)
    line: int | None
    zone: str
    kept: bool
    riders: int
    hour: int
    at: datetime = field(timestamp=True)


@dataset
class SpineLine:
    zone: str = field(key=True)
    line: int = field(key=True)
    at: datetime = field(timestamp=True)
    stops_1d: int
    riders_1d: int

    @pipeline(version=1)
    @inputs(SpineStop)
    def compute(cls, stops):  # type: ignore[no-untyped-def]
        return stops.groupby("zone", "line").aggregate(
            stops_1d=Count(window="1d"), riders_1d=Sum(of="riders", window="1d")
        )


@featureset
class SpineFeatures:
    line: int = feature(id=1)
    zone: str = feature(id=2)
    stops_1d: int = feature(id=3, ref=SpineLine.stops_1d)
    riders_1d: int = feature(id=4, ref=SpineLine.riders_1d)
    hour: int = feature(id=5, request=True)
    late: int = feature(id=6)

    @extractor
    @extractor_inputs("riders_1d", "hour")
    @extractor_outputs("late")
    def lated(cls, ts, riders_1d, hour):  # type: ignore[no-untyped-def]
        return riders_1d * hour


STOPS = [SpineStop, SpineLine, SpineFeatures]
ZONES = ["", "b", "a\0", "a", "é"]


def stops(rows: int, first: datetime = START, seed: int = 3) -> list[dict[str, Any]]:
    """Stops in the order of their times, but for some that are too late and some without a line."""
    dice = random.Random(seed)
    made = []
    for i in range(rows):
        behind = 7200 if i % 10 == 7 else dice.randrange(600)
        made.append(
            {
                "stop": i,
                "line": None if i % 25 == 9 else dice.randrange(-3, 4),
                "zone": dice.choice(ZONES),
                "kept": behind < 3600,
                "riders": dice.randrange(50),
                "hour": dice.randrange(24),
                "at": first + timedelta(seconds=700 * i - behind),
            }
        )
    return made


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every training set take several requests, of labels as well as for keys."""
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 97)
    monkeypatch.setattr(_spine, "KEYS_AT_ONCE", 4)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Trained]:
    """An engine with stops."""
    with local(clock="event") as client:
        client.commit(STOPS)
        events = stops(600)
        for start in range(0, len(events), 50):
            client.log(SpineStop, events[start : start + 50])
        yield Trained(client, events)


def as_labels(client: Any, definition: Any, rows: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """What the ordinary path gives for these rows."""
    given: list[dict[str, Any]] = client.query_offline(definition, rows, **more).to_dict()
    return given


def test_every_entity_comes_at_every_time_as_labels_and_the_slow_way_have_it(trained: Trained) -> None:
    result = trained.client.query_offline(
        TrainFeatures, time_range=RANGE, every="12h", features=WITHOUT_HOUR, timestamp_column="as_of"
    )
    assert result.columns == ["rider", "as_of", *WITHOUT_HOUR[1:]]
    times = [START + timedelta(hours=12 * i) for i in range(19)]  # 9 days and a second: the end is left out
    riders = sorted({event["rider"] for event in trained.events})
    rows = result.to_dict()
    assert [(row["rider"], row["as_of"]) for row in rows] == [(r, t) for r in riders for t in times]
    plain = [{"rider": rider, "as_of": time} for rider in riders for time in times]
    assert rows == as_labels(
        trained.client, TrainFeatures, plain, timestamp_column="as_of", features=WITHOUT_HOUR
    )
    for row in rows:
        wanted = expected({"rider": row["rider"], "at": row["as_of"], "hour": 0}, trained.events)
        assert all(bits(row[name]) == bits(wanted[name]) for name in WITHOUT_HOUR[1:])


def test_the_end_of_the_range_is_left_out_and_its_beginning_is_not(trained: Trained) -> None:
    result = trained.client.query_offline(
        TrainFeatures, time_range=(START, START + timedelta(days=2)), every="1d", features=[2]
    )
    assert result.columns == ["rider", "timestamp", "trips_6h"]
    assert set(result["timestamp"]) == {START, START + timedelta(days=1)}


def test_composite_keys_come_in_the_order_of_their_values(stopped: Trained) -> None:
    day = (START + timedelta(days=1), START + timedelta(days=4))
    result = stopped.client.query_offline(SpineFeatures, time_range=day, every="1d", features=[1, 2, 3, 4])
    # An event that is late is not counted, so it makes nobody known either.
    known = {(e["line"], e["zone"]) for e in stopped.events if e["kept"] and e["line"] is not None}
    wanted = sorted(known, key=lambda key: (key[0], key[1].encode()))
    rows = result.to_dict()
    assert [(row["line"], row["zone"]) for row in rows[::3]] == wanted
    for row in rows:
        counted = [
            e
            for e in stopped.events
            if e["kept"]
            and (e["line"], e["zone"]) == (row["line"], row["zone"])
            and row["timestamp"] - timedelta(days=1) < e["at"] <= row["timestamp"]
        ]
        assert (row["stops_1d"], row["riders_1d"]) == (len(counted), sum(e["riders"] for e in counted))


def test_each_event_that_counts_comes_at_its_time_with_its_fields_in_the_order_of_the_log(
    stopped: Trained,
) -> None:
    with pytest.warns(ThymeWarning, match="24 events of SpineStop name no entity"):
        result = stopped.client.query_offline(SpineFeatures, spine=SpineStop)
    assert result.columns == [*stopped.events[0], "stops_1d", "riders_1d", "late"]
    counted = [e for e in stopped.events if e["kept"] and e["line"] is not None]
    rows = result.to_dict()
    assert [{name: row[name] for name in counted[0]} for row in rows] == counted
    assert rows == as_labels(stopped.client, SpineFeatures, counted, timestamp_column="at")
    for row in rows[::7]:
        assert row["late"] == row["riders_1d"] * row["hour"]  # a field gives the request feature


def test_a_range_takes_events_from_its_beginning_and_up_to_before_its_end(trained: Trained) -> None:
    moments = sorted({event["at"] for event in trained.events})
    start, end = moments[100], moments[200]
    for between in [(start, end), (start, None), (None, end)]:
        rows = trained.client.query_offline(
            TrainFeatures, spine="TrainTrip", time_range=between, features=WITHOUT_HOUR
        ).to_dict()
        after, before = between[0] or moments[0], between[1] or moments[-1] + timedelta(seconds=1)
        chosen = [event for event in trained.events if after <= event["at"] < before]
        assert [row["at"] for row in rows] == [event["at"] for event in chosen]
        for row in rows[::20]:
            wanted = expected({**row, "hour": 0}, trained.events)
            assert all(bits(row[name]) == bits(wanted[name]) for name in WITHOUT_HOUR[1:])


@pytest.mark.parametrize("spine", [{"spine": TrainTrip}, {"every": "1d", "time_range": RANGE}])
def test_what_is_pushed_meanwhile_is_in_no_row(spine: dict[str, Any]) -> None:
    with local() as client:
        client.commit(DEFINITIONS)
        events = [{"rider": f"r{i:03}", "paid": 1.0, "tip": None, "at": START} for i in range(300)]
        client.log(TrainTrip, events)

        def told(done: int) -> None:
            client.log(TrainTrip, [{"rider": "new", "paid": 1.0, "tip": None, "at": START}, events[-1]])

        asked: dict[str, Any] = {"features": [2, 3], **spine}
        first = client.query_offline(TrainFeatures, progress=told, **asked)
        position = first.metadata["as_of"]["position"]
        assert "new" not in first["rider"]
        assert first.to_dict() == client.query_offline(TrainFeatures, position=position, **asked).to_dict()
        now = client.query_offline(TrainFeatures, **asked)
        assert "new" in now["rider"]
        assert max(now["trips_6h"]) > 1


def test_events_stop_at_a_row_within_a_record(trained: Trained) -> None:
    rows = trained.client.query_offline(TrainFeatures, spine=TrainTrip, features=[2], position="e2.41")
    assert [row["at"] for row in rows.to_dict()] == [event["at"] for event in trained.events[:42]]


def test_entities_that_rest_in_the_store_are_known_too(tmp_path: Path) -> None:
    events = [
        {"rider": f"{'x' * 200}{i:06}", "paid": 1.0, "tip": None, "at": START + timedelta(minutes=i % 600)}
        for i in range(40_000)
    ]
    with local(tmp_path / "data", memory="128MiB") as client:
        client.commit(DEFINITIONS)
        client.log(TrainTrip, pl.DataFrame(events))
        client.query(TrainFeatures, "nobody", {"hour": 0})  # waits for what was pushed
        assert _keys(client) == sorted(event["rider"] for event in events)
    with local(tmp_path / "data", memory="128MiB") as again:
        assert _keys(again) == sorted(event["rider"] for event in events)


def _keys(client: LocalClient) -> list[str]:
    """The riders by pages of the endpoint."""
    from thyme._steps import run

    found: list[str] = []
    following: str | None = None
    while True:
        asked = {"featureset": "TrainFeatures", "from": "2026-03-01", "limit": 15_000, "next": following}
        answer = run(client._calls._session.table("GET", "/api/v1/entities", asked))
        found.extend(answer["rider"])
        following = answer.metadata["next"]
        if following is None:
            return found
        assert len(answer) == 15_000


def test_whose_events_retention_has_passed_by_then_is_not_known() -> None:
    @dataset(retention="30d")
    class SpineKept:
        who: str = field(key=True)
        at: datetime = field(timestamp=True)

    @dataset
    class SpineKeptCount:
        who: str = field(key=True)
        at: datetime = field(timestamp=True)
        n: int

        @pipeline(version=1)
        @inputs(SpineKept)
        def compute(cls, kept):  # type: ignore[no-untyped-def]
            return kept.groupby("who").aggregate(n=Count())

    @featureset
    class SpineKeptFeatures:
        who: str = feature(id=1)
        n: int = feature(id=2, ref=SpineKeptCount.n)

    context = MockContext()
    context.add_events(
        SpineKept,
        [{"who": f"w{day:02}", "at": START + timedelta(days=day)} for day in range(20)],
    )
    first = START + timedelta(days=35)
    rows = context.query_offline(
        SpineKeptFeatures, time_range=(first, first + timedelta(days=8)), every="7d"
    ).to_dict()
    # The windows at the first time reach back to day 5, without it: who has only older events counts nowhere.
    # The second time sees less of them, and they are there.
    assert [row["who"] for row in rows[::2]] == [f"w{day:02}" for day in range(6, 20)]
    assert [row["n"] for row in rows[::2]] == [1] * 14
    assert [row["n"] for row in rows[1::2]] == [0] * 7 + [1] * 7


def test_a_test_context_has_them_too() -> None:
    context = MockContext()
    context.add_events(SpineStop, [event for event in stops(60) if event["line"] is not None])
    by_event = context.query_offline(SpineFeatures, spine=SpineStop)
    assert len(by_event) == len([e for e in stops(60) if e["kept"] and e["line"] is not None])
    by_time = context.query_offline(
        SpineFeatures, time_range=("2026-03-01T06:00:00Z", "2026-03-02"), every="6h", features=[3]
    )
    assert set(by_time["timestamp"]) == {START + timedelta(hours=h) for h in (6, 12, 18)}


def test_nobody_and_no_event_give_no_rows_and_all_columns() -> None:
    context = MockContext()
    context.add_events(TrainTrip, [])
    by_event = context.query_offline(TrainFeatures, spine=TrainTrip, features=[2])
    assert (len(by_event), by_event.columns) == (0, ["rider", "paid", "tip", "at", "trips_6h"])
    by_time = context.query_offline(TrainFeatures, time_range=RANGE, every="1d", features=[2])
    assert (len(by_time), by_time.columns) == (0, ["rider", "timestamp", "trips_6h"])


@featureset
class SpineAlone:
    name: str = feature(id=1)
    shout: str = feature(id=2)

    @extractor
    @extractor_inputs("name")
    @extractor_outputs("shout")
    def shouted(cls, ts, name):  # type: ignore[no-untyped-def]
        return name.upper()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "give rows .* spine="),
        ({"every": "1d"}, "every= needs time_range="),
        ({"time_range": RANGE}, "time_range= needs every="),
        ({"time_range": (RANGE[0], None), "every": "1d"}, "both of them"),
        ({"time_range": RANGE[::-1], "every": "1d"}, "should end after it starts"),
        ({"time_range": START, "every": "1d"}, r"time_range should be \(start, end\)"),
        ({"time_range": RANGE, "every": "daily"}, "every: .*daily"),
        ({"time_range": RANGE, "every": "1d", "spine": TrainTrip}, "every= is for all entities"),
        ({"entities": [], "spine": TrainTrip}, "not both"),
        ({"time_range": RANGE, "every": "1d", "timestamp_column": "rider"}, "another name"),
        ({"time_range": RANGE, "every": "1d", "entity_column": "who"}, "leave entity_column out"),
        ({"spine": TrainTrip, "timestamp_column": "when"}, '"at", not "when"'),
        ({"spine": TrainTrip, "entity_column": "who"}, 'no field "who"'),
        ({"spine": "TrainRider", "features": [2]}, "rename the column"),
        ({"spine": TrainTrip}, "hour"),
    ],
)
def test_what_does_not_go_together_is_said(trained: Trained, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDataError, match=said):
        trained.client.query_offline(TrainFeatures, **asked)


def test_what_is_not_there_is_said(trained: Trained) -> None:
    with pytest.raises(NotFoundError, match="TrainTrip"):
        trained.client.query_offline(TrainFeatures, spine="Trips")
    with pytest.raises(ThymeError, match="TrainRider is derived"):
        trained.client.query_offline(TrainFeatures, spine="TrainRider", features=["rider"])
    context = MockContext()
    with pytest.raises(InvalidDataError, match="nobody knows which entities there are; give rows"):
        context.query_offline(SpineAlone, time_range=RANGE, every="1d")


def test_as_served_sees_what_was_known_and_the_command_writes_the_same(
    server: Server, run: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    with ThymeClient(server.url) as client:
        client.commit(STOPS)
        now = datetime.now(UTC)
        first = stops(100, now - timedelta(hours=20))
        client.log(SpineStop, first)
        between = datetime.now(UTC)
        client.log(SpineStop, stops(100, now - timedelta(hours=20), seed=4))
        end = datetime.now(UTC)
        start = between - timedelta(hours=2)
        grid = {"time_range": (start, end), "every": "30m", "features": [3, 4]}
        served = client.query_offline(SpineFeatures, as_served=True, **grid)
        plain = client.query_offline(SpineFeatures, **grid)
        keys = ["line", "zone", "timestamp"]
        labels = served.to_polars().select(keys)
        asked = {"timestamp_column": "timestamp", "features": [3, 4]}
        assert served.metadata["as_of"]["as_served"] is True
        assert served.to_dict() == as_labels(client, SpineFeatures, labels, as_served=True, **asked)
        assert plain.to_dict() == as_labels(client, SpineFeatures, labels, **asked)
        assert served.to_dict() != plain.to_dict()
        events = client.query_offline(SpineFeatures, spine=SpineStop, time_range=(start, None))

    reach = ("--from", start.isoformat())
    url = ("--url", server.url)
    done = run(*url, "query-offline", "SpineFeatures", "--every", "30m", *reach, "--until", end.isoformat(),
               "--feature", "3", "--feature", "4", "--as-served", "-o", "grid.parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "grid.parquet").equals(served.to_polars())
    done = run(*url, "query-offline", "SpineFeatures", "--spine", "SpineStop", *reach, "-o", "events.csv")
    assert done.returncode == 0, done.stderr
    assert pl.read_csv(tmp_path / "events.csv").height == len(events)
    wrong = run(*url, "query-offline", "SpineFeatures", "--spine", "SpineStop", "-e", "x", "--at", "0")
    assert wrong.returncode != 0
    assert "Give one of --input FILE" in wrong.stderr


def test_rows_are_the_same_whatever_the_slices(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"spine": TrainTrip, "features": WITHOUT_HOUR}
    small = trained.client.query_offline(TrainFeatures, **asked).to_dict()
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 250_000)
    large = trained.client.query_offline(TrainFeatures, **asked).to_dict()
    assert all(same({**a, "score": 0}, {**b, "score": 0}) for a, b in zip(small, large, strict=True))
