"""Trips of a few riders, and the features of a training set."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from thyme import (
    Avg,
    Count,
    Max,
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

START = datetime(2026, 3, 1, tzinfo=UTC)
RIDERS = [f"r{i}" for i in range(7)]
FEATURES = ["trips_6h", "paid_2d", "mean_paid", "best_tip_1d", "score"]


@dataset
class TrainTrip:
    rider: str = field(key=True)
    paid: float
    tip: float | None
    at: datetime = field(timestamp=True)


@dataset
class TrainRider:
    rider: str = field(key=True)
    at: datetime = field(timestamp=True)
    trips_6h: int
    paid_2d: float
    mean_paid: float | None
    best_tip_1d: float | None

    @pipeline(version=1)
    @inputs(TrainTrip)
    def compute(cls, trips):  # type: ignore[no-untyped-def]
        return trips.groupby("rider").aggregate(
            trips_6h=Count(window="6h"),
            paid_2d=Sum(of="paid", window="2d"),
            mean_paid=Avg(of="paid"),
            best_tip_1d=Max(of="tip", window="1d"),
        )


@featureset
class TrainFeatures:
    rider: str = feature(id=1)
    trips_6h: int = feature(id=2, ref=TrainRider.trips_6h)
    paid_2d: float = feature(id=3, ref=TrainRider.paid_2d)
    mean_paid: float | None = feature(id=4, ref=TrainRider.mean_paid)
    best_tip_1d: float | None = feature(id=5, ref=TrainRider.best_tip_1d)
    hour: int = feature(id=6, request=True)
    score: float = feature(id=7)

    @extractor
    @extractor_inputs("paid_2d", "hour")
    @extractor_outputs("score")
    def scored(cls, ts, paid_2d, hour):  # type: ignore[no-untyped-def]
        return paid_2d * (1.5 if hour >= 20 else 1.0) + ts.minute


DEFINITIONS = [TrainTrip, TrainRider, TrainFeatures]


def trips(rows: int, seed: int = 1) -> list[dict[str, Any]]:
    """Trips in ten days, in no order."""
    dice = random.Random(seed)
    return [
        {
            "rider": dice.choice(RIDERS[:-1]),  # the last one never rides
            "paid": dice.uniform(0, 100) * 10.0 ** dice.randrange(-8, 9),
            "tip": dice.choice([None, dice.uniform(0, 10)]),
            "at": START + timedelta(seconds=dice.randrange(864_000)),
        }
        for _ in range(rows)
    ]


def labels(rows: int, events: list[dict[str, Any]], seed: int = 2) -> list[dict[str, Any]]:
    """Labels in no order, some of them twice, some at the very time of an event, and some in the future."""
    dice = random.Random(seed)
    made = [
        {
            "note": f"n{i}",
            "rider": dice.choice(RIDERS),
            "at": START + timedelta(seconds=dice.randrange(-86_400, 1_000_000)),
            "hour": dice.randrange(24),
        }
        for i in range(rows)
    ]
    for row in made[:: max(rows // 20, 1)]:
        event = dice.choice(events)
        row.update(rider=event["rider"], at=event["at"])
    made[1]["at"] = datetime(2226, 1, 1, tzinfo=UTC)
    made += [dict(row) for row in made[: rows // 10]]
    dice.shuffle(made)
    return made


def expected(row: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """The features of one label, the slow way."""
    at = row["at"]
    seen = [e for e in events if e["rider"] == row["rider"] and e["at"] <= at]

    def within(**window: float) -> list[dict[str, Any]]:
        return [e for e in seen if at - timedelta(**window) < e["at"]]

    tips = [e["tip"] for e in within(days=1) if e["tip"] is not None]
    paid = math.fsum(e["paid"] for e in within(days=2))
    return {
        "trips_6h": len(within(hours=6)),
        "paid_2d": paid,
        "mean_paid": math.fsum(e["paid"] for e in seen) / len(seen) if seen else None,
        "best_tip_1d": max(tips, default=None),
        "score": paid * (1.5 if row["hour"] >= 20 else 1.0) + at.minute,
    }
