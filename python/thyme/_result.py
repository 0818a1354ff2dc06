"""The answer to a read."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from thyme._errors import ThymeError
from thyme._feature_meta import FeatureMeta, columns_of, of_row, of_table
from thyme._frames import rows_of
from thyme._html import block, dim, struck, table
from thyme._values import to_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

ROWS_SHOWN = 10
_CELL_WIDTH_MAX = 32

# Arrow types, by the names that features have in Python.
_ARROW_TYPES = {
    "int": "int64",
    "float": "float64",
    "str": "string",
    "bool": "bool_",
    "date": "date32",
    "bytes": "binary",
    "json": "string",
}


class ThymeResult:
    """Rows of features, with the time, the position and the commit they were computed at.

    A result of one row also reads like a dict: `result["rides_1h"]`, `dict(result)`. `len(result)` is the
    number of rows, and iterating gives them as dicts.

    Example:
        row = client.query(DriverFeatures, "d1")
        rides = row["rides_1h"]
        frame = client.query_batch(DriverFeatures, ["d1", "d2"]).to_polars()

    Attributes:
        metadata: What the server said about the answer: `as_of` (`time`, `position`, `commit`), `mode`, ...
        query_run_id: The id of the recorded query run; None if the server keeps none.
    """

    def __init__(
        self,
        *,
        rows: list[dict[str, Any]] | None = None,
        types: Mapping[str, str] | None = None,
        table: pa.Table | Callable[[], pa.Table] | None = None,
        metadata: Mapping[str, Any] | None = None,
        query_run_id: str | None = None,
    ) -> None:
        """Wraps rows, or a table, or a function that reads the table when it is first needed.

        Args:
            rows: Row dicts.
            types: With rows: the type of each column, as `int float str bool datetime`.
            table: The table, or what gives it.
            metadata: See the class.
            query_run_id: See the class.
        """
        self._rows = rows
        self._types = dict(types or {})
        self._source = table
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.query_run_id = query_run_id

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        if self._rows is not None:
            return list(self._rows[0]) if self._rows else list(self._types)
        return list(self.to_arrow().column_names)

    @property
    def meta(self) -> dict[str, FeatureMeta]:
        """By feature, how its values came about and how fresh they are; empty without `meta=True`.

        Example:
            row = client.query(DriverFeatures, "d1", meta=True)
            if row.meta["rides_1h"].status != "OK" or row.meta["rides_1h"].age_s > 600:
                ...
        """
        said = self._said_of_features()
        if not said:
            return {}
        return of_row(said) if self._rows is not None else of_table(said, self.to_arrow_with_meta())

    def to_arrow(self) -> pa.Table:
        """A PyArrow table."""
        table = self.to_arrow_with_meta()
        beside = set(columns_of(self._said_of_features()))
        return (
            table.drop_columns([name for name in table.column_names if name in beside]) if beside else table
        )

    def to_arrow_with_meta(self) -> pa.Table:
        """A PyArrow table; of a read with `meta=True` also `NAME.status`, `NAME.newest` and so on."""
        import pyarrow as pa

        if callable(self._source):
            self._source = self._source()
        if self._source is None:
            rows = self._rows or []
            columns = [self._column(name, [row[name] for row in rows]) for name in self.columns]
            self._source = pa.table(columns, names=self.columns)
        return self._source

    def to_polars(self) -> pl.DataFrame:
        """A polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """A pandas frame.

        Raises:
            ThymeError: pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise ThymeError("to_pandas() needs pandas: pip install pandas, or use to_polars()")
        frame: pd.DataFrame = self.to_arrow().to_pandas(maps_as_pydicts="strict")
        return frame

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """A 2-D array, rows by columns: numbers if all columns are numbers (null is NaN), else objects.

        Old names of features that nobody asked for are left out: places in an array stay as they were.
        """
        import numpy as np
        import polars as pl

        frame = self.to_polars().drop(self._old_names())
        if all(kind.is_numeric() or kind == pl.Boolean for kind in frame.dtypes):
            return frame.to_numpy()
        # One array of all columns: NumPy has no type that holds both numbers and times.
        values = np.empty(frame.shape, dtype=object)
        for i, row in enumerate(frame.iter_rows()):
            values[i, :] = row
        return values

    def to_dict(self) -> list[dict[str, Any]]:
        """One dict a row, with Python values; times are aware datetimes in UTC."""
        if self._rows is not None:
            return [dict(row) for row in self._rows]
        rows: list[dict[str, Any]] = self._rows_of(self.to_arrow())
        return rows

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows) if self._rows is not None else int(self.to_arrow().num_rows)

    def __bool__(self) -> bool:
        """Always true: an empty answer is an answer."""
        return True

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts."""
        return iter(self.to_dict())

    def __contains__(self, name: object) -> bool:
        """Whether there is a column of this name."""
        return name in self.columns

    def keys(self) -> list[str]:
        """The names of the columns, so that `dict(result)` works on a result of one row."""
        return self.columns

    def __getitem__(self, which: str | int) -> Any:
        """A column by name (of a result of one row: its value), or a row by number.

        Raises:
            KeyError: No column of this name.
        """
        if isinstance(which, int):
            if self._rows is not None:
                return dict(self._rows[which])
            if not -len(self) <= which < len(self):
                raise IndexError(f"row {which} of {len(self)}")
            return self._rows_of(self.to_arrow().slice(which % len(self), 1))[0]
        if which not in self.columns:
            raise KeyError(f"{which!r}: the columns are {', '.join(self.columns)}")
        if self._rows is not None:
            values = [row[which] for row in self._rows]
        else:
            values = [row[which] for row in self._rows_of(self.to_arrow().select([which]))]
        return values[0] if len(values) == 1 else values

    def get(self, name: str, default: Any = None) -> Any:
        """`self[name]`, or `default` if there is no such column."""
        return self[name] if name in self.columns else default

    def _said_of_features(self) -> Mapping[str, Any]:
        return (self.metadata.get("meta") or {}).get("features") or {}

    def _old_names(self) -> list[str]:
        """The columns that repeat a feature under a name that it had before, if none were chosen."""
        meta = self.metadata.get("meta") or {}
        old = {} if "ids" in meta else meta.get("deprecated") or {}
        return [name for name in old if name in self.columns]

    def _column(self, name: str, values: list[Any]) -> Any:
        import pyarrow as pa

        if self._types.get(name) == "json":
            values = [None if value is None else to_json(value).decode() for value in values]
        return pa.array(values, self._arrow_type(name))

    def _rows_of(self, table: pa.Table) -> list[dict[str, Any]]:
        rows = rows_of(table)
        for name in set(self.metadata.get("json") or ()) & set(table.column_names):
            for row in rows:
                row[name] = None if row[name] is None else json.loads(row[name])
        return rows

    def _arrow_type(self, name: str) -> Any:
        import pyarrow as pa

        return _arrow_type(self._types[name], pa) if name in self._types else None

    def __repr__(self) -> str:
        """The first rows as a small table."""
        head, total = self._head()
        cells = [self.columns, *[[_shown(value) for value in row.values()] for row in head]]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.columns))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells
        ]
        if total > len(head):
            lines.append(f"... {total - len(head):,} more")
        return "\n".join([self._summary(total), *[line.rstrip() for line in lines]])

    def _repr_html_(self) -> str:
        """The first rows as an HTML table, for notebooks."""
        head, total = self._head()
        rows = [[_shown(value) for value in row.values()] for row in head]
        more = [dim(f"... {total - len(head):,} more")] if total > len(head) else []
        meta = (self.metadata.get("meta") or {}).get("deprecated") or {}
        names = [struck(name) if name in meta else name for name in self.columns]
        return block(table(names, rows), *more, dim(self._summary(total)))

    def _head(self) -> tuple[list[dict[str, Any]], int]:
        if self._rows is not None:
            return self._rows[:ROWS_SHOWN], len(self._rows)
        table = self.to_arrow()
        return self._rows_of(table.slice(0, ROWS_SHOWN)), table.num_rows

    def _summary(self, total: int) -> str:
        rows = "1 row" if total == 1 else f"{total:,} rows"
        columns = "1 column" if len(self.columns) == 1 else f"{len(self.columns)} columns"
        as_of = self.metadata.get("as_of")
        when = f", as of {as_of['time']}" if isinstance(as_of, Mapping) and as_of.get("time") else ""
        return f"ThymeResult: {rows}, {columns}{when}"


def _arrow_type(kind: str, pa: Any) -> Any:
    if kind == "datetime":
        return pa.timestamp("us", "UTC")
    if kind.startswith("list["):
        return pa.list_(_arrow_type(kind[5:-1], pa))
    if kind.startswith("vector["):
        return pa.list_(pa.float64(), int(kind[7:-1]))
    if kind.startswith("dict["):
        return pa.map_(pa.string(), _arrow_type(kind[10:-1], pa))
    if kind.startswith("decimal("):
        return pa.decimal128(38, int(kind[8:-1]))
    return getattr(pa, _ARROW_TYPES[kind])() if kind in _ARROW_TYPES else None


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= _CELL_WIDTH_MAX else text[: _CELL_WIDTH_MAX - 1] + "…"
