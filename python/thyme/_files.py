"""Rows in files: read as slices of Arrow, written slice by slice."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thyme._errors import InvalidDataError
from thyme._frames import rows_of
from thyme._values import json_ready

if TYPE_CHECKING:
    import pyarrow as pa

READ_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}

# The column of a CSV with a field's values: what Arrow parses, and times as text for the engine to read.
_CSV_TYPES = {"int": "int64", "float": "float64", "bool": "bool_", "str": "string", "datetime": "string"}


def format_of(path: str | Path, *, purpose: str = "read") -> str:
    """The format of a file by its suffix.

    Raises:
        InvalidDataError: The suffix is none of those that are known.
    """
    suffix = Path(path).suffix.lower()
    kind = READ_FORMATS.get(suffix)
    if kind is None:
        known = ", ".join(dict.fromkeys(READ_FORMATS))
        raise InvalidDataError(f'cannot {purpose} "{path}": the suffix should be one of {known}')
    return kind


def check_readable(path: str | Path) -> None:
    """Refuses a path that is no file that can be read.

    Raises:
        InvalidDataError: With the reason.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise InvalidDataError(f'cannot read "{path}": {error.strerror or error}') from None


def read_slices(
    path: str | Path,
    types: Mapping[str, str],
    *,
    kind: str | None = None,
) -> Iterator[pa.Table]:
    """The rows of a file as Arrow tables, in order.

    Parquet, Arrow and CSV are streamed; JSON is read whole.

    Args:
        path: The file.
        types: The types of known columns, as in definitions; in a CSV they decide how text is read.
        kind: The format; by default as the suffix says.

    Raises:
        InvalidDataError: The file cannot be read, or holds something else than its suffix says.
    """
    check_readable(path)
    kind = kind or format_of(path)
    import pyarrow as pa

    try:
        if kind == "parquet":
            yield from _parquet(path)
        elif kind == "arrow":
            yield from _arrow(path)
        elif kind == "csv":
            yield from _csv_stream(path, types)
        else:
            yield from _json(path, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f'cannot read "{path}" as {kind}: {reason}') from None


def columns_of(path: str | Path) -> tuple[list[str], int | None]:
    """The names of a file's columns, and the number of its rows if that is cheap to know.

    Raises:
        InvalidDataError: The file cannot be read, or has no columns.
    """
    check_readable(path)
    kind = format_of(path)
    try:
        names, rows = _columns_of(path, kind)
    except UnicodeDecodeError:
        raise InvalidDataError(f'cannot read "{path}" as {kind}: it is not UTF-8 text') from None
    if not names:
        raise InvalidDataError(f'cannot read "{path}" as {kind}: it has no columns')
    return names, rows


def _columns_of(path: str | Path, kind: str) -> tuple[list[str], int | None]:
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names), int(file.metadata.num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidDataError(f'cannot read "{path}" as parquet: {error}') from None
    if kind == "csv":
        import csv

        with open(path, encoding="utf-8-sig", newline="") as text:
            return next(csv.reader(text), []), None
    if kind == "jsonl":
        with open(path, encoding="utf-8-sig") as text:
            row: Any = next(_json_lines(path, text), {})
        return list(row) if isinstance(row, dict) else [], None
    table = next(read_slices(path, {}))
    return list(table.column_names), None


def json_line_slices(path: str | Path, rows: int, size: int) -> Iterator[tuple[bytes, int]]:
    """The lines of a JSONL file, unread, in slices of at most `rows` lines and about `size` bytes.

    Yields:
        The bytes, without blank lines, and the number of lines.
    """
    check_readable(path)
    with open(path, "rb") as file:
        lines: list[bytes] = []
        held = 0
        for i, line in enumerate(file):
            line = line.removeprefix(b"\xef\xbb\xbf") if i == 0 else line
            if line.isspace() or not line:
                continue
            lines.append(line if line.endswith(b"\n") else line + b"\n")
            held += len(line)
            if len(lines) == rows or held >= size:
                yield b"".join(lines), len(lines)
                lines, held = [], 0
        if lines:
            yield b"".join(lines), len(lines)


def _parquet(path: str | Path) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield pa.Table.from_batches([], file.schema_arrow)
        for batch in file.iter_batches(batch_size=65_536):
            yield pa.Table.from_batches([batch])


def _arrow(path: str | Path) -> Iterator[pa.Table]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        magic = source.read(6)
        source.seek(0)
        if magic == b"ARROW1":
            file = pa.ipc.open_file(source)
            yield pa.Table.from_batches([], file.schema)
            for i in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(i)])
            return
        stream = pa.ipc.open_stream(source)
        yield pa.Table.from_batches([], stream.schema)
        for batch in stream:
            yield pa.Table.from_batches([batch])


def _csv_stream(path: str | Path, types: Mapping[str, str]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.csv as pc

    convert = pc.ConvertOptions(
        column_types={name: getattr(pa, _CSV_TYPES.get(kind, "string"))() for name, kind in types.items()},
        # Nothing at all is null, "" is an empty text; "NA" and "null" are texts like any other.
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parse = pc.ParseOptions(newlines_in_values=True)
    times = [name for name, kind in types.items() if kind == "datetime"]
    numeric: set[str] | None = None
    try:
        with pc.open_csv(path, convert_options=convert, parse_options=parse) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                if numeric is None:
                    numeric = {
                        name for name in times if name in table.column_names and _is_numeric(table[name])
                    }
                yield _with_seconds(table, numeric)
            if numeric is None:
                yield pa.Table.from_batches([], reader.schema)
    except pa.ArrowInvalid as error:
        raise InvalidDataError(f'cannot read "{path}" as csv: {csv_reason(path, str(error))}') from None


def csv_reason(path: str | Path, said: str) -> str:
    """What Arrow says about a CSV; it counts the columns, people name them and look for the row."""
    plain = " ".join(said.split())
    found = re.match(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to (\S+): (.*)", plain)
    if found is None:
        return plain
    import csv

    column, kind = int(found[1]), found[2]
    names = columns_of(path)[0]
    said_value = re.fullmatch(r"invalid value '(.*)'", found[3])
    expected = next((name for name, arrow in _CSV_TYPES.items() if kind == arrow.rstrip("_")), kind)
    if said_value is None:
        return f'in column "{names[column]}": expected {expected}: {found[3]}'
    where = ""
    with open(path, encoding="utf-8-sig", newline="", errors="replace") as text:
        for i, row in enumerate(csv.reader(text)):
            if i and column < len(row) and row[column] == said_value[1]:
                where = f"row {i - 1}, "
                break
    return f'{where}column "{names[column]}": expected {expected}, got "{said_value[1]}"'


def _is_numeric(column: Any) -> bool:
    """Whether a column of times as text holds seconds since the epoch: its first value is a number."""
    first = next((value.as_py() for value in column if value.is_valid), None)
    return first is not None and re.fullmatch(r"[+-]?\d+(\.\d*)?", first.strip()) is not None


def _with_seconds(table: pa.Table, numeric: set[str]) -> pa.Table:
    import pyarrow as pa

    for name in numeric:
        i = table.column_names.index(name)
        table = table.set_column(i, name, table[name].cast(pa.float64()))
    return table


def json_rows(path: str | Path, kind: str) -> list[Any]:
    """The rows of a JSON array (`json`) or of JSON lines (`jsonl`).

    Raises:
        InvalidDataError: The file cannot be read, or holds something else.
    """
    check_readable(path)
    with open(path, encoding="utf-8-sig") as file:
        try:
            rows = json.load(file) if kind == "json" else list(_json_lines(path, file))
        except UnicodeDecodeError:
            raise InvalidDataError(f'cannot read "{path}" as {kind}: it is not UTF-8 text') from None
        except ValueError as error:
            raise InvalidDataError(f'cannot read "{path}" as {kind}: {error}') from None
    if not isinstance(rows, list):
        raise InvalidDataError(f'"{path}" should hold a JSON array of objects')
    return rows


def _json_lines(path: str | Path, lines: Iterable[str]) -> Iterator[Any]:
    for i, line in enumerate(lines):
        if line.isspace():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            reason = f"line {i + 1}, column {error.colno}: {error.msg}"
            raise InvalidDataError(f'cannot read "{path}" as jsonl: {reason}') from None


def _json(path: str | Path, kind: str) -> Iterator[pa.Table]:
    from thyme._frames import slices

    rows = json_rows(path, kind)
    yield from slices(rows, max(len(rows), 1))


class FrameWriter:
    """Writes tables one after the other to a file, which appears only when all are written.

    Use it as a context manager; leaving it by an error removes what was written.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str | None = None,
        accept: Callable[[Path], None] | None = None,
    ) -> None:
        """Opens the file.

        Args:
            path: Where to write.
            kind: `parquet`, `csv`, `arrow`, `json` or `jsonl`; by default as the suffix says.
            accept: Looks at the finished file before it is put in place, and raises if it must not be.

        Raises:
            InvalidDataError: It cannot be written there.
        """
        self.path = Path(path)
        self.kind = kind or format_of(path, purpose="write")
        # A device or a pipe is written to; only a regular file can be put in place as a whole.
        self.is_regular = not self.path.exists() or self.path.is_file()
        self._accept = accept
        self._draft = (
            self.path if not self.is_regular else self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        )
        try:
            self._file = open(self._draft, "wb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InvalidDataError(f'cannot write "{path}": {error.strerror or error}') from None
        self._writer: Any = None
        self._rows = 0
        self._writes = 0

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`."""
        import pyarrow as pa

        if self.kind in ("csv", "json", "jsonl"):
            first = self._writes == 0 if self.kind == "csv" else self._rows == 0
            self._file.write(TEXT_FORMATS[self.kind](table, first))
        elif self._writer is None:
            if self.kind == "parquet":
                import pyarrow.parquet as pq

                self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
            else:
                self._writer = pa.ipc.new_stream(self._file, table.schema)
            self._writer.write_table(table)
        else:
            self._writer.write_table(table.cast(self._writer.schema) if self.kind == "parquet" else table)
        self._rows += table.num_rows
        self._writes += 1

    def __enter__(self) -> FrameWriter:
        """Gives itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Puts the file in its place, or removes the draft after an error."""
        if kind is None:
            if self.kind == "json":
                self._file.write(b"\n]\n" if self._rows else b"[]\n")
            elif self._writer is not None:
                self._writer.close()
            self._file.close()
            if self._draft != self.path:
                self._put()
            return
        self._file.close()
        if self._draft != self.path:
            self._draft.unlink(missing_ok=True)

    def _put(self) -> None:
        try:
            if self._accept is not None:
                self._accept(self._draft)
            os.replace(self._draft, self.path)
        finally:
            self._draft.unlink(missing_ok=True)


def csv_bytes(table: pa.Table, header: bool) -> bytes:
    """CSV with times as RFC 3339, null as nothing, bytes as base64, and lists, maps and vectors as JSON."""
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    nested = [name for name, kind in frame.schema.items() if kind.is_nested() or kind == pl.Binary]
    if nested:
        rows = [json_ready(row) for row in rows_of(table.select(nested))]
        texts = {name: [_cell_text(row[name]) for row in rows] for name in nested}
        frame = frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in texts.items())
    moments = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(pl.col(moments).dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")) if moments else frame
    return frame.write_csv(include_header=header).encode()


def _cell_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def jsonl_bytes(table: pa.Table, first: bool = True) -> bytes:
    """One JSON object a line, times as RFC 3339 and non-finite floats as text."""
    return b"".join(line + b"\n" for line in _json_rows(table))


def json_bytes(table: pa.Table, first: bool) -> bytes:
    """A part of a JSON array; `FrameWriter` ends it."""
    if not table.num_rows:
        return b""
    return (b"[\n" if first else b",\n") + b",\n".join(_json_rows(table))


def _json_rows(table: pa.Table) -> Iterator[bytes]:
    for row in rows_of(table):
        yield json.dumps(json_ready(row), ensure_ascii=False, allow_nan=False).encode()


TEXT_FORMATS: Mapping[str, Callable[[Any, bool], bytes]] = {
    "csv": csv_bytes,
    "json": json_bytes,
    "jsonl": jsonl_bytes,
}
