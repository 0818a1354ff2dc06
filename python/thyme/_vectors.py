"""Vectorized extractors: rows as Polars has them, in and out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from thyme._lookup import context_rows
from thyme._result_shape import WrongShape

if TYPE_CHECKING:
    from thyme._thyme import LookupContext

TIME = ""
"""The name of the column of times: no field and no input has none."""

_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)


def read(batch: bytes) -> pl.DataFrame:
    """A frame of an Arrow stream."""
    return pl.read_ipc_stream(io.BytesIO(batch))


def written(frame: pl.DataFrame) -> bytes:
    """An Arrow stream of a frame."""
    stream = io.BytesIO()
    frame.rechunk().write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


def outputs_of(result: Any, outputs: Sequence[str], rows: int) -> pl.DataFrame:
    """What a vectorized extractor returned, as a frame with a column for each output.

    Args:
        result: A Series, a tuple of them in the order of the outputs, a dict by output, or a frame with a
            column for each.
        outputs: The names of the outputs.
        rows: How many rows it was given.

    Raises:
        WrongShape: It is something else, or has another number of rows.
    """
    if isinstance(result, (pl.DataFrame, Mapping)):
        names = result.columns if isinstance(result, pl.DataFrame) else list(result)
        is_exact = set(names) == set(outputs)
        if not (is_exact or (isinstance(result, pl.DataFrame) and set(outputs) <= set(names))):
            kind = "frame" if isinstance(result, pl.DataFrame) else "dict"
            got = ", ".join(map(str, names)) or "nothing"
            raise WrongShape(f"expected a {kind} with {', '.join(outputs)}, got one with {got}")
        columns = [result[name] for name in outputs]
    elif isinstance(result, tuple):
        if len(result) != len(outputs):
            raise WrongShape(
                f"expected {len(outputs)} Series ({', '.join(outputs)}), got a tuple of {len(result)}"
            )
        columns = list(result)
    elif len(outputs) == 1:
        columns = [result]
    else:
        kind = "None; did you forget `return`?" if result is None else f"one {type(result).__name__}"
        raise WrongShape(f"expected {len(outputs)} Series ({', '.join(outputs)}), got {kind}")
    return pl.DataFrame([_plain(one, name, rows) for name, one in zip(outputs, columns, strict=True)])


def are_same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether two frames hold the same values; a column of nulls alone may be of any type."""
    return all(
        a.null_count() == b.null_count() == len(a) or (a.dtype == b.dtype and a.equals(b, null_equal=True))
        for a, b in zip(one.get_columns(), other.get_columns(), strict=True)
    )


def _plain(column: Any, name: str, rows: int) -> pl.Series:
    """A column in one of the types that values have."""
    if getattr(column, "ndim", None) == 1 and type(column).__module__.partition(".")[0] == "numpy":
        column = pl.Series(name, column)
    if not isinstance(column, pl.Series):
        hint = "; an expression is evaluated with frame.select(...)" if isinstance(column, pl.Expr) else ""
        raise WrongShape(
            f"expected a polars Series of {rows} rows for {name}, got {_article(type(column).__name__)}{hint}"
        )
    if len(column) != rows:
        raise WrongShape(f"expected {rows} rows for {name}, one for each row given, got {len(column)}")
    return _cast(column, name).alias(name)


def _cast(column: pl.Series, name: str) -> pl.Series:
    kind = column.dtype
    if kind in _WHOLE:
        return column.cast(pl.Int64)
    if kind == pl.UInt64:
        try:
            return column.cast(pl.Int64)
        except pl.exceptions.PolarsError:
            raise WrongShape(f"{name} has an int outside int64") from None
    if kind == pl.Float32:
        return column.cast(pl.Float64)
    if kind in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if isinstance(kind, pl.Datetime):
        if kind.time_unit == "ns":
            column = column.dt.truncate("1us")
        column = column.dt.cast_time_unit("us")
        if kind.time_zone is None:
            return column.dt.replace_time_zone("UTC")
        return column.dt.convert_time_zone("UTC")
    if kind in (pl.Int64, pl.Float64, pl.String, pl.Boolean, pl.Null):
        return column
    raise WrongShape(f"expected a Series of int, float, str, bool or datetime for {name}, got one of {kind}")


def lookup_many(name: str, context: LookupContext, ts: Any, key: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of a dataset as of the time of each row of a call.

    Args:
        name: The dataset.
        context: What lookups read.
        ts: A Series of datetimes, one for each row.
        key: The key field, or all of a composite key: Series likewise.

    Raises:
        TypeError: One of them is no Series.
        ValueError: One has another number of rows, or a key does not fit.
    """
    rows = context_rows.get()
    called = f"{name}.lookup(ts, {', '.join(f'{one}=...' for one in key) or 'key=...'})"
    columns: dict[str, pl.Series] = {}
    for what, column in ((TIME, ts), *key.items()):
        shown = what or "ts"
        if not isinstance(column, pl.Series):
            got = _article(type(column).__name__)
            raise TypeError(
                f"{called} in a vectorized extractor takes a Series for {shown}, a row for each row given; "
                f"got {got}"
            )
        if len(column) != rows:
            raise ValueError(
                f"{called} takes as many rows for {shown} as the extractor was given, {rows}, since each is "
                f"looked up at what was known for its own row; got {len(column)}: look up first, filter after"
            )
        try:
            columns[what] = _cast(column, shown)
        except WrongShape as wrong:
            raise TypeError(f"{called}: {wrong}") from None
    if not isinstance(columns[TIME].dtype, pl.Datetime):
        raise TypeError(f"{called} takes a Series of datetimes for ts, got one of {columns[TIME].dtype}")
    return read(context.lookup_many(name, written(pl.DataFrame(columns))))


def _article(kind: str) -> str:
    return kind if kind == "NoneType" else f"{'an' if kind[:1] in 'aeiouAEIOU' else 'a'} {kind}"
