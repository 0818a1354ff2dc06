"""What a delay model wants to know an hour before a flight leaves New York.

Two raw datasets, pushed as they happen: a departure when the aircraft has left (that is when its delay is
known; a cancelled flight counts at its scheduled time) and an arrival when it has landed. From them, for each
airport of origin, carrier and aircraft: how busy, how late, how often cancelled or diverted.

Windows end at the moment of the question and slide continuously. Aggregates skip nulls: a cancelled flight
has no `dep_delay`, so it is in `cancelled_24h` and in no mean, and `Count(of="dep_delay")` counts the flights
that left.
"""

from datetime import datetime

from thyme import (
    Avg,
    Count,
    Last,
    Max,
    Sum,
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
)

OWNER = "flights@example.com"


@dataset(
    version=1, description="A flight left New York, or was cancelled", owner=OWNER, tags=["flights", "raw"]
)
class Departure:
    flight: str = field(key=True)  # UA1545-EWR-2013-01-01: carrier, number, origin, scheduled local day
    origin: str
    dest: str
    carrier: str
    tailnum: str | None  # unknown for some cancelled flights; such a row belongs to no aircraft
    dep_delay: float | None  # minutes, early is negative; null when cancelled
    cancelled: bool
    at: datetime = field(timestamp=True)  # when it left; the scheduled time when cancelled


@dataset(version=1, description="A flight from New York landed", owner=OWNER, tags=["flights", "raw"])
class Arrival:
    flight: str = field(key=True)
    origin: str
    dest: str
    carrier: str
    tailnum: str | None
    arr_delay: float | None  # minutes; null when it was diverted on the way
    diverted: bool
    at: datetime = field(timestamp=True)  # when it arrived at its destination


@dataset(version=1, description="Departures by airport of origin", owner=OWNER, tags=["flights"])
class OriginStats:
    origin: str = field(key=True)
    at: datetime = field(timestamp=True)
    departures_1h: int
    departures_24h: int
    mean_delay_1h: float | None
    mean_delay_24h: float | None
    mean_delay_7d: float | None
    max_delay_1h: float | None
    max_delay_24h: float | None
    max_delay_7d: float | None
    delayed_24h: int
    cancelled_24h: int
    late_minutes_24h: float

    @pipeline(version=1)
    @inputs(Departure)
    def by_origin(cls, departures):
        return departures.groupby("origin").aggregate(
            departures_1h=Count(of="dep_delay", window="1h"),
            departures_24h=Count(of="dep_delay", window="24h"),
            mean_delay_1h=Avg(of="dep_delay", window="1h"),
            mean_delay_24h=Avg(of="dep_delay", window="24h"),
            mean_delay_7d=Avg(of="dep_delay", window="7d"),
            max_delay_1h=Max(of="dep_delay", window="1h"),
            max_delay_24h=Max(of="dep_delay", window="24h"),
            max_delay_7d=Max(of="dep_delay", window="7d"),
            delayed_24h=Count(window="24h", where=col("dep_delay") > 15),
            cancelled_24h=Count(window="24h", where=col("cancelled")),
            late_minutes_24h=Sum(of="dep_delay", window="24h", where=col("dep_delay") > 0),
        )


@dataset(version=1, description="Departures by carrier", owner=OWNER, tags=["flights"])
class CarrierStats:
    carrier: str = field(key=True)
    at: datetime = field(timestamp=True)
    departures_1h: int
    departures_24h: int
    mean_delay_1h: float | None
    mean_delay_24h: float | None
    mean_delay_7d: float | None
    max_delay_1h: float | None
    max_delay_24h: float | None
    max_delay_7d: float | None
    delayed_24h: int
    cancelled_24h: int

    @pipeline(version=1)
    @inputs(Departure)
    def by_carrier(cls, departures):
        return departures.groupby("carrier").aggregate(
            departures_1h=Count(of="dep_delay", window="1h"),
            departures_24h=Count(of="dep_delay", window="24h"),
            mean_delay_1h=Avg(of="dep_delay", window="1h"),
            mean_delay_24h=Avg(of="dep_delay", window="24h"),
            mean_delay_7d=Avg(of="dep_delay", window="7d"),
            max_delay_1h=Max(of="dep_delay", window="1h"),
            max_delay_24h=Max(of="dep_delay", window="24h"),
            max_delay_7d=Max(of="dep_delay", window="7d"),
            delayed_24h=Count(window="24h", where=col("dep_delay") > 15),
            cancelled_24h=Count(window="24h", where=col("cancelled")),
        )


@dataset(version=1, description="Departures by aircraft", owner=OWNER, tags=["flights"])
class AircraftStats:
    """No windows of an hour: an aircraft does not leave New York twice in one."""

    tailnum: str = field(key=True)
    at: datetime = field(timestamp=True)
    departures_24h: int
    departures_7d: int
    mean_delay_24h: float | None
    mean_delay_7d: float | None
    max_delay_24h: float | None
    max_delay_7d: float | None
    delayed_7d: int
    cancelled_7d: int
    last_delay: float | None
    last_dest: str | None

    @pipeline(version=1)
    @inputs(Departure)
    def by_aircraft(cls, departures):
        return departures.groupby("tailnum").aggregate(
            departures_24h=Count(of="dep_delay", window="24h"),
            departures_7d=Count(of="dep_delay", window="7d"),
            mean_delay_24h=Avg(of="dep_delay", window="24h"),
            mean_delay_7d=Avg(of="dep_delay", window="7d"),
            max_delay_24h=Max(of="dep_delay", window="24h"),
            max_delay_7d=Max(of="dep_delay", window="7d"),
            delayed_7d=Count(window="7d", where=col("dep_delay") > 15),
            cancelled_7d=Count(window="7d", where=col("cancelled")),
            last_delay=Last(of="dep_delay"),
            last_dest=Last(of="dest", where=~col("cancelled")),
        )


@dataset(
    version=1, description="Arrivals of the flights of an airport of origin", owner=OWNER, tags=["flights"]
)
class OriginArrivals:
    origin: str = field(key=True)
    at: datetime = field(timestamp=True)
    arrivals_24h: int
    mean_arr_delay_24h: float | None
    diverted_24h: int

    @pipeline(version=1)
    @inputs(Arrival)
    def by_origin(cls, arrivals):
        return arrivals.groupby("origin").aggregate(
            arrivals_24h=Count(window="24h"),
            mean_arr_delay_24h=Avg(of="arr_delay", window="24h"),
            diverted_24h=Count(window="24h", where=col("diverted")),
        )


@dataset(version=1, description="Arrivals by carrier", owner=OWNER, tags=["flights"])
class CarrierArrivals:
    carrier: str = field(key=True)
    at: datetime = field(timestamp=True)
    arrivals_24h: int
    mean_arr_delay_24h: float | None
    max_arr_delay_24h: float | None

    @pipeline(version=1)
    @inputs(Arrival)
    def by_carrier(cls, arrivals):
        return arrivals.groupby("carrier").aggregate(
            arrivals_24h=Count(window="24h"),
            mean_arr_delay_24h=Avg(of="arr_delay", window="24h"),
            max_arr_delay_24h=Max(of="arr_delay", window="24h"),
        )


@dataset(version=1, description="Arrivals by aircraft", owner=OWNER, tags=["flights"])
class AircraftArrivals:
    tailnum: str = field(key=True)
    at: datetime = field(timestamp=True)
    mean_arr_delay_7d: float | None
    max_arr_delay_7d: float | None
    last_arr_delay: float | None

    @pipeline(version=1)
    @inputs(Arrival)
    def by_aircraft(cls, arrivals):
        return arrivals.groupby("tailnum").aggregate(
            mean_arr_delay_7d=Avg(of="arr_delay", window="7d"),
            max_arr_delay_7d=Max(of="arr_delay", window="7d"),
            last_arr_delay=Last(of="arr_delay"),
        )


@featureset(
    description="What is known about a flight before it leaves", owner=OWNER, tags=["flights", "model"]
)
class FlightDelayFeatures:
    """The entity is a flight to come: its airport, carrier and aircraft ("" if that is unknown)."""

    origin: str = feature(id=1)
    carrier: str = feature(id=2)
    tailnum: str = feature(id=3)

    origin_departures_1h: int = feature(id=10, ref=OriginStats.departures_1h)
    origin_departures_24h: int = feature(id=11, ref=OriginStats.departures_24h)
    origin_mean_delay_1h: float | None = feature(id=12, ref=OriginStats.mean_delay_1h)
    origin_mean_delay_24h: float | None = feature(id=13, ref=OriginStats.mean_delay_24h)
    origin_mean_delay_7d: float | None = feature(id=14, ref=OriginStats.mean_delay_7d)
    origin_max_delay_1h: float | None = feature(id=15, ref=OriginStats.max_delay_1h)
    origin_max_delay_24h: float | None = feature(id=16, ref=OriginStats.max_delay_24h)
    origin_max_delay_7d: float | None = feature(id=17, ref=OriginStats.max_delay_7d)
    origin_delayed_24h: int = feature(id=18, ref=OriginStats.delayed_24h)
    origin_cancelled_24h: int = feature(id=19, ref=OriginStats.cancelled_24h)
    origin_late_minutes_24h: float = feature(id=20, ref=OriginStats.late_minutes_24h)
    origin_arrivals_24h: int = feature(id=21, ref=OriginArrivals.arrivals_24h)
    origin_mean_arr_delay_24h: float | None = feature(id=22, ref=OriginArrivals.mean_arr_delay_24h)
    origin_diverted_24h: int = feature(id=23, ref=OriginArrivals.diverted_24h)

    carrier_departures_1h: int = feature(id=30, ref=CarrierStats.departures_1h)
    carrier_departures_24h: int = feature(id=31, ref=CarrierStats.departures_24h)
    carrier_mean_delay_1h: float | None = feature(id=32, ref=CarrierStats.mean_delay_1h)
    carrier_mean_delay_24h: float | None = feature(id=33, ref=CarrierStats.mean_delay_24h)
    carrier_mean_delay_7d: float | None = feature(id=34, ref=CarrierStats.mean_delay_7d)
    carrier_max_delay_1h: float | None = feature(id=35, ref=CarrierStats.max_delay_1h)
    carrier_max_delay_24h: float | None = feature(id=36, ref=CarrierStats.max_delay_24h)
    carrier_max_delay_7d: float | None = feature(id=37, ref=CarrierStats.max_delay_7d)
    carrier_delayed_24h: int = feature(id=38, ref=CarrierStats.delayed_24h)
    carrier_cancelled_24h: int = feature(id=39, ref=CarrierStats.cancelled_24h)
    carrier_arrivals_24h: int = feature(id=40, ref=CarrierArrivals.arrivals_24h)
    carrier_mean_arr_delay_24h: float | None = feature(id=41, ref=CarrierArrivals.mean_arr_delay_24h)
    carrier_max_arr_delay_24h: float | None = feature(id=42, ref=CarrierArrivals.max_arr_delay_24h)

    # A default is what the model is given instead of null: here "nothing known, assume on time".
    aircraft_departures_24h: int = feature(id=50, ref=AircraftStats.departures_24h)
    aircraft_departures_7d: int = feature(id=51, ref=AircraftStats.departures_7d)
    aircraft_mean_delay_24h: float | None = feature(id=52, ref=AircraftStats.mean_delay_24h)
    aircraft_mean_delay_7d: float = feature(id=53, ref=AircraftStats.mean_delay_7d, default=0.0)
    aircraft_max_delay_24h: float | None = feature(id=54, ref=AircraftStats.max_delay_24h)
    aircraft_max_delay_7d: float = feature(id=55, ref=AircraftStats.max_delay_7d, default=0.0)
    aircraft_cancelled_7d: int = feature(id=56, ref=AircraftStats.cancelled_7d)
    aircraft_last_delay: float | None = feature(id=57, ref=AircraftStats.last_delay)
    aircraft_last_dest: str = feature(id=58, ref=AircraftStats.last_dest, default="")
    aircraft_mean_arr_delay_7d: float | None = feature(id=59, ref=AircraftArrivals.mean_arr_delay_7d)
    aircraft_max_arr_delay_7d: float | None = feature(id=60, ref=AircraftArrivals.max_arr_delay_7d)
    aircraft_last_arr_delay: float | None = feature(id=61, ref=AircraftArrivals.last_arr_delay)

    origin_share_delayed_24h: float | None = feature(id=70)
    carrier_share_delayed_24h: float | None = feature(id=71)
    aircraft_share_delayed_7d: float | None = feature(id=72)

    @extractor(deps=[AircraftStats])
    @extractor_inputs("tailnum")
    @extractor_outputs("aircraft_share_delayed_7d")
    def aircraft_share(cls, ts, inputs):
        """Share of the aircraft's departures in 7 days more than 15 minutes late; null if it flew none."""
        row = AircraftStats.lookup(ts, tailnum=inputs["tailnum"])
        return row["delayed_7d"] / row["departures_7d"] if row["departures_7d"] else None

    @extractor
    @extractor_inputs(
        "origin_delayed_24h", "origin_departures_24h", "carrier_delayed_24h", "carrier_departures_24h"
    )
    @extractor_outputs("origin_share_delayed_24h", "carrier_share_delayed_24h")
    def shares(
        cls, ts, origin_delayed_24h, origin_departures_24h, carrier_delayed_24h, carrier_departures_24h
    ):
        """The same of the airport and of the carrier in 24 hours."""
        return (
            origin_delayed_24h / origin_departures_24h if origin_departures_24h else None,
            carrier_delayed_24h / carrier_departures_24h if carrier_departures_24h else None,
        )
