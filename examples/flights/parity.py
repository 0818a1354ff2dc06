"""The two checks of the demo: the same bits later, and the same bits from plain polars.

Nothing here calls the platform, so an agreement cannot come from a shared mistake.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

ENTITY = ("origin", "carrier", "tailnum")
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(hours=24), timedelta(days=7)

Value = float | int | str | None


@dataclass(frozen=True)
class Answer:
    """What the server answered online, and when that was.

    Attributes:
        entity: origin, carrier and tailnum.
        time: the `T` that the answer names.
        features: the features as JSON had them.
        non_finite: the floats that JSON cannot say, as text.
    """

    entity: tuple[str, str, str]
    time: datetime
    features: Mapping[str, Any]
    non_finite: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One value that should have been the same bits and is not."""

    row: int
    entity: tuple[str, ...]
    time: datetime
    feature: str
    first: object
    second: object

    def __str__(self) -> str:
        where = f"{'/'.join(self.entity)} at {self.time:%Y-%m-%d %H:%M:%S.%f}"
        return f"row {self.row}: {self.feature} of {where}: {self.first!r}, then {self.second!r}"


def bits(value: object, dtype: pl.DataType) -> bytes | None:
    """`value` as the bytes that two equal values of `dtype` share, and no two different ones; null is None.

    Raises:
        TypeError: `value` is not one of `dtype`, such as a float that has a fraction in an int feature.
    """
    if value is None:
        return None
    if dtype.is_float():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"expected a float, got {value!r}")
        return struct.pack("<d", value)
    if dtype.is_integer():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"expected an int, got {value!r}")
        return struct.pack("<q", value)
    if dtype == pl.String:
        if not isinstance(value, str):
            raise TypeError(f"expected a str, got {value!r}")
        return value.encode()
    raise TypeError(f"no feature of this demo has the type {dtype}")


def same(first: object, second: object, dtype: pl.DataType) -> bool:
    try:
        return bits(first, dtype) == bits(second, dtype)
    except TypeError:
        return False


def questions(answers: Iterable[Answer]) -> pl.DataFrame:
    """The remembered questions as a frame to ask again: the entity, `at`, and `question`, their number."""
    rows = [(number, *answer.entity, answer.time) for number, answer in enumerate(answers)]
    schema = pl.Schema({"question": pl.Int64(), **dict.fromkeys(ENTITY, pl.String())})
    schema["at"] = pl.Datetime("us", "UTC")
    return pl.DataFrame(rows, schema=schema, orient="row")


def compare_answers(answers: list[Answer], later: pl.DataFrame) -> list[Difference]:
    """Every feature of every answer against the row of the same number in `later`.

    Raises:
        ValueError: `later` has other rows or other features than were asked.
    """
    if later.height != len(answers) or later["question"].to_list() != list(range(len(answers))):
        raise ValueError(f"asked {len(answers)} questions again, got {later.height} rows or another order")
    schema = later.schema
    extra = {"question", "at"}
    differences = []
    for number, (answer, row) in enumerate(zip(answers, later.iter_rows(named=True), strict=True)):
        features = {**dict(zip(ENTITY, answer.entity, strict=True)), **answer.features}
        if odd := sorted(features.keys() ^ (row.keys() - extra)):
            raise ValueError(f"online and point in time differ in their features: {', '.join(odd)}")
        for name, value in features.items():
            online = float(answer.non_finite[name]) if name in answer.non_finite else value
            if not same(online, row[name], schema[name]):
                differences.append(Difference(number, answer.entity, answer.time, name, online, row[name]))
    return differences


def compare_sample(
    departures: pl.DataFrame, arrivals: pl.DataFrame, training: pl.DataFrame, rows: Iterable[int]
) -> list[Difference]:
    """The named rows of the training set against `recompute`.

    Raises:
        ValueError: the training set has a feature that `recompute` does not give, or lacks one.
    """
    differences = []
    for number in rows:
        row = training.row(number, named=True)
        expected = recompute(departures, arrivals, row["origin"], row["carrier"], row["tailnum"], row["at"])
        if missing := sorted(expected.keys() - row.keys()):
            raise ValueError(f"the training set lacks {', '.join(missing)}")
        features = {name for name in row if name.startswith(("origin_", "carrier_", "aircraft_"))}
        if unknown := sorted(features - expected.keys()):
            raise ValueError(f"the check in parity.py does not know {', '.join(unknown)}")
        entity = tuple(row[key] for key in ENTITY)
        for name, value in expected.items():
            if not same(row[name], value, training.schema[name]):
                differences.append(Difference(number, entity, row["at"], name, row[name], value))
    return differences


def recompute(
    departures: pl.DataFrame, arrivals: pl.DataFrame, origin: str, carrier: str, tailnum: str, at: datetime
) -> dict[str, Value]:
    """Every feature of `features.py`, by filtering the prepared frames; windows are `(at - w, at]`.

    Rows of one time keep the order of the frame, which is the order they were pushed in.
    """

    def of(frame: pl.DataFrame, column: str, key: str) -> pl.DataFrame:
        return frame.filter((pl.col(column) == key) & (pl.col("at") <= at))

    def within(frame: pl.DataFrame, window: timedelta) -> pl.DataFrame:
        return frame.filter(pl.col("at") > at - window)

    values: dict[str, Value] = {}
    for group, key in (("origin", origin), ("carrier", carrier)):
        left = of(departures, group, key)
        hour, day, week = (within(left, window) for window in (HOUR, DAY, WEEK))
        values |= {
            f"{group}_departures_1h": _count(hour["dep_delay"]),
            f"{group}_departures_24h": _count(day["dep_delay"]),
            f"{group}_mean_delay_1h": _mean(hour["dep_delay"]),
            f"{group}_mean_delay_24h": _mean(day["dep_delay"]),
            f"{group}_mean_delay_7d": _mean(week["dep_delay"]),
            f"{group}_max_delay_1h": _max(hour["dep_delay"]),
            f"{group}_max_delay_24h": _max(day["dep_delay"]),
            f"{group}_max_delay_7d": _max(week["dep_delay"]),
            f"{group}_delayed_24h": day.filter(pl.col("dep_delay") > 15).height,
            f"{group}_cancelled_24h": day.filter("cancelled").height,
            f"{group}_share_delayed_24h": _share_delayed(day["dep_delay"]),
        }
        landed = within(of(arrivals, group, key), DAY)
        values[f"{group}_arrivals_24h"] = landed.height
        values[f"{group}_mean_arr_delay_24h"] = _mean(landed["arr_delay"])
        if group == "origin":
            late = day.filter(pl.col("dep_delay") > 0)["dep_delay"]
            values["origin_late_minutes_24h"] = math.fsum(late.to_list())
            values["origin_diverted_24h"] = landed.filter("diverted").height
        else:
            values["carrier_max_arr_delay_24h"] = _max(landed["arr_delay"])

    left = of(departures, "tailnum", tailnum)
    day, week = within(left, DAY), within(left, WEEK)
    landed = of(arrivals, "tailnum", tailnum)
    landed_week = within(landed, WEEK)
    values |= {
        "aircraft_departures_24h": _count(day["dep_delay"]),
        "aircraft_departures_7d": _count(week["dep_delay"]),
        "aircraft_mean_delay_24h": _mean(day["dep_delay"]),
        "aircraft_mean_delay_7d": _mean(week["dep_delay"], default=0.0),
        "aircraft_max_delay_24h": _max(day["dep_delay"]),
        "aircraft_max_delay_7d": _max(week["dep_delay"], default=0.0),
        "aircraft_cancelled_7d": week.filter("cancelled").height,
        "aircraft_last_delay": _last(left["dep_delay"]),
        "aircraft_last_dest": _last(left.filter(~pl.col("cancelled"))["dest"], default=""),
        "aircraft_mean_arr_delay_7d": _mean(landed_week["arr_delay"]),
        "aircraft_max_arr_delay_7d": _max(landed_week["arr_delay"]),
        "aircraft_last_arr_delay": _last(landed["arr_delay"]),
        "aircraft_share_delayed_7d": _share_delayed(week["dep_delay"]),
    }
    return values


def _count(values: pl.Series) -> int:
    return values.drop_nulls().len()


def _mean(values: pl.Series, default: float | None = None) -> float | None:
    known = values.drop_nulls().to_list()
    return math.fsum(known) / len(known) if known else default


def _max(values: pl.Series, default: float | None = None) -> float | None:
    known: list[float] = values.drop_nulls().to_list()
    return max(known, default=default)


def _last(values: pl.Series, default: Value = None) -> Value:
    known = values.drop_nulls()
    return known[-1] if known.len() else default


def _share_delayed(values: pl.Series) -> float | None:
    known: list[float] = values.drop_nulls().to_list()
    return sum(delay > 15 for delay in known) / len(known) if known else None
