"""Values of every type, through frames and files, extractors, batches and training sets."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thyme import (
    Length,
    Scale,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    local,
)
from thyme._files import read_slices
from thyme.errors import InvalidDataError
from thyme.testing import MockContext


class Kind(Enum):
    CARD = "card"


@dataset(index=True)
class Order:
    customer: str = field(key=True)
    total: Annotated[Decimal, Scale(2)] | None
    ships_on: date | None
    raw: bytes | None
    items: list[str] | None
    by_shelf: dict[str, int] | None
    embedding: Annotated[list[float], Length(2)] | None
    note: dict | None
    at: datetime = field(timestamp=True)


@featureset
class Orders:
    customer: str = feature(id=1)
    total: Annotated[Decimal, Scale(2)] = feature(id=2, ref=Order.total)
    ships_on: date = feature(id=3, ref=Order.ships_on)
    raw: bytes = feature(id=4, ref=Order.raw)
    items: list[str] = feature(id=5, ref=Order.items)
    by_shelf: dict[str, int] = feature(id=6, ref=Order.by_shelf)
    embedding: Annotated[list[float], Length(2)] = feature(id=7, ref=Order.embedding)
    note: dict = feature(id=8, ref=Order.note)


VALUES: dict[str, Any] = {
    "total": Decimal("12.30"),
    "ships_on": date(2026, 3, 20),
    "raw": b"\x00\xff",
    "items": ["b", "a", None],
    "by_shelf": {"a": 1, "z": 3},
    "embedding": [1.0, -2.5],
    "note": {"a": [1, {"b": None}], "z": "é"},
}
AT = datetime(2026, 3, 15, 10, tzinfo=UTC)
ROW = {"customer": "c1", **VALUES, "at": AT}
EMPTY = {"customer": "c2", **dict.fromkeys(VALUES), "at": AT}
SCHEMA = pa.schema(
    {
        "customer": pa.large_string(),
        "total": pa.decimal128(10, 3),
        "ships_on": pa.date32(),
        "raw": pa.large_binary(),
        "items": pa.large_list(pa.large_string()),
        "by_shelf": pa.map_(pa.string(), pa.int32()),
        "embedding": pa.list_(pa.float32()),
        "note": pa.string(),
        "at": pa.timestamp("ns", "UTC"),
    }
)


def arrow() -> pa.Table:
    rows = [{**row, "note": json.dumps(row["note"]) if row["note"] else None} for row in (ROW, EMPTY)]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.mark.parametrize("door", ["rows", "arrow", "polars", "pandas", "structs"])
def test_frames_of_any_kind_say_the_same(door: str) -> None:
    plain = {**ROW, "note": json.dumps(ROW["note"])}
    structs = pl.DataFrame([plain, EMPTY], infer_schema_length=None)
    frames = {
        "arrow": arrow,
        "polars": lambda: pl.from_arrow(arrow()),
        "pandas": lambda: pd.DataFrame([plain, EMPTY]),
        "structs": lambda: structs,
    }
    with local() as client:
        client.commit([Order, Orders])
        client.log(Order, [ROW, EMPTY] if door == "rows" else frames[door]())
        for customer, values in (("c1", VALUES), ("c2", dict.fromkeys(VALUES))):
            assert client.query(Orders, customer, at=AT).to_dict() == [{"customer": customer, **values}]
            assert client.lookup(Order, customer, AT)["note"] == values["note"]


def test_batches_and_training_sets_have_the_values_in_every_frame() -> None:
    with local() as client:
        client.commit([Order, Orders])
        client.log(Order, [ROW, EMPTY])
        labels = pl.DataFrame({"customer": ["c1", "c2"], "at": [AT, AT]})
        offline = client.query_offline(Orders, labels, entity_column="customer", timestamp_column="at")
        batch = client.query_batch(Orders, ["c1", "c2"])
        for result in (offline, batch):
            first, second = result.to_dict()
            assert {name: first[name] for name in VALUES} == VALUES
            assert {name: second[name] for name in VALUES} == dict.fromkeys(VALUES)
            frame = result.to_pandas()
            assert frame["by_shelf"][0] == VALUES["by_shelf"]
            assert list(frame["embedding"][0]) == VALUES["embedding"]
            columns = result.to_polars()
            assert columns["total"].to_list() == [Decimal("12.30"), None]
            assert columns["embedding"].dtype == pl.Array(pl.Float64, 2)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_files_say_the_same(tmp_path: Path, suffix: str) -> None:
    cell = {"total": "12.30", "ships_on": "2026-03-20", "raw": "AP8=", "at": "2026-03-15T10:00:00Z"}
    path = tmp_path / f"orders.{suffix}"
    if suffix == "jsonl":
        path.write_text(json.dumps({**ROW, **cell}) + "\n")
    elif suffix == "csv":
        texts = {name: json.dumps(VALUES[name]) for name in ("items", "by_shelf", "embedding", "note")}
        pl.DataFrame([{"customer": "c1", **cell, **texts}]).write_csv(path)
    else:
        pq.write_table(arrow(), path)
    with local() as client:
        client.commit([Order, Orders])
        types = dict.fromkeys(VALUES, "str")
        for part in read_slices(path, types):
            client.log(Order, part)
        assert client.query(Orders, "c1", at=AT).to_dict() == [{"customer": "c1", **VALUES}]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"items": pa.array([["a"], None])}, None),
        ({"items": pa.array([[1], None])}, "items"),
        ({"embedding": pa.array([[1.0, 2.0], [1.0]])}, "embedding: expected vector[2], got 1 numbers"),
        ({"embedding": pa.array([[1.0, None], None])}, "embedding[1]: expected float, got null"),
        ({"total": pa.array([Decimal("1.001"), None])}, "total: expected decimal(2)"),
        ({"total": pa.array([0.5, 0.125])}, "row 1: total: expected decimal(2), got float 0.125"),
        ({"ships_on": pa.array([AT, None])}, "ships_on: expected date or null"),
        ({"by_shelf": pa.array([{"a": 1.5}, None])}, 'by_shelf["a"]: expected int, got float 1.5'),
        ({"note": pa.array(["{", None])}, "note: expected json"),
        ({"raw": pa.array([1, 2])}, "raw: expected bytes or null, got a column of type Int64"),
    ],
)
def test_a_wrong_column_is_named_with_row_and_place(column: dict[str, pa.Array], says: str | None) -> None:
    table = pa.table({"customer": ["c1", "c2"], "at": [AT, AT], **column})
    table = pa.table(
        {name: table[name] if name in column else pa.nulls(2) for name in VALUES}
        | {"customer": table["customer"], "at": table["at"]}
    )
    with local() as client:
        client.commit([Order])
        if says is None:
            client.log(Order, table)
            return
        with pytest.raises(InvalidDataError) as refused:
            client.log(Order, table)
        assert says in str(refused.value)


def test_extractors_are_given_python_objects_and_may_return_them() -> None:
    @featureset
    class Derived:
        customer: str = feature(id=1)
        items: list[str] = feature(id=2, ref=Order.items)
        note: dict = feature(id=3, ref=Order.note)
        total: Annotated[Decimal, Scale(2)] = feature(id=4, ref=Order.total)
        day: date = feature(id=5, ref=Order.ships_on)
        raw: bytes = feature(id=6, ref=Order.raw)
        extra: list[int] = feature(id=7, request=True)
        kinds: str = feature(id=10)
        lengths: dict[str, int] = feature(id=11)
        sorted_items: list[str] = feature(id=12)
        double: Annotated[Decimal, Scale(2)] = feature(id=13)
        next_day: date = feature(id=14)
        reverse: bytes = feature(id=15)
        pair: Annotated[list[float], Length(2)] = feature(id=16)
        anything: Any = feature(id=17)
        member: str = feature(id=18)

        @extractor
        @extractor_inputs("items", "note", "total", "day", "raw", "extra")
        @extractor_outputs(
            "kinds",
            "lengths",
            "sorted_items",
            "double",
            "next_day",
            "reverse",
            "pair",
            "anything",
            "member",
        )
        def derive(
            cls, ts: Any, items: Any, note: Any, total: Any, day: Any, raw: Any, extra: Any
        ) -> tuple[Any, ...]:
            kinds = ",".join(type(each).__name__ for each in (items, note, total, day, raw, extra))
            present = [item for item in items if item is not None]
            return (
                kinds,
                {item: len(item) for item in present},
                sorted(present),
                total * 2,
                day.replace(day=day.day + 1),
                bytes(reversed(raw)),
                [1, 2.5],
                {"note": note, "extra": extra},
                Kind.CARD,
            )

    context = MockContext()
    context.add_events(Order, [ROW])
    assert context.query(Derived, "c1", inputs={"extra": [3, 4]}) == {
        "customer": "c1",
        **{name: VALUES[name] for name in ("items", "note", "total", "raw")},
        "day": VALUES["ships_on"],
        "extra": [3, 4],
        "kinds": "list,dict,Decimal,date,bytes,list",
        "lengths": {"a": 1, "b": 1},
        "sorted_items": ["a", "b"],
        "double": Decimal("24.60"),
        "next_day": date(2026, 3, 21),
        "reverse": b"\xff\x00",
        "pair": [1.0, 2.5],
        "anything": {"note": VALUES["note"], "extra": [3, 4]},
        "member": "card",
    }
    with pytest.raises(InvalidDataError, match=r"extra\[1\]: expected int, got str"):
        context.query(Derived, "c1", inputs={"extra": [3, "x"]})
