"""The rows of a training set as they are given: frames, or files wherever they are."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

from thyme._errors import InvalidDataError, ThymeError
from thyme._frames import cut, parts
from thyme._label_files import LabelFile, kind_of, open_labels
from thyme._storage import Place, is_files, places

if TYPE_CHECKING:
    import pyarrow as pa

# Of columns that nothing is known of yet: what a value takes.
VALUE_BYTES = 16
# A slice is there several times over while it is computed: as it was read, as it is sent, as it was answered.
_COPIES = 8
SLICE_ROWS_MAX = 250_000


class Labels:
    """Rows in slices, each read when it is asked for; and which row of which file is meant.

    Use it as a context manager: it holds temporary copies of files that have to be read twice.

    Attributes:
        total: How many rows there are, if that is known.
        places: The files that they come from; empty for a frame.
    """

    def __init__(self, data: Any, types: Mapping[str, str], time_column: str) -> None:
        """Looks at what is given; files are read to find their columns.

        Args:
            data: What `parts` of a frame takes; or a path, a pattern, a URL, or a list of them.
            types: The types of known columns, as in definitions, for files that do not say them.
            time_column: The column with the times.

        Raises:
            InvalidDataError: It cannot be read, or the files have different columns.
        """
        self._stack = ExitStack()
        self._files: list[LabelFile] = []
        self._schema: pa.Schema | None = None
        # The number of the first row of each file that was begun.
        self._begun: list[int] = []
        self.places: list[Place] = []
        self.total: int | None = None
        self._data = data
        self._time = time_column
        if isinstance(data, Place) or is_files(data):
            try:
                self._open(data, types)
            except BaseException:
                self._stack.close()
                raise
        elif hasattr(data, "__len__"):
            first = next(iter(data.values()), ()) if isinstance(data, Mapping) else data
            self.total = len(first) if hasattr(first, "__len__") else None

    @property
    def columns(self) -> list[str]:
        """The names of the columns of files."""
        return [] if self._schema is None else list(self._schema.names)

    def slices(self, memory: int, features: int, rows: int | None = None) -> tuple[int, Iterator[pa.Table]]:
        """How many rows a slice has, and the slices; at least one, if only an empty one.

        Args:
            memory: How many bytes all copies of one slice may take.
            features: How many features are asked for.
            rows: Decides how many rows a slice has, instead of the memory.
        """
        source = self._parts()
        begun = []
        for part in source:
            begun.append(part)
            if part.num_rows:
                break
        if rows is None:
            first = begun[-1] if begun else None
            bytes_in = first.nbytes / first.num_rows if first is not None and first.num_rows else 0
            rows = slice_rows(memory, bytes_in, features)
        return rows, cut(chain(begun, source), rows)

    def placed(self, error: ThymeError, first: int) -> ThymeError:
        """An error about a slice, naming the row and the file as the caller knows them.

        Args:
            error: What the server said, which counts the rows of the slice.
            first: The number of the slice's first row.
        """
        found = re.search(r"\brow (\d+)\b", error.detail)
        if found is not None:
            row = first + int(found[1])
            error.detail = f"{error.detail[: found.start()]}{self._row(row)}{error.detail[found.end() :]}"
        elif len(self.places) == 1:
            error.detail = f'"{self.places[0].text}": {error.detail}'
        for fault in error.faults:
            if isinstance(fault.get("row"), int):
                fault["row"] += first
        error.args = (error.detail,)
        return error

    def _row(self, row: int) -> str:
        if not self._begun:
            return f"row {row}"
        number = bisect.bisect_right(self._begun, row) - 1
        return f'row {row - self._begun[number]} of "{self.places[number].text}"'

    def _parts(self) -> Iterator[pa.Table]:
        if not self.places:
            yield from parts(self._data, SLICE_ROWS_MAX // 4, time_column=self._time)
            return
        assert self._schema is not None
        rows = 0
        yield self._schema.empty_table()
        for place, file in zip(self.places, self._files, strict=True):
            self._begun.append(rows)
            with reading(place):
                for table in file.tables(self._schema):
                    rows += table.num_rows
                    yield _as_declared(place, table, self._schema)

    def _open(self, data: Any, types: Mapping[str, str]) -> None:
        given = data if isinstance(data, (list, tuple)) else [data]
        for each in given:
            self.places.extend([each] if isinstance(each, Place) else places(each))
        counts: list[int | None] = []
        for place in self.places:
            is_text = kind_of(place) not in ("parquet", "arrow")
            copy = self._stack.enter_context(place.here()) if is_text else place.path
            file = open_labels(place, copy, types, self._time)
            with reading(place):
                schema = file.schema().remove_metadata()
            self._files.append(file)
            counts.append(file.count())
            self._schema = schema if self._schema is None else self._joined(place, schema)
        known = [count for count in counts if count is not None]
        self.total = sum(known) if len(known) == len(counts) else None

    def _joined(self, place: Place, schema: pa.Schema) -> pa.Schema:
        """The columns of the files so far with those of one more, which has the same names."""
        import pyarrow as pa

        known, first = self._schema, self.places[0].text
        assert known is not None
        missing = [name for name in known.names if name not in schema.names]
        more = [name for name in schema.names if name not in known.names]
        if missing:
            raise InvalidDataError(f'"{place.text}" has no column "{missing[0]}", which "{first}" has')
        if more:
            raise InvalidDataError(f'"{place.text}" has a column "{more[0]}", which "{first}" does not have')
        fields = []
        for field in known:
            other = schema.field(field.name)
            try:
                one = pa.unify_schemas(
                    [pa.schema([field]), pa.schema([other])], promote_options="permissive"
                ).field(0)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise InvalidDataError(
                    f'column "{field.name}" is {field.type} in "{first}" and {other.type} in "{place.text}"'
                ) from None
            fields.append(one)
        return pa.schema(fields)

    def __enter__(self) -> Labels:
        """Gives itself."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Removes copies."""
        self._stack.close()


def slice_rows(memory: int, bytes_in: float, features: int) -> int:
    """How many rows a slice may have.

    Args:
        memory: How many bytes all copies of one slice may take.
        bytes_in: What a row takes as it is given.
        features: How many features are asked for.
    """
    row_bytes = bytes_in + VALUE_BYTES * (features + 1)
    return max(1, min(SLICE_ROWS_MAX, int(memory / (_COPIES * row_bytes))))


def _as_declared(place: Place, table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    table = table.select(schema.names).replace_schema_metadata(None)
    if table.schema.equals(schema):
        return table
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f'"{place.text}" does not fit the other files: {reason}') from None


class reading:  # noqa: N801 - it reads like the word that it is
    """Makes what Arrow says about a file an error that names it."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Begins."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raises an error of ours for one of Arrow's."""
        import pyarrow as pa

        wrong = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError)
        if isinstance(error, wrong):
            reason = " ".join(str(error).split())
            said = f'cannot read "{self._place.text}" as {kind_of(self._place)}: {reason}'
            raise InvalidDataError(said) from None
