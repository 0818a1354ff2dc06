"""What a result converts to and shows."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from thyme._result import ThymeResult

TABLE = pa.table({"driver": ["a", "b", "c"], "rides": [1, None, 3], "fare": [1.5, 2.0, None]})


def test_it_converts_to_every_frame() -> None:
    result = ThymeResult(table=TABLE)
    assert result.to_arrow() is TABLE
    assert result.to_polars().equals(pl.DataFrame(TABLE))
    assert list(result.to_pandas()["driver"]) == ["a", "b", "c"]
    assert result.to_dict()[1] == {"driver": "b", "rides": None, "fare": 2.0}
    assert result.to_numpy().shape == (3, 3)


def test_numbers_are_a_float_array_with_nan_for_null() -> None:
    array = ThymeResult(table=TABLE.select(["rides", "fare"])).to_numpy()
    np.testing.assert_array_equal(array, [[1, 1.5], [math.nan, 2.0], [3, math.nan]])


def test_columns_without_a_common_type_are_an_array_of_objects() -> None:
    at = datetime(2026, 3, 15, tzinfo=UTC)
    table = pa.table({"at": pa.array([at, None], pa.timestamp("us", "UTC")), "n": [1, 2], "x": ["a", None]})
    array = ThymeResult(table=table).to_numpy()
    assert array.dtype == object
    assert array.tolist() == [[at, 1, "a"], [None, 2, None]]


def test_rows_and_tables_read_alike() -> None:
    rows = ThymeResult(rows=TABLE.to_pylist(), types={"driver": "str", "rides": "int", "fare": "float"})
    table = ThymeResult(table=TABLE)
    for result in (rows, table):
        assert result["rides"] == [1, None, 3]
        assert result[1] == result[-2] == {"driver": "b", "rides": None, "fare": 2.0}
        assert "fare" in result
        assert "tip" not in result
        assert [row["driver"] for row in result] == ["a", "b", "c"]
        with pytest.raises(KeyError, match="driver, rides, fare"):
            result["tip"]
        with pytest.raises(IndexError):
            result[3]
    assert rows.to_arrow().equals(TABLE)


def test_no_rows_is_still_a_result() -> None:
    result = ThymeResult(table=TABLE.slice(0, 0))
    assert result
    assert len(result) == 0
    assert result["driver"] == []


def test_it_shows_its_first_rows() -> None:
    table = pa.table(
        {"driver": [f"<b>{i}" for i in range(12)], "at": [datetime(2026, 3, 15, tzinfo=UTC)] * 12}
    )
    result = ThymeResult(table=table, metadata={"as_of": {"time": "2026-03-15T00:00:00Z"}})
    lines = repr(result).splitlines()
    assert lines[0] == "ThymeResult: 12 rows, 2 columns, as of 2026-03-15T00:00:00Z"
    assert lines[2] == "<b>0    2026-03-15T00:00:00Z"
    assert lines[-1] == "... 2 more"
    html = result._repr_html_()
    assert "&lt;b&gt;0" in html
    assert "<b>" not in html


def test_a_file_is_read_when_it_is_first_used() -> None:
    reads: list[int] = []

    def read() -> pa.Table:
        reads.append(1)
        return TABLE

    result = ThymeResult(table=read)
    assert reads == []
    assert len(result) == len(result.to_dict()) == 3
    assert reads == [1]
