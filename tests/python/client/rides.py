"""Definitions for the tests against a real engine."""

from __future__ import annotations

from datetime import datetime

from thyme import (
    Count,
    Last,
    Sum,
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


@dataset(index=True)
class ClientRide:
    driver: str = field(key=True)
    fare: float
    seats: int | None
    at: datetime = field(timestamp=True)


@dataset
class ClientStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides_1h: int
    fare_sum: float
    last_seats: int | None

    @pipeline(version=1)
    @inputs(ClientRide)
    def compute(cls, rides):  # type: ignore[no-untyped-def]
        return rides.groupby("driver").aggregate(
            rides_1h=Count(window="1h"), fare_sum=Sum(of="fare"), last_seats=Last(of="seats")
        )


@featureset
class ClientFeatures:
    driver: str = feature(id=1)
    rides_1h: int = feature(id=2, ref=ClientStats.rides_1h)
    fare_sum: float = feature(id=3, ref=ClientStats.fare_sum)
    hour: int = feature(id=4, request=True, default=12)
    score: float = feature(id=5)

    @extractor
    @extractor_inputs("rides_1h", "hour")
    @extractor_outputs("score")
    def scored(cls, ts, rides_1h, hour):  # type: ignore[no-untyped-def]
        return rides_1h * (2.0 if hour >= 22 else 1.0)


@dataset
class ClientLeg:
    origin: str = field(key=True)
    stops: int = field(key=True)
    at: datetime = field(timestamp=True)


@dataset
class ClientLegStats:
    origin: str = field(key=True)
    stops: int = field(key=True)
    at: datetime = field(timestamp=True)
    legs: int

    @pipeline(version=1)
    @inputs(ClientLeg)
    def compute(cls, legs):  # type: ignore[no-untyped-def]
        return legs.groupby("origin", "stops").aggregate(legs=Count())


@featureset
class ClientLegFeatures:
    origin: str = feature(id=1)
    stops: int = feature(id=2)
    legs: int = feature(id=3, ref=ClientLegStats.legs)


DEFINITIONS = [ClientRide, ClientStats, ClientFeatures, ClientLeg, ClientLegStats, ClientLegFeatures]
