"""Definitions as files, so that they can be written again otherwise."""

from __future__ import annotations

from pathlib import Path

TEXT = """
from datetime import datetime

from thyme import Count, Sum, dataset, extractor, extractor_inputs, extractor_outputs
from thyme import feature, featureset, field, inputs, pipeline


@dataset
class {p}Ride:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset
class {p}Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int
    fare: float

    @pipeline(version=1)
    @inputs({p}Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count(), fare=Sum(of="fare"))


@featureset
class {p}Drivers:
    driver: str = feature(id=1)
    {rides}: int = feature(id=2, ref={p}Stats.rides)
    fare: float = feature(id=3, ref={p}Stats.fare)
    {hour}: int = feature(id=4, request=True)
    score: float = feature(id=5)

    @extractor
    @extractor_inputs("{rides}", "{hour}")
    @extractor_outputs("score")
    def scored(cls, ts, n, hour):
        return n * 10.0 + hour


@featureset
class {p}Others:
    driver: str = feature(id=1)
    twice: int = feature(id=2)

    @extractor(version={version})
    @extractor_inputs({p}Drivers.{taken})
    @extractor_outputs("twice")
    def doubled(cls, ts, inputs):
        return inputs["{taken}"] * 2
"""

OTHERS = "\n\n@featureset\nclass {p}Others:"


def written(
    path: Path,
    prefix: str,
    rides: str = "rides",
    hour: str = "hour",
    taken: str | None = None,
    version: int = 1,
) -> str:
    """A file with the feature 2 called `rides` and the feature 4 called `hour`; the path of it.

    The featureset `Others` is in it if it takes the feature by a name that it has now;
    its extractor then has this version.
    """
    text = TEXT if taken in (None, rides) else TEXT.split(OTHERS)[0]
    file = path / "features.py"
    file.write_text(text.format(p=prefix, rides=rides, hour=hour, taken=taken or rides, version=version))
    return str(file)


def rides(count: int) -> list[dict[str, object]]:
    """Rides of one driver."""
    return [{"driver": "d", "fare": 1.5 * i, "at": f"2026-03-15T10:00:{i:02}Z"} for i in range(count)]
