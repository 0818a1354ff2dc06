"""Training sets without labels: all entities at regular times, or the entity of each event of a dataset."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thyme._errors import GoneError, InvalidDataError, NotFoundError, ThymeError, UnavailableError
from thyme._frames import ARROW_STREAM, cut
from thyme._native import parse_duration
from thyme._session import Session, warn
from thyme._values import EPOCH, Time, time_text, to_micros

if TYPE_CHECKING:
    import pyarrow as pa

# Keys that are asked for at once; a page of them is held while it is crossed with the times.
KEYS_AT_ONCE = 250_000
TIME_COLUMN = "timestamp"
_ARROW_TYPES = {"int": "int64", "float": "float64", "bool": "bool_", "str": "string"}


class Spine(ABC):
    """Rows that the server knows of by itself: an entity and a time each.

    Attributes:
        entity_columns: The columns with the entity, in the order of its key.
        timestamp_column: The column with the times.
        empty: No row, with the columns of all.
        total: How many rows there are, if that is known.
    """

    entity_columns: list[str]
    timestamp_column: str
    empty: pa.Table
    total: int | None = None

    @abstractmethod
    def slices(self, session: Session, position: str, rows: int) -> AsyncIterator[pa.Table]:
        """All of them as of a position, so many in each but the last; at least one slice, if an empty one."""

    def placed(self, error: ThymeError, first: int) -> ThymeError:
        """An error about a slice as it is: nobody gave the rows that it names.

        Args:
            error: What the server said.
            first: The number of the slice's first row.
        """
        return error


def spine_of(
    catalog: Any,
    featureset: str,
    spine: str | None,
    time_range: Sequence[Time | None] | None,
    every: str | None,
    columns: Sequence[str],
    timestamp_column: str | None,
) -> Spine:
    """The rows that are meant by `spine`, `time_range` and `every`; see `ThymeClient.query_offline`.

    Args:
        catalog: What is committed.
        featureset: The name of the featureset.
        spine: The name of a dataset.
        time_range: The first time, and the one that it ends before.
        every: The time between two.
        columns: Fields of the dataset that are the entity; none: those named like it.
        timestamp_column: How the column with the times is called.

    Raises:
        InvalidDataError: They do not go together.
    """
    start, end = _range(time_range)
    if spine is not None:
        if every is not None:
            raise InvalidDataError("every= is for all entities at regular times; spine= has times of its own")
        return _Events(catalog, featureset, spine, (start, end), columns, timestamp_column)
    if every is None:
        raise InvalidDataError('time_range= needs every=, such as every="1d", or spine= with a dataset')
    if start is None or end is None:
        raise InvalidDataError("every= needs time_range=(start, end), both of them")
    try:
        step = parse_duration(every)
    except ValueError as error:
        raise InvalidDataError(f"every: {error}") from None
    return _Grid(catalog, featureset, range(start, end, step), columns, timestamp_column)


def _range(given: Sequence[Time | None] | None) -> tuple[int | None, int | None]:
    """The two ends of a range of times, in microseconds."""
    if given is None:
        return None, None
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InvalidDataError(f"time_range should be (start, end), got {given!r}")
    start, end = (None if each is None else to_micros(each) for each in given)
    if start is not None and end is not None and start >= end:
        raise InvalidDataError(f"time_range should end after it starts, got ({given[0]}, {given[1]})")
    return start, end


class _Grid(Spine):
    """All entities, each at every one of some times: by entity, then by time."""

    def __init__(
        self,
        catalog: Any,
        featureset: str,
        times: range,
        columns: Sequence[str],
        timestamp_column: str | None,
    ) -> None:
        import pyarrow as pa

        keys = catalog.key_types(featureset) or {}
        if columns and sorted(columns) != sorted(keys):
            raise InvalidDataError(
                f"with every= the entity is called as {featureset} has it, ({', '.join(keys)}); "
                "leave entity_column out"
            )
        self._featureset = featureset
        self._times = times
        self.entity_columns = list(keys)
        self.timestamp_column = timestamp_column or TIME_COLUMN
        if self.timestamp_column in keys:
            raise InvalidDataError(
                f'the entity of {featureset} has a field "{self.timestamp_column}"; '
                "give the column of times another name with timestamp_column="
            )
        fields = [(name, _arrow_type(kind)) for name, kind in keys.items()]
        self.empty = pa.schema([*fields, (self.timestamp_column, _arrow_type("datetime"))]).empty_table()

    async def slices(self, session: Session, position: str, rows: int) -> AsyncIterator[pa.Table]:
        """See `Spine`."""
        import numpy as np

        started = False
        steps = len(self._times)
        async for keys in self._pages(session, position):
            count = keys.num_rows * steps
            for start in range(0, count, rows):
                index = np.arange(start, min(start + rows, count), dtype=np.int64)
                yield await session.offload(self._rows, keys, index // steps, index % steps)
                started = True
        if not started:
            yield self.empty

    def _rows(self, keys: pa.Table, entities: Any, times: Any) -> pa.Table:
        import pyarrow as pa

        moments = pa.array(times * self._times.step + self._times.start).cast(_arrow_type("datetime"))
        columns = [keys[name].take(pa.array(entities)) for name in self.entity_columns]
        return pa.Table.from_arrays([*columns, moments], schema=self.empty.schema)

    async def _pages(self, session: Session, position: str) -> AsyncIterator[pa.Table]:
        following: str | None = None
        while True:
            params = {
                "featureset": self._featureset,
                "from": _text(self._times.start),
                "limit": KEYS_AT_ONCE,
                "next": following,
                "position": position,
            }
            page = await session.table("GET", "/api/v1/entities", params, unhurried=True)
            keys = page.to_arrow()
            following = page.metadata["next"]
            yield keys
            if following is None:
                return


class _Events(Spine):
    """The events of a dataset, in the order of the log: those that count, with all of their fields."""

    def __init__(
        self,
        catalog: Any,
        featureset: str,
        dataset: str,
        between: tuple[int | None, int | None],
        columns: Sequence[str],
        timestamp_column: str | None,
    ) -> None:
        import pyarrow as pa

        definition = catalog.dataset(dataset)
        if definition is None:
            known = ", ".join(catalog.names) or "nothing"
            raise NotFoundError(f'spine: the server has no dataset named "{dataset}"; it has {known}')
        fields = {field["name"]: field for field in definition["fields"]}
        clock = next(name for name, field in fields.items() if field.get("role") == "timestamp")
        if timestamp_column not in (None, clock):
            raise InvalidDataError(
                f'the events of {dataset} have their times in "{clock}", not "{timestamp_column}"; '
                "leave timestamp_column out"
            )
        self.entity_columns = list(columns) or list(catalog.key_types(featureset) or ())
        for name in self.entity_columns:
            if name not in fields:
                raise InvalidDataError(
                    f'{dataset} has no field "{name}", the entity of {featureset}: say with entity_column= '
                    f"which of its fields is ({', '.join(fields)})"
                )
        self._dataset = dataset
        self._start, self._end = between
        self.timestamp_column = clock
        types = [(name, _arrow_type(field["type"])) for name, field in fields.items()]
        self.empty = pa.schema(types).empty_table()
        self._nobody = 0

    async def slices(self, session: Session, position: str, rows: int) -> AsyncIterator[pa.Table]:
        """See `Spine`."""
        pending: list[pa.Table] = [self.empty]
        started = False
        async for page in self._pages(session, position):
            pending.append(page)
            if sum(part.num_rows for part in pending) < rows:
                continue
            parts = list(cut(pending, rows))
            pending = [self.empty, parts.pop()] if parts[-1].num_rows < rows else [self.empty]
            for part in parts:
                started = True
                yield part
        if len(pending) > 1 or not started:
            for part in cut(pending, rows):
                yield part
        if self._nobody:
            warn({"warnings": [f"{self._nobody} events of {self._dataset} name no entity: left out"]})

    async def _pages(self, session: Session, position: str) -> AsyncIterator[pa.Table]:
        after = None if self._start is None else self._start - 1
        following: str | None = None
        erasures: int | None = None
        while True:
            params = {
                "dataset": self._dataset,
                "after": None if after is None else _text(after),
                "until": position,
                "next": following,
            }
            answer = await session.request(
                "GET", "/api/v1/rows", params, accept=ARROW_STREAM, repeatable=True, unhurried=True
            )
            table, page = await session.offload(self._counted, answer.body, position)
            self._check_whole(page, after)
            if erasures not in (None, page["erasures"]):
                raise UnavailableError("somebody was erased while the events were read; run it again")
            erasures, following = page["erasures"], page["next"]
            if table.num_rows:
                yield table
            if following is None:
                return

    def _counted(self, body: bytes, position: str) -> tuple[pa.Table, Mapping[str, Any]]:
        """The rows of a page that count and are asked for, and what the page says."""
        import pyarrow as pa
        import pyarrow.compute as pc

        with pa.ipc.open_stream(body) as reader:
            page = json.loads(reader.schema.metadata[b"thyme"])
            table = reader.read_all()
        counts = pc.and_(pc.is_null(table["thyme:late_behind"]), pc.invert(table["thyme:duplicate"]))
        if self._end is not None:
            counts = pc.and_(counts, pc.less(table[self.timestamp_column].cast(pa.int64()), self._end))
        record, _, row = position.removeprefix("e").partition(".")
        if row:
            earlier = pc.less(table["thyme:record"], int(record))
            counts = pc.and_(counts, pc.or_(earlier, pc.less_equal(table["thyme:row"], int(row))))
        rows = table.filter(counts).select(self.empty.column_names).replace_schema_metadata(None)
        for name in self.entity_columns:
            named = rows.filter(pc.is_valid(rows[name])) if rows[name].null_count else rows
            self._nobody += rows.num_rows - named.num_rows
            rows = named
        return rows.cast(self.empty.schema), page

    def _check_whole(self, page: Mapping[str, Any], after: int | None) -> None:
        begins = page["after"]
        if begins is not None and (after is None or begins > after):
            raise GoneError(
                f"the events of {self._dataset} up to {_text(begins)} have been removed; "
                f'begin after that, with time_range=("{_text(begins + 1)}", ...)'
            )


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    return getattr(pa, _ARROW_TYPES[kind])() if kind in _ARROW_TYPES else pa.timestamp("us", "UTC")


def _text(micros: int) -> str:
    return time_text(EPOCH + timedelta(microseconds=micros))
