"""New fields of a raw dataset: in place, through every way in and every way to look."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from thyme import local
from thyme.errors import ConflictError, InvalidDataError, InvalidDefinitionError

TEXT = """
from datetime import datetime

from thyme import Count, First, Last, Sum, dataset, feature, featureset, field, inputs, pipeline, source
from thyme.connectors import FileSource

{source}
@dataset(index=True, on_error="{on_error}", max_lateness="1h")
class Ride:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)
{more}

@dataset
class Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int

    @pipeline(version=1)
    @inputs(Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count())
{derived}
"""

MORE = """    tip: float | None
    kind: str = field(default="plain")
    fee: int = field(default=2)
"""

DERIVED = """
@dataset
class More:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    tips: int
    fees: int
    first: str

    @pipeline(version=1)
    @inputs(Ride)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(
            tips=Count(of="tip"), fees=Sum(of="fee"), first=First(of="kind")
        )


@featureset
class Drivers:
    driver: str = feature(id=1)
    fees: int = feature(id=2, ref=More.fees)
"""


def written(path: Path, more: str = "", derived: str = "", source: str = "", on_error: str = "refuse") -> str:
    """The definitions, with these fields and pipelines more."""
    file = path / "rides.py"
    file.write_text(TEXT.format(more=more, derived=derived, source=source, on_error=on_error))
    return str(file)


def test_rows_of_before_and_rows_without_it_have_null_or_the_default(tmp_path: Path) -> None:
    at = "2026-03-15T10:00:0{}Z"
    with local(tmp_path / "data") as client:
        client.commit(written(tmp_path))
        client.log("Ride", [{"driver": "d", "fare": 1.0, "at": at.format(0)}])
        late = client.log("Ride", [{"driver": "d", "fare": 9.0, "at": "2026-03-15T08:00:00Z"}])
        changes = client.commit(written(tmp_path, MORE))["changes"]
        assert changes[0]["detail"].startswith("field tip: float | None is added; events of before have null")
        # Each way in may leave the new fields out.
        client.log("Ride", [{"driver": "d", "fare": 2.0, "at": at.format(1)}])
        frame = pl.DataFrame(
            {"driver": ["d"], "fare": [3.0], "at": [at.format(2)], "tip": [0.5], "fee": [10]}
        )
        client.log("Ride", frame)
        client.log("Ride", pa.table({"driver": ["d"], "fare": [4.0], "at": [at.format(3)], "kind": ["x"]}))
        csv = tmp_path / "rides.csv"
        csv.write_text(f"driver,fare,at,fee\nd,5.0,{at.format(4)},\nd,6.0,{at.format(5)},100\n")
        client.log_file("Ride", csv)
        with pytest.raises(InvalidDataError, match="fee: expected int, got null"):
            client.log("Ride", [{"driver": "d", "fare": 1.0, "at": at.format(6), "fee": None}])
        client.commit(written(tmp_path, MORE, DERIVED))
        expected = {"tips": 1, "fees": 2 + 2 + 10 + 2 + 2 + 100, "first": "plain"}
    with local(tmp_path / "data") as client:
        assert client.lookup("More", "d") == expected
        assert client.query("Drivers", "d")["fees"] == expected["fees"]
        row = client.lookup("Ride", "d", at.format(0))
        assert row is not None
        assert (row["fare"], row["tip"], row["kind"], row["fee"]) == (1.0, None, "plain", 2)
        assert client.verify(sample=50)["different"] == 0
        explained = client.explain("More.fees", "d", limit=20)
        assert explained["recomputed"]["same"]
        assert explained["events"]["shown"][-1]["fields"]["fee"] == 2
        (listed,) = client.late("Ride")
        assert (listed["position"], listed["fields"]["kind"], listed["fields"]["tip"]) == (
            f"{late}.0",
            "plain",
            None,
        )


def test_a_dead_letter_becomes_an_event_once_its_field_is_there(tmp_path: Path) -> None:
    with local() as client:
        client.commit(written(tmp_path, on_error="skip"))
        client.log("Ride", [{"driver": "d", "fare": 1.0, "at": "2026-03-15T10:00:00Z", "tip": 2.5}])
        # Letters are counted once the push is applied, which a read waits for.
        assert client.lookup("Ride", "d") is None
        assert client.dead_letter_counts("Ride")["waiting"] == 1
        client.commit(written(tmp_path, MORE, DERIVED, on_error="skip"))
        assert client.replay_dead_letters("Ride")["replayed"] == 1
        assert client.lookup("More", "d") == {"tips": 1, "fees": 2, "first": "plain"}


def test_a_source_goes_on_where_it_was_with_the_new_fields(tmp_path: Path) -> None:
    rides = tmp_path / "rides.jsonl"
    rides.write_text('{"driver": "d", "fare": 1, "at": "2026-03-15T10:00:00Z"}\n')
    source = f'@source(FileSource(path="{rides}"))'
    with local() as client:
        client.commit(written(tmp_path, source=source))
        with rides.open("a") as more:
            more.write('{"driver": "d", "fare": 2, "at": "2026-03-15T10:00:01Z", "fee": 40}\n')
        client.commit(written(tmp_path, MORE, DERIVED, source))
        status = client.status()
        assert [(each["rows"], each["dead_letters"]) for each in status["sources"]] in ([(2, 0)], [(1, 0)])
        assert client.lookup("More", "d") == {"tips": 0, "fees": 42, "first": "plain"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("    tip: float\n", "field tip: float is added; give Ride version=2"),
        ('    fee: int = field(default="x")\n', "does not fit its type int"),
        ("    k: str = field(key=True, default='x')\n", "a row always says its key"),
    ],
)
def test_what_is_no_addition_is_refused(tmp_path: Path, more: str, message: str) -> None:
    with local() as client:
        client.commit(written(tmp_path))
        with pytest.raises((ConflictError, InvalidDefinitionError, ValueError), match=message):
            client.commit(written(tmp_path, more))
