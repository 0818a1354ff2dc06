"""The engine in this process: `MockContext` and `thyme.local`, with real values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import thyme
from client.rides import (
    DEFINITIONS,
    ClientFeatures,
    ClientLeg,
    ClientLegFeatures,
    ClientLegStats,
    ClientRide,
    ClientStats,
)
from thyme.errors import InvalidDataError
from thyme.testing import MockContext

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)
RIDES = [
    {"driver": "d1", "fare": 12.5, "seats": None, "at": "2026-03-15T10:00:00Z"},
    {"driver": "d1", "fare": 7.5, "seats": 2, "at": TEN.timestamp() + 600},
    {"driver": "d2", "fare": math.inf, "seats": 1, "at": TEN + timedelta(minutes=5)},
]


@pytest.fixture
def context() -> MockContext:
    context = MockContext()
    assert context.add_events(ClientRide, RIDES) == []
    return context


def test_now_is_the_largest_event_time(context: MockContext) -> None:
    assert MockContext().now == datetime(1970, 1, 1, tzinfo=UTC)
    assert context.now == TEN + timedelta(minutes=10)


def test_aggregates_are_those_at_now_or_another_time(context: MockContext) -> None:
    assert context.get_aggregates(ClientStats, "d1") == {"rides_1h": 2, "fare_sum": 20.0, "last_seats": 2}
    assert context.get_aggregates(ClientStats, "d1", at=TEN)["rides_1h"] == 1
    assert context.get_aggregates(ClientStats, "nobody") == {
        "rides_1h": 0,
        "fare_sum": 0.0,
        "last_seats": None,
    }
    context.now = TEN + timedelta(hours=1)
    assert context.get_aggregates(ClientStats, "d1")["rides_1h"] == 1


def test_all_entities_are_a_polars_frame(context: MockContext) -> None:
    frame = context.get_aggregates_df(ClientStats).sort("driver")
    assert frame["driver"].to_list() == ["d1", "d2"]
    assert frame["fare_sum"].to_list() == [20.0, math.inf]


def test_queries_run_extractors_with_inputs(context: MockContext) -> None:
    row = context.query(ClientFeatures, "d1", inputs={"hour": 23})
    assert row == {"driver": "d1", "rides_1h": 2, "fare_sum": 20.0, "hour": 23, "score": 4.0}
    assert context.query(ClientFeatures, "d1")["score"] == 2.0
    assert context.query(ClientFeatures, "d2")["fare_sum"] == math.inf
    assert context.query(ClientFeatures, "d1", at=TEN)["rides_1h"] == 1


def test_a_training_set_has_the_value_of_each_rows_time(context: MockContext) -> None:
    rows = [
        {"driver": "d1", "at": TEN, "label": "x"},
        {"driver": "d1", "at": "2026-03-15T10:10:00Z", "label": "y"},
        {"driver": "nobody", "at": TEN, "label": "z"},
    ]
    result = context.query_offline(ClientFeatures, rows, entity_column="driver", timestamp_column="at")
    assert result.columns == ["driver", "at", "label", "rides_1h", "fare_sum", "hour", "score"]
    assert result["rides_1h"] == [1, 2, 0]
    assert result["label"] == ["x", "y", "z"]


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, lambda data: pl.DataFrame(data).to_arrow()])
def test_frames_are_events_too(make) -> None:  # type: ignore[no-untyped-def]
    context = MockContext()
    data = {
        "driver": ["d1", "d1"],
        "fare": [1.5, 2.5],
        "seats": [1, 2],
        "at": [datetime(2026, 3, 15, 10), datetime(2026, 3, 15, 10, 1)],
    }
    context.add_events_df(ClientRide, make(data))
    assert context.get_aggregates(ClientStats, "d1") == {"rides_1h": 2, "fare_sum": 4.0, "last_seats": 2}


def test_composite_keys_are_tuples_or_dicts() -> None:
    context = MockContext()
    context.add_events(ClientLeg, [{"origin": "J,F=K", "stops": 2, "at": TEN}] * 3)
    for key in (("J,F=K", 2), {"stops": 2, "origin": "J,F=K"}):
        assert context.get_aggregates(ClientLegStats, key) == {"legs": 3}
        assert context.query(ClientLegFeatures, key)["legs"] == 3


def test_an_invalid_row_names_itself_and_adds_nothing(context: MockContext) -> None:
    rows = [RIDES[0], {"driver": "d1", "fare": "much", "seats": None, "at": TEN}]
    with pytest.raises(InvalidDataError) as caught:
        context.add_events(ClientRide, rows)
    assert [(fault["row"], fault["subject"]) for fault in caught.value.faults] == [(1, "fare")]
    assert context.get_aggregates(ClientStats, "d1")["rides_1h"] == 2


def test_a_local_engine_has_the_clients_interface_and_lasts(tmp_path: Path) -> None:
    with thyme.local(tmp_path / "data", clock="event") as client:
        client.commit(DEFINITIONS)
        position = client.log(ClientRide, RIDES)
        result = client.query(ClientFeatures, "d1")
        assert result["rides_1h"] == 2
        assert result.metadata["mode"] == "online"
        assert result.metadata["as_of"]["position"] == position
        row = client.lookup(ClientRide, "d1")
        assert row is not None
        assert row["at"] == TEN + timedelta(minutes=10)
    with thyme.local(tmp_path / "data", clock="event") as client:
        assert client.query("ClientFeatures", "d1")["fare_sum"] == 20.0
