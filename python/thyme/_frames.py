"""Rows from polars, pandas, Arrow, lists and dicts, as slices of Arrow; and Arrow IPC bytes.

The engine takes whatever Arrow types can hold its values; all that is done here is to bring the many
containers into plain columns, without looking at the values.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from thyme._errors import InvalidDataError
from thyme._values import parse_time, plain_values, to_datetime, to_json

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_STREAM = "application/vnd.apache.arrow.stream"


def is_frame(data: Any) -> bool:
    """Whether `data` is a frame: columns of polars, pandas or Arrow."""
    return (
        hasattr(data, "__arrow_c_stream__")
        or hasattr(data, "__arrow_c_array__")
        or _is_pandas(data)
        or _is_lazy(data)
    )


def is_columns(data: Mapping[str, Any]) -> bool:
    """Whether a dict holds columns (every value a list or an array) and not one row."""
    return bool(data) and all(
        not isinstance(value, (str, bytes, Mapping))
        and (isinstance(value, (list, tuple)) or hasattr(value, "__len__"))
        for value in data.values()
    )


def rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a dict of columns.

    Raises:
        InvalidDataError: The columns have different lengths.
    """
    lists = {name: plain_values(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidDataError(f"the columns have different lengths: {shown}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def slices(data: Any, rows: int, *, time_column: str | None = None) -> Iterator[pa.Table]:
    """`data` as plain Arrow tables of `rows` rows, in order; at least one table, if only an empty one.

    Args:
        data: A frame, a list of dicts, a dict of lists, or an iterator of Arrow tables or batches.
        rows: How many rows a slice has; the last one may have less.
        time_column: The column of labels' times; in a list of dicts it may mix datetimes, texts and seconds.

    Raises:
        InvalidDataError: It is none of these, or a column mixes types.
    """
    return (plain_columns(table) for table in cut(parts(data, rows, time_column=time_column), rows))


def parts(data: Any, rows: int, *, time_column: str | None = None) -> Iterator[pa.Table]:
    """`data` as Arrow tables, in order, as they come: those of what is converted have at most `rows` rows.

    Args and errors are those of `slices`.
    """
    import pyarrow as pa

    if isinstance(data, Mapping):
        if not is_columns(data):
            raise InvalidDataError(
                "expected rows: a frame, a list of dicts, or a dict of lists; got one dict"
            )
        data = rows_of_columns(data)
    if isinstance(data, (list, tuple)):
        return iter([_table_of_rows(data, time_column)])
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        return iter([as_table(data)])
    if _is_pandas(data):
        return _pandas_parts(data, rows)
    if _is_lazy(data):
        return _lazy_parts(data, rows)
    if type(data).__module__.startswith("polars.") and hasattr(data, "iter_slices"):
        return (part.to_arrow() for part in (data.iter_slices(rows) if data.height else [data]))
    if hasattr(data, "__arrow_c_stream__"):
        return _batches(pa.RecordBatchReader.from_stream(data))
    if hasattr(data, "__arrow_c_array__"):
        return iter([as_table(pa.record_batch(data))])
    if isinstance(data, Iterator):
        return map(as_table, data)
    raise InvalidDataError(
        f"{type(data).__name__} is not a frame: "
        "expected polars, pandas or Arrow, a list of dicts, or a dict of lists"
    )


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table, maps as dicts."""
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def as_table(part: Any) -> pa.Table:
    """A table of a table or a record batch."""
    import pyarrow as pa

    return pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part


def _pandas_parts(data: Any, rows: int) -> Iterator[pa.Table]:
    """Parts of a pandas frame, whose columns have the types that the whole of them needs."""
    import pyarrow as pa

    try:
        schema = pa.Schema.from_pandas(data, preserve_index=False)
        for start in range(0, max(len(data), 1), rows):
            yield pa.Table.from_pandas(data.iloc[start : start + rows], schema=schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        reason = "; ".join(map(str, error.args))
        raise InvalidDataError(f"a column of the frame cannot be sent: {reason}") from None


def _lazy_parts(data: Any, rows: int) -> Iterator[pa.Table]:
    """Parts of a lazy polars frame as they are computed; older polars computes all of it first."""
    import polars as pl

    if not hasattr(data, "collect_batches"):
        yield from (part.to_arrow() for part in data.collect().iter_slices(rows))
        return
    yield pl.DataFrame(schema=data.collect_schema()).to_arrow()
    for part in data.collect_batches(chunk_size=rows, maintain_order=True):
        yield part.to_arrow()


def ipc_bytes(table: pa.Table) -> bytes:
    """An Arrow IPC stream of the table."""
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def table_from_ipc(body: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


def tables_from_ipc(body: bytes) -> list[pa.Table]:
    """The tables of Arrow IPC streams that follow each other."""
    import pyarrow as pa

    source = pa.BufferReader(body)
    tables = []
    while source.tell() < source.size():
        with pa.ipc.open_stream(source) as reader:
            tables.append(reader.read_all())
    return tables


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    import pyarrow as pa

    yield pa.Table.from_batches([], reader.schema)
    for batch in reader:
        yield pa.Table.from_batches([batch])


def cut(parts: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Joins small parts and cuts large ones, so that every slice but the last has `rows` rows."""
    import pyarrow as pa

    pending: list[pa.Table] = []
    count = 0
    sent = False
    empty: pa.Table | None = None
    for table in parts:
        _check_names(table)
        empty = table.slice(0, 0) if empty is None else empty
        if table.num_rows == 0:
            continue
        if not table.schema.equals(empty.schema):
            # Such as a column of one part that has nothing but nulls, or keys of another width.
            table = _conformed(table, empty.schema)
        pending.append(table)
        count += table.num_rows
        while count >= rows:
            joined = pa.concat_tables(pending)
            yield joined.slice(0, rows)
            sent = True
            rest = joined.slice(rows)
            pending, count = ([rest], rest.num_rows) if rest.num_rows else ([], 0)
    if pending:
        yield pa.concat_tables(pending)
    elif not sent and empty is not None:
        yield empty


def _check_names(table: pa.Table) -> None:
    names = table.column_names
    duplicates = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if duplicates:
        raise InvalidDataError(f"two columns are named {', '.join(sorted(duplicates))}")


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f"a later part of the rows does not fit the first: {reason}") from None


def plain_columns(table: pa.Table) -> pa.Table:
    """Dictionaries, views and large texts as plain columns, and no metadata of other libraries."""
    import pyarrow as pa

    fields = [pa.field(f.name, _plain_type(f.type), f.nullable) for f in table.schema]
    schema = pa.schema(fields)
    if schema.equals(table.schema, check_metadata=True):
        return table
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidDataError(f"a column cannot be sent: {error}") from None


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


def _table_of_rows(rows: Sequence[Any], time_column: str | None) -> pa.Table:
    import pyarrow as pa

    names: dict[str, None] = {}
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidDataError(f"row {i} is a {type(row).__name__}: expected a dict")
        names.update(dict.fromkeys(row))
    if not names:
        raise InvalidDataError("no rows: an empty list has no columns; give an empty frame that has them")
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: column_of(name, values, name == time_column) for name, values in columns.items()})


def column_of(name: str, values: list[Any], is_time: bool) -> Any:
    """The values of a column as an Arrow array.

    Raises:
        InvalidDataError: They mix types; only times may.
    """
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    moments = any(issubclass(kind, datetime) for kind in kinds)
    try:
        if moments or (is_time and str in kinds and kinds != {str}):
            return moments_of(values)
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if kinds and kinds <= {dict, list}:
            # Nested values of several shapes: the engine reads them from their JSON.
            return pa.array([None if value is None else to_json(value).decode() for value in values])
        shown = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidDataError(f'column "{name}" mixes types that one column cannot hold: {shown}') from None


def moments_of(values: Iterable[Any]) -> Any:
    """Datetimes, texts and seconds since the epoch as one Arrow array of times."""
    import pyarrow as pa

    return pa.array([_moment(value) for value in values], pa.timestamp("us", "UTC"))


def _moment(value: Any) -> datetime | None:
    if value is None or value != value:
        return None
    if isinstance(value, str):  # `to_datetime` would say the same; this keeps its message for what is no time
        return parse_time(value) or to_datetime(value)
    return to_datetime(value)


def _is_pandas(data: Any) -> bool:
    return (
        type(data).__module__.partition(".")[0] == "pandas"
        and hasattr(data, "iloc")
        and hasattr(data, "columns")
    )


def _is_lazy(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "polars" and hasattr(data, "collect")
