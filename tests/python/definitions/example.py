from datetime import datetime
from thyme import (dataset, field, pipeline, inputs, featureset, feature, extractor, extractor_inputs,
                   extractor_outputs, source, col, lit, Count, Sum, Avg, Max)
from thyme.connectors import FileSource

@source(FileSource(path="rides.parquet"), max_lateness="1h")
@dataset(index=True, version=1, description="one row a ride", owner="rides@example.com", tags=["raw"])
class Ride:
    driver: str = field(key=True)          # exactly one key field, or several for a composite key; never Optional
    fare: float                            # plain fields need no field()
    tip: float | None
    at: datetime = field(timestamp=True)   # exactly one event time

@dataset(index=True)
class DriverStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides_1h: int
    fare_7d: float
    best_tip_30d: float | None

    @pipeline(version=1)
    @inputs(Ride)
    def compute(cls, rides):
        return (rides.filter(col("fare") > 0)
                     .groupby("driver")
                     .aggregate(rides_1h=Count(window="1h"),
                                fare_7d=Sum(of="fare", window="7d"),
                                best_tip_30d=Max(of="tip", window="30d", where=col("fare") < 500)))

@featureset
class DriverFeatures:
    driver: str = feature(id=1)
    rides_1h: int = feature(id=2, ref=DriverStats.rides_1h)
    fare_7d: float = feature(id=3, ref=DriverStats.fare_7d, default=0.0)
    mean_fare_7d: float = feature(id=4)
    hour: int = feature(id=5, request=True, default=12)      # given by the caller with each query
    score: float = feature(id=6)

    @extractor(deps=[DriverStats])
    @extractor_inputs("driver")
    @extractor_outputs("mean_fare_7d")
    def mean(cls, ts, inputs):                                # form 1: a dict of inputs
        row = DriverStats.lookup(ts, driver=inputs["driver"])
        return row["fare_7d"] / max(row["rides_1h"], 1)

    @extractor
    @extractor_inputs("rides_1h", "hour")
    @extractor_outputs("score")
    def scored(cls, ts, rides_1h, hour):                      # form 2: one argument an input
        return rides_1h * (2.0 if hour >= 22 else 1.0)
