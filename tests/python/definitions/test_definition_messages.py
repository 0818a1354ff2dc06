"""The texts that users see, under snapshot: `pytest --snapshot-update` writes them anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from definition_texts import RIDES
from syrupy.assertion import SnapshotAssertion

from thyme.errors import DefinitionError

STATS = (
    RIDES.split("@dataset\nclass DriverStats")[0]
    + """
@dataset
class Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    n: int

    @pipeline
    @inputs(Ride)
    def compute(cls, rides):
        return {}
"""
)

FEATURES = (
    RIDES
    + """
@featureset
class Features:
    driver: str = feature(id=1)
    n: int = feature(id=2, ref=DriverStats.rides_1h)
    m: float = feature(id={})

    @extractor
    @extractor_inputs({})
    @extractor_outputs("m")
    def f({}):
        return {}
"""
)

CASES = {
    "a dataset without key, time and version": "@dataset(version=0)\nclass Ride:\n    fare: float\n",
    "an Optional key and two event times": (
        "@dataset\nclass Ride:\n    driver: str | None = field(key=True)\n"
        "    a: datetime = field(timestamp=True)\n    b: datetime = field(timestamp=True)\n"
    ),
    "annotations that are not supported": (
        "@dataset\nclass Ride:\n    driver: str = field(key=True)\n    tags: list\n    n: int | str\n"
        "    fare = field()\n    tip: float = 0.0\n    at: datetime = field(timestamp=True)\n"
    ),
    "a bad duration": '@dataset(max_lateness="7 days")\nclass Ride:\n    pass\n',
    "a bad window": STATS.format('rides.groupby("driver").aggregate(n=Count(window="7 days"))'),
    "an unknown aggregate column": STATS.format('rides.groupby("driver").aggregate(n=Count(of="fair"))'),
    "outputs that do not match": STATS.format('rides.groupby("driver").aggregate(m=Sum(of="fare"))'),
    "a filter that is no condition": STATS.format(
        'rides.filter(col("fare") + 1).groupby("driver").aggregate(n=Count())'
    ),
    "and instead of &": STATS.format('rides.filter(col("fare") > 0 and col("tip") > 0)'),
    "a polars function": STATS.format("rides.filter(lambda frame: frame)"),
    "a forgotten return": STATS.replace("return ", "").format('rides.groupby("driver")'),
    "a duplicate feature id": FEATURES.format(2, '"n"', "cls, ts, n", "n"),
    "an unknown input": FEATURES.format(3, '"nn"', "cls, ts, n", "n"),
    "parameters that do not fit": FEATURES.format(3, '"n", "driver"', "cls, ts, n", "n"),
    "a name that does not exist": FEATURES.format(3, '"n"', "cls, ts, n", "n * factor"),
    "a name that cannot travel": "file = open(__file__)\n"
    + FEATURES.format(3, '"n"', "cls, ts, n", "file.read()"),
    "an attribute of the class": FEATURES.format(3, '"n"', "cls, ts, n", "cls.scale(n)"),
    "a source that is no connector": '@source("rides.csv")\n@dataset\nclass Ride:\n    pass\n',
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_message(text: str, refused: Callable[..., DefinitionError], snapshot: SnapshotAssertion) -> None:
    error = refused("\n" + text)
    assert f"{type(error).__name__}: {error}" == snapshot
