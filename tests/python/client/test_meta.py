"""How values came about and how fresh they are, through every kind of read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

import thyme
from thyme import (
    Count,
    Max,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    inputs,
    pipeline,
)
from thyme._local import LocalClient
from thyme.errors import ExtractorError

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)


@dataset(index=True)
class MetaRide:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset(version=2)
class MetaStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int
    best: float

    @pipeline
    @inputs(MetaRide)
    def compute(cls, rides):  # type: ignore[no-untyped-def]
        return rides.groupby("driver").aggregate(rides=Count(window="1h"), best=Max(of="fare", window="1h"))


@featureset
class MetaFeatures:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=MetaStats.rides)
    best: float = feature(id=3, ref=MetaStats.best, default=0.0)
    fare: float = feature(id=4, ref=MetaRide.fare)
    hour: int = feature(id=5, request=True, default=12)
    share: float = feature(id=6)
    doubled: float = feature(id=7)
    looked_up: int = feature(id=8)

    @extractor(version=4)
    @extractor_inputs("rides", "fare")
    @extractor_outputs("share")
    def shared(cls, ts, rides, fare):  # type: ignore[no-untyped-def]
        return fare / rides

    @extractor
    @extractor_inputs("share")
    @extractor_outputs("doubled")
    def twice(cls, ts, share):  # type: ignore[no-untyped-def]
        return share * 2

    @extractor(deps=[MetaStats])
    @extractor_inputs("driver")
    @extractor_outputs("looked_up")
    def looks(cls, ts, driver):  # type: ignore[no-untyped-def]
        return MetaStats.lookup(ts, driver=driver)["rides"]


@pytest.fixture(scope="module")
def client() -> Iterator[LocalClient]:
    client = thyme.local(clock="event")
    client.commit([MetaRide, MetaStats, MetaFeatures])
    rides = [
        {"driver": "old", "fare": 5.0, "at": TEN - timedelta(hours=3)},
        {"driver": "new", "fare": 8.0, "at": TEN - timedelta(minutes=30)},
        {"driver": "other", "fare": 1.0, "at": TEN},
    ]
    client.log(MetaRide, rides)
    yield client
    client.close()


def test_each_value_says_how_it_came_about(client: LocalClient) -> None:
    row = client.query(MetaFeatures, "new", meta=True)
    assert row["share"] == 8.0
    assert {name: one.status for name, one in row.meta.items() if name != "hour"} == dict.fromkeys(
        ["driver", "rides", "best", "fare", "share", "doubled", "looked_up"], "OK"
    )
    newest = TEN - timedelta(minutes=30)
    for name in ("rides", "fare", "share", "doubled", "looked_up"):
        assert (row.meta[name].newest, row.meta[name].age_s) == (newest, 1800.0)
    assert [row.meta[name].version for name in ("rides", "fare", "share", "hour")] == [2, 1, 4, None]
    assert row.meta["hour"].status == "DEFAULT"
    assert row.columns == client.query(MetaFeatures, "new").columns
    assert client.query(MetaFeatures, "new").meta == {}


def test_a_feature_that_fails_leaves_the_others_if_its_status_is_read(client: LocalClient) -> None:
    with pytest.raises(ExtractorError):
        client.query(MetaFeatures, "old")
    row = client.query(MetaFeatures, "old", meta=True)
    assert (row["rides"], row["fare"], row["share"], row["doubled"]) == (0, 5.0, None, None)
    assert row.meta["share"].status == row.meta["doubled"].status == "ERROR"
    assert "division by zero" in row.meta["share"].error
    assert row.meta["doubled"].error == row.meta["share"].error
    assert row.meta["best"].status == "DEFAULT"
    assert (row.meta["rides"].status, row.meta["rides"].age_s) == ("OK", 3 * 3600.0)


def test_a_row_that_fails_leaves_the_other_rows(client: LocalClient) -> None:
    batch = client.query_batch(MetaFeatures, ["new", "old", "other"], meta=True)
    assert batch["share"] == [8.0, None, 1.0]
    assert batch.meta["doubled"].status == ["OK", "ERROR", "OK"]
    assert batch.meta["share"].error[0] is None
    assert "division by zero" in batch.meta["share"].error[1]
    assert batch.meta["rides"].newest == [TEN - timedelta(minutes=30), TEN - timedelta(hours=3), TEN]
    assert batch.meta["rides"].version == 2
    assert all("." not in name for name in batch.columns)
    assert "share.status" in batch.to_arrow_with_meta().column_names
    assert batch.to_polars().columns == client.query_batch(MetaFeatures, ["new"]).columns


def test_a_training_set_says_it_of_each_row_at_its_own_time(client: LocalClient, tmp_path: Path) -> None:
    labels = pl.DataFrame({"driver": ["new", "nobody", "old"], "at": [TEN, TEN, TEN - timedelta(hours=2.5)]})
    features = ["rides", "best", "looked_up"]
    asked = {"entity_column": "driver", "timestamp_column": "at", "features": features, "meta": True}
    result = client.query_offline(MetaFeatures, labels, **asked)
    assert result.columns == ["driver", "at", *features]
    assert result.meta["rides"].status == ["OK", "MISSING", "OK"]
    assert result.meta["best"].status == ["OK", "DEFAULT", "OK"]
    assert result.meta["rides"].age_s == result.meta["looked_up"].age_s == [1800.0, None, 1800.0]
    path = tmp_path / "train.parquet"
    client.query_offline(MetaFeatures, labels, **asked, output=path)
    assert pq.read_table(path)["rides.status"].to_pylist() == ["OK", "MISSING", "OK"]
