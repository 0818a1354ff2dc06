"""Texts that several tests of definitions import."""

from collections.abc import Callable
from types import ModuleType

HEADER = """
from datetime import datetime
from thyme import *
from thyme.connectors import FileSource
"""

RIDES = """
@dataset(index=True)
class Ride:
    driver: str = field(key=True)
    fare: float
    tip: float | None
    at: datetime = field(timestamp=True)


@dataset
class DriverStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides_1h: int
    fare_7d: float

    @pipeline
    @inputs(Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(
            rides_1h=Count(window="1h"),
            fare_7d=Sum(of="fare", window="7d"),
        )
"""

Import = Callable[..., ModuleType]
