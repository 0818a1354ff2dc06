"""Labels in files: their columns found first, then their rows in slices of Arrow, whatever their size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from thyme._errors import InvalidDataError
from thyme._files import READ_FORMATS, csv_reason
from thyme._frames import column_of, moments_of
from thyme._storage import Place

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of one part that is read at a time.
_PART_ROWS = 65_536
_CSV_BLOCK_BYTES = 4 << 20

# What a text column of a CSV without a known type may be, tried in this order. A number that would lose
# digits (leading zeros, more than 18 of them) stays the text that it is.
_CSV_GUESSES = (
    ("int64", r"^-?(0|[1-9][0-9]{0,17})$"),
    ("float64", r"^-?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^-?inf$|^NaN$"),
    ("bool_", r"^(true|false|True|False|TRUE|FALSE)$"),
)
_CSV_TYPES = {"int": "int64", "float": "float64", "bool": "bool_"}
_SECONDS = r"^[+-]?[0-9]+(\.[0-9]*)?$"


class LabelFile(Protocol):
    """A file of one format."""

    def schema(self) -> pa.Schema:
        """The columns, as all of its rows have them."""

    def count(self) -> int | None:
        """The number of rows, if that is known by now."""

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows, as `schema` says; only texts are read by it."""


def open_labels(place: Place, path: str, types: Mapping[str, str], time_column: str) -> LabelFile:
    """A file of labels.

    Args:
        place: Where it is, for errors, and for what is read without a copy of it.
        path: Where it, or a copy, is on this machine.
        types: The types of known columns, as in definitions.
        time_column: The column with the times.

    Raises:
        InvalidDataError: The suffix is none of those that are known.
    """
    kind = kind_of(place)
    if kind == "parquet":
        return _Parquet(place)
    if kind == "arrow":
        return _Arrow(place)
    if kind == "csv":
        return _Csv(place, path, types)
    return _Json(place, path, kind, time_column)


def kind_of(place: Place) -> str:
    """The format of a file of labels by its suffix.

    Raises:
        InvalidDataError: It is none of those that are known.
    """
    kind = READ_FORMATS.get(place.suffix)
    if kind is None:
        known = ", ".join(dict.fromkeys(READ_FORMATS))
        raise InvalidDataError(f'cannot read "{place.text}": the suffix should be one of {known}')
    return kind


class _Parquet:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows: int | None = None

    def schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        with self._place.open() as file, pq.ParquetFile(file) as parquet:
            self._rows = int(parquet.metadata.num_rows)
            return parquet.schema_arrow

    def count(self) -> int | None:
        return self._rows

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._place.open() as file, pq.ParquetFile(file, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(batch_size=_PART_ROWS):
                yield pa.Table.from_batches([batch])


class _Arrow:
    def __init__(self, place: Place) -> None:
        self._place = place

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        with self._place.open() as file:
            if _is_arrow_file(file):
                return pa.ipc.open_file(file).schema
            return pa.ipc.open_stream(file).schema

    def count(self) -> int | None:
        return None

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow as pa

        with self._place.open() as file:
            if _is_arrow_file(file):
                reader = pa.ipc.open_file(file)
                for i in range(reader.num_record_batches):
                    yield pa.Table.from_batches([reader.get_batch(i)])
                return
            for batch in pa.ipc.open_stream(file):
                yield pa.Table.from_batches([batch])


def _is_arrow_file(file: Any) -> bool:
    magic = bytes(file.read(6))
    file.seek(0)
    return magic == b"ARROW1"


class _Csv:
    def __init__(self, place: Place, path: str, types: Mapping[str, str]) -> None:
        self._place = place
        self._path = path
        self._types = types
        self._rows: int | None = None

    def schema(self) -> pa.Schema:
        import pyarrow as pa
        import pyarrow.compute as pc

        known = {
            name: getattr(pa, _CSV_TYPES[kind])() for name, kind in self._types.items() if kind in _CSV_TYPES
        }
        seen: dict[str, int] = {}  # the guess that a column has come to
        names: list[str] = []
        rows = 0
        # Of times, the first value says whether they are texts or seconds since the epoch.
        seconds: dict[str, bool] = {}
        for batch in self._batches(known):
            names, rows = batch.schema.names, rows + batch.num_rows
            for name, column in zip(names, batch.columns, strict=True):
                if name in known:
                    continue
                if name in self._types:
                    first = next((value for value in column if value.is_valid), None)
                    if name not in seconds and first is not None and self._types[name] == "datetime":
                        seconds[name] = re.match(_SECONDS, first.as_py().strip()) is not None
                    continue
                guess = seen.get(name, 0)
                if column.null_count == len(column):
                    continue
                while guess < len(_CSV_GUESSES) and not _all_match(pc, column, _CSV_GUESSES[guess][1]):
                    # A bool is never also a number.
                    guess = len(_CSV_GUESSES) if guess == 1 and seen.get(name) in (0, 1) else guess + 1
                seen[name] = guess
        self._rows = rows
        kinds = [self._kind(name, known, seen, seconds) for name in names]
        return pa.schema(list(zip(names, kinds, strict=True)))

    def _kind(
        self, name: str, known: Mapping[str, Any], seen: Mapping[str, int], seconds: Mapping[str, bool]
    ) -> Any:
        import pyarrow as pa

        if name in known:
            return known[name]
        if name in self._types:
            return pa.float64() if seconds.get(name) else pa.string()
        guess = seen.get(name, len(_CSV_GUESSES))
        return getattr(pa, _CSV_GUESSES[guess][0])() if guess < len(_CSV_GUESSES) else pa.string()

    def count(self) -> int | None:
        return self._rows

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow as pa

        for batch in self._batches({field.name: field.type for field in schema}):
            yield pa.Table.from_batches([batch])

    def _batches(self, types: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.csv as pc

        header = self._header()
        convert = pc.ConvertOptions(
            column_types={name: types.get(name, pa.string()) for name in header},
            # Nothing at all is null, "" is an empty text; "NA" and "null" are texts like any other.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        parse = pc.ParseOptions(newlines_in_values=True)
        read = pc.ReadOptions(block_size=_CSV_BLOCK_BYTES)
        try:
            with pc.open_csv(self._path, read, parse, convert) as reader:
                empty = True
                for batch in reader:
                    empty = False
                    yield batch
                if empty:
                    yield pa.RecordBatch.from_pylist([], schema=reader.schema)
        except pa.ArrowInvalid as error:
            reason = csv_reason(self._path, str(error))
            raise InvalidDataError(f'cannot read "{self._place.text}" as csv: {reason}') from None

    def _header(self) -> list[str]:
        import csv

        try:
            with open(self._path, encoding="utf-8-sig", newline="") as text:
                names = next(csv.reader(text), [])
        except UnicodeDecodeError:
            raise InvalidDataError(f'cannot read "{self._place.text}" as csv: it is not UTF-8 text') from None
        if not names:
            raise InvalidDataError(f'cannot read "{self._place.text}" as csv: it has no columns')
        return names


def _all_match(pc: Any, column: Any, pattern: str) -> bool:
    # Nulls match nothing, and `all` passes over them.
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


class _Json:
    """JSON lines, read twice so that all parts have the same columns; or an array, which is read whole."""

    def __init__(self, place: Place, path: str, kind: str, time_column: str) -> None:
        self._place = place
        self._path = path
        self._kind = kind
        self._time = time_column
        self._rows: int | None = None

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        found: pa.Schema | None = None
        times: set[type] = set()
        rows = 0
        for part in self._parts():
            names = dict.fromkeys(name for row in part for name in row)
            rows += len(part)
            times.update(type(row[self._time]) for row in part if row.get(self._time) is not None)
            fields = [(name, self._type_of(name, part)) for name in names]
            try:
                known = [pa.schema(fields)] if found is None else [found, pa.schema(fields)]
                found = pa.unify_schemas(known, promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                reason = " ".join(str(error).split())
                raise InvalidDataError(
                    f'"{self._place.text}": a column mixes types up to row {rows - 1}: {reason}'
                ) from None
        self._rows = rows
        if found is None:
            raise InvalidDataError(f'"{self._place.text}" holds no rows, so that its columns are not known')
        if self._time in found.names:
            i = found.get_field_index(self._time)
            found = found.set(i, pa.field(self._time, _time_type(times)))
        return found

    def count(self) -> int | None:
        return self._rows

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow as pa

        for part in self._parts():
            columns = {}
            for field in schema:
                values = [row.get(field.name) for row in part]
                if field.name == self._time and pa.types.is_timestamp(field.type):
                    columns[field.name] = moments_of(values)
                else:
                    columns[field.name] = pa.array(values, field.type)
            yield pa.table(columns)

    def _type_of(self, name: str, part: Sequence[Mapping[str, Any]]) -> Any:
        import pyarrow as pa

        if name == self._time:
            return pa.null()
        try:
            return column_of(name, [row.get(name) for row in part], False).type
        except InvalidDataError as error:
            raise InvalidDataError(f'"{self._place.text}": {error.detail}') from None

    def _parts(self) -> Iterator[Sequence[dict[str, Any]]]:
        rows = self._lines()
        while part := list(islice(rows, _PART_ROWS)):
            yield part

    def _lines(self) -> Iterator[dict[str, Any]]:
        wrong = f'cannot read "{self._place.text}" as {self._kind}: '
        number = 0
        try:
            with open(self._path, encoding="utf-8-sig") as file:
                rows = json.load(file) if self._kind == "json" else _json_lines(file, wrong)
                if not isinstance(rows, (list, Iterator)):
                    raise InvalidDataError(f'"{self._place.text}" should hold a JSON array of objects')
                for number, row in enumerate(rows):
                    if not isinstance(row, dict):
                        got = f"row {number} is a {type(row).__name__}"
                        raise InvalidDataError(f'"{self._place.text}": {got}: expected an object')
                    yield row
        except UnicodeDecodeError:
            raise InvalidDataError(wrong + "it is not UTF-8 text") from None
        except json.JSONDecodeError as error:
            raise InvalidDataError(wrong + str(error)) from None


def _json_lines(file: Any, wrong: str) -> Iterator[Any]:
    for i, line in enumerate(file):
        if line.isspace():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidDataError(f"{wrong}line {i + 1}, column {error.colno}: {error.msg}") from None


def _time_type(kinds: set[type]) -> Any:
    import pyarrow as pa

    if kinds <= {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string() if kinds <= {str} else pa.timestamp("us", "UTC")
