"""The definitions of the directories in this folder: every kind of field, key, aggregate and stream.

What a committed directory was made with stays in its log; this file only matters when another is made.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from thyme import (
    Avg,
    Count,
    CountBy,
    Distinct,
    First,
    Last,
    LastK,
    Length,
    Max,
    Min,
    Scale,
    Sum,
    TopK,
    col,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    inputs,
    pipeline,
    source,
)
from thyme.connectors import FileSource


@dataset(index=True, max_lateness="1h", on_error="skip")
class Trip:
    rider: str = field(key=True)
    stop: int = field(key=True)
    fare: float
    tip: float | None
    seats: int | None
    paid: bool
    note: str | None
    booked: datetime | None
    day: date | None
    toll: Annotated[Decimal, Scale(2)] | None
    token: bytes | None
    legs: list[int] | None
    marks: dict[str, float] | None
    taste: Annotated[list[float], Length(3)] | None
    extra: dict | None
    at: datetime = field(timestamp=True)


@source(FileSource(path="files/*.csv"), max_lateness="2d")
@dataset
class Refund:
    rider: str = field(key=True)
    amount: float | None
    at: datetime = field(timestamp=True)


@dataset
class RiderStats:
    rider: str = field(key=True)
    at: datetime = field(timestamp=True)
    trips: int
    tips: int
    fare_sum: float
    fare_1h: float
    fare_avg: float | None
    seats_sum: int
    seats_avg: float | None
    tip_min: float | None
    tip_max_1d: float | None
    note_first: str | None
    note_last: str | None
    booked_last: datetime | None
    paid_last: bool | None
    dear: int

    @pipeline(version=1)
    @inputs(Trip)
    def by_rider(cls, trips):
        return trips.groupby("rider").aggregate(
            trips=Count(),
            tips=Count(of="tip"),
            fare_sum=Sum(of="fare"),
            fare_1h=Sum(of="fare", window="1h"),
            fare_avg=Avg(of="fare"),
            seats_sum=Sum(of="seats"),
            seats_avg=Avg(of="seats", window="7d"),
            tip_min=Min(of="tip"),
            tip_max_1d=Max(of="tip", window="1d"),
            note_first=First(of="note"),
            note_last=Last(of="note", window="2h"),
            booked_last=Last(of="booked"),
            paid_last=Last(of="paid"),
            dear=Count(where=col("fare") > 20.0, window="1d"),
        )


@dataset
class Belongings:
    """Of every type that is no plain one."""

    rider: str = field(key=True)
    at: datetime = field(timestamp=True)
    day_max: date | None
    toll_sum: Annotated[Decimal, Scale(2)]
    toll_max_1h: Annotated[Decimal, Scale(2)] | None
    tolls: int
    token_last: bytes | None
    legs_first: list[int] | None
    legs_count: int
    marks_last: dict[str, float] | None
    taste_sum: Annotated[list[float], Length(3)]
    taste_avg_1h: Annotated[list[float], Length(3)] | None
    taste_last: Annotated[list[float], Length(3)] | None
    extra_last: dict | None
    extra_first_1h: dict | None
    days: list[date]
    dear: list[bytes]
    last_tolls: list[Annotated[Decimal, Scale(2)]]
    by_note: dict[str, int]
    extras: int

    @pipeline(version=1)
    @inputs(Trip)
    def by_rider(cls, trips):
        return trips.groupby("rider").aggregate(
            day_max=Max(of="day"),
            toll_sum=Sum(of="toll"),
            toll_max_1h=Max(of="toll", window="1h"),
            tolls=Count(of="toll", window="1d"),
            token_last=Last(of="token"),
            legs_first=First(of="legs"),
            legs_count=Count(of="legs"),
            marks_last=Last(of="marks"),
            taste_sum=Sum(of="taste"),
            taste_avg_1h=Avg(of="taste", window="1h"),
            taste_last=Last(of="taste"),
            extra_last=Last(of="extra"),
            extra_first_1h=First(of="extra", window="1h"),
            days=Distinct(of="day", limit=3),
            dear=TopK(of="token", by="toll", k=2),
            last_tolls=LastK(of="toll", k=3, dropnull=False),
            by_note=CountBy(key_column="note", window="2h"),
            extras=Count(where=col("extra").is_not_null(), window="1d"),
        )


@dataset
class RefundStats:
    rider: str = field(key=True)
    at: datetime = field(timestamp=True)
    refunds: int
    refunded: float

    @pipeline(version=1)
    @inputs(Refund)
    def by_rider(cls, refunds):
        return refunds.groupby("rider").aggregate(refunds=Count(), refunded=Sum(of="amount", window="30d"))


@dataset
class StopStats:
    rider: str = field(key=True)
    stop: int = field(key=True)
    at: datetime = field(timestamp=True)
    net_sum: float
    trips: int

    @pipeline(version=1)
    @inputs(Trip)
    def by_stop(cls, trips):
        return (
            trips.filter(col("paid"))
            .assign(net=col("fare") * 0.8)
            .groupby("rider", "stop")
            .aggregate(net_sum=Sum(of="net"), trips=Count(window="1d"))
        )


@featureset
class RiderFeatures:
    rider: str = feature(id=1)
    trips: int = feature(id=2, ref=RiderStats.trips)
    fare_sum: float = feature(id=3, ref=RiderStats.fare_sum)
    refunded: float = feature(id=4, ref=RefundStats.refunded)
    weight: float = feature(id=5, request=True, default=1.5)
    score: float = feature(id=6)
    toll_sum: Annotated[Decimal, Scale(2)] = feature(id=7, ref=Belongings.toll_sum)
    marks: dict[str, float] | None = feature(id=8, ref=Belongings.marks_last)
    taste: Annotated[list[float], Length(3)] | None = feature(id=9, ref=Belongings.taste_avg_1h)
    extra: dict | None = feature(id=10, ref=Belongings.extra_last, default={"a": [1, 2.5]})
    days: list[date] | None = feature(id=11, ref=Belongings.days)
    token: bytes | None = feature(id=12, ref=Belongings.token_last, default=b"\x00\xff")

    @extractor
    @extractor_inputs("fare_sum", "refunded", "weight")
    @extractor_outputs("score")
    def scored(cls, ts, fare_sum, refunded, weight):
        return (fare_sum - refunded) * weight


FIRST_COMMIT = [Trip, Refund, RiderStats, Belongings, RefundStats, RiderFeatures]
SECOND_COMMIT = [*FIRST_COMMIT, StopStats]
