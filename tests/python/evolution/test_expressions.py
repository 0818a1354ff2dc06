"""Features that are expressions change as extractors do: in place by a rename, else by a version."""

from __future__ import annotations

from pathlib import Path

import pytest

from thyme import local
from thyme.errors import ConflictError

TEXT = """
from datetime import datetime

from thyme import Count, Sum, col, dataset, feature, featureset, field, inputs, pipeline


@dataset
class Ride:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset
class Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int
    fares: float

    @pipeline(version=1)
    @inputs(Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count(), fares=Sum(of="fare"))


@featureset
class Driver:
    driver: str = feature(id=1)
    {rides}: int = feature(id=2, ref=Stats.rides)
    fares: float = feature(id=3, ref=Stats.fares)
    mean: float | None = feature(id=4, expr={expr}{version})
"""


def text(expr: str, rides: str = "rides", version: str = "") -> str:
    return TEXT.format(rides=rides, expr=expr, version=version)


def test_another_expression_needs_another_version_and_a_rename_does_not(tmp_path: Path) -> None:
    file = tmp_path / "features.py"
    with local() as thyme:
        row = {"driver": "d1", "fare": 5.0, "at": "2026-03-15T09:00:00Z"}
        file.write_text(text('col("fares") / col("rides")'))
        thyme.commit(str(file))
        thyme.log("Ride", [row, row])
        asked = {"at": "2026-03-15T10:00:00Z"}
        assert thyme.query("Driver", "d1", **asked).to_dict()[0]["mean"] == 5.0

        file.write_text(text('col("fares") / (col("rides") + 2)'))
        with pytest.raises(ConflictError, match=r"feature\(expr=\.\.\., version=2\)"):
            thyme.commit(str(file))
        file.write_text(text('col("fares") / col("trips")', rides="trips"))
        thyme.commit(str(file))
        file.write_text(text('col("fares") / (col("trips") + 2)', rides="trips", version=", version=2"))
        thyme.commit(str(file))
        assert thyme.query("Driver", "d1", **asked).to_dict()[0]["mean"] == 2.5
        shown = thyme.inspect("Driver")
        assert "expression" in str(shown)
