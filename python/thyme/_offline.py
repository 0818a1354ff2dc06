"""A training set, slice by slice: in the caller's order, at one position, under one commit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from thyme._errors import ConflictError, InvalidDataError, ThymeError
from thyme._files import FrameWriter
from thyme._frames import ipc_bytes, plain_columns
from thyme._labels import Labels
from thyme._result import ThymeResult
from thyme._storage import Place, place

if TYPE_CHECKING:
    import pyarrow as pa

    from thyme._manifest import Recorder
    from thyme._spine import Spine

T = TypeVar("T")

Send = Callable[[Mapping[str, Any], bytes], Awaitable[ThymeResult]]
Progress = Callable[[int], None]

MEMORY_BYTES = 512 << 20
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


class Offload(Protocol):
    """Calls something that takes its time. See `Session.offload`."""

    async def __call__(self, call: Callable[..., T], *arguments: Any) -> T:
        """What `call` gives."""


class OfflineQuery:
    """Sends slices of labels and joins the answers."""

    def __init__(
        self,
        send: Send,
        params: Mapping[str, Any],
        labels: Labels | Spine,
        progress: Progress,
        offload: Offload,
        memory: int = MEMORY_BYTES,
    ) -> None:
        """Prepares the requests.

        Args:
            send: Sends one slice as Arrow IPC bytes with these parameters.
            params: The parameters of the request.
            labels: Where the slices come from.
            progress: Called with the number of rows of each slice that is done.
            offload: Does what takes its time.
            memory: What is kept of the rows without an output may take so much memory; more goes to a
                temporary file.
        """
        self._offload = offload
        self._send = send
        self._params = dict(params)
        self._labels = labels
        self._progress = progress
        self._memory = memory
        self._first: ThymeResult | None = None
        self._rows = 0

    async def run(
        self, slices: AsyncIterable[pa.Table], output: Output | None, recorder: Recorder | None = None
    ) -> ThymeResult:
        """All rows, in memory or in the file `output`, noted by `recorder`."""
        with output if output is not None else nullcontext() as written, Kept(self._memory) as kept:
            async for part in slices:
                table = await self._slice(part)
                if recorder is not None:
                    await self._offload(recorder.add, part, table)
                await self._offload(kept.add if written is None else written.write, table)
                self._rows += part.num_rows
                self._progress(part.num_rows)
            table = await self._offload(kept.table) if written is None else None
        assert self._first is not None  # `slices` gives at least one
        first = self._first.to_arrow_with_meta().schema
        return ThymeResult(
            table=table if written is None else lambda: read_back(written.place, first),
            metadata=self.metadata,
            query_run_id=self._first.query_run_id,
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """What the server has said of the first slice."""
        return {} if self._first is None else self._first.metadata

    async def _slice(self, part: pa.Table) -> pa.Table:
        try:
            body = await self._offload(lambda: ipc_bytes(plain_columns(part)))
            result = await self._send(self._params, body)
        except ThymeError as error:
            raise self._labels.placed(error, self._rows) from None
        as_of = result.metadata.get("as_of") or {}
        if self._first is None:
            self._first = result
            # What is pushed while later slices are computed must not show in them; as served, not in rows
            # whose time is yet to come.
            self._params = at_position(self._params, result)
        elif as_of.get("commit") != (self._first.metadata.get("as_of") or {}).get("commit"):
            raise ConflictError(
                "the definitions were changed while the training set was computed; run it again"
            )
        return _with_own_columns(part, result.to_arrow_with_meta())


def at_position(params: Mapping[str, Any], answered: ThymeResult) -> dict[str, Any]:
    """The parameters of a request at the position of an answer."""
    position = (answered.metadata.get("as_of") or {}).get("position")
    if not position:
        return dict(params)
    return {**{name: value for name, value in params.items() if name != "min_position"}, "position": position}


def memory_bytes(given: str | int | None) -> int:
    """A number of bytes from one such as `"512MiB"`; none is `MEMORY_BYTES`.

    Raises:
        InvalidDataError: It is no size, or less than 1 MiB.
    """
    if given is None:
        return MEMORY_BYTES
    text = str(given).strip().lower()
    digits = text.rstrip("kmgib").strip()
    unit = _UNITS.get(text[len(digits) :].strip())
    if not digits.isascii() or not digits.isdigit() or unit is None or int(digits) * unit < 1 << 20:
        raise InvalidDataError(f'memory should be a size of at least 1 MiB, such as "512MiB", got {given!r}')
    return int(digits) * unit


def _with_own_columns(part: pa.Table, answer: pa.Table) -> pa.Table:
    """The answer with the caller's columns as given, also those of types that are sent as others."""
    import pyarrow as pa

    own = len(part.column_names)
    columns = [*part.columns, *answer.columns[own:]]
    fields = [*part.schema, *list(answer.schema)[own:]]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=part.schema.metadata))


class Output:
    """The file that a training set is written to, which appears only when all of it is there."""

    def __init__(self, given: str | Path, accept: Callable[[Path], None] | None = None) -> None:
        """Begins it.

        Args:
            given: Its path or URL.
            accept: Looks at the finished file before it is put in place, and raises if it must not be.

        Raises:
            InvalidDataError: It cannot be written there.
        """
        self._stack = ExitStack()
        self.place: Place = place(given)
        path = given
        if not self.place.is_local:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="thyme-"))
            path = Path(folder) / ("rows" + self.place.suffix)
        try:
            self._writer = FrameWriter(path, accept=accept)
        except BaseException:
            self._stack.close()
            raise

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, and no device or pipe."""
        return self._writer.is_regular

    def write(self, table: pa.Table) -> None:
        """Appends the rows of `table`, as one piece: the same rows give the same bytes."""
        self._writer.write(table.replace_schema_metadata(None).combine_chunks())

    def __enter__(self) -> Output:
        """Gives itself."""
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Puts the file in its place, or removes it after an error."""
        with self._stack:
            self._writer.__exit__(kind, error, trace)
            if kind is None and not self.place.is_local:
                self.place.put(self._writer.path)


class Kept:
    """Rows that are kept for the caller: in memory, or mapped from a temporary file if they are too many."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._path: str | None = None
        self._writer: Any = None

    def add(self, table: pa.Table) -> None:
        """Appends rows."""
        if self._writer is None:
            self._tables.append(table)
            self._bytes += table.nbytes
            if self._bytes <= self._memory:
                return
            self._begin(table.schema)
        tables, self._tables = self._tables or [table], []
        for each in tables:
            self._writer.write_table(each)

    def _begin(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        handle, self._path = tempfile.mkstemp(prefix="thyme-", suffix=".arrow")
        os.close(handle)
        self._writer = pa.ipc.new_file(self._path, schema)

    def table(self) -> pa.Table:
        """All rows."""
        import pyarrow as pa

        if self._writer is None:
            return pa.concat_tables(self._tables, promote_options="permissive")
        self._writer.close()
        return pa.ipc.open_file(pa.memory_map(self._path)).read_all()

    def __enter__(self) -> Kept:
        """Gives itself."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Removes the file's name; what is mapped stays until nobody uses it."""
        if self._writer is not None:
            self._writer.close()
        if self._path is not None:
            os.unlink(self._path)


def read_back(written: Place, schema: pa.Schema) -> pa.Table:
    """The rows of the file that was written, with times as times also from a format that has only text."""
    import pyarrow as pa

    types = {field.name: _type_name(field.type) for field in schema}
    with Labels(written, types, "") as rows:
        table = pa.concat_tables(list(rows.slices(MEMORY_BYTES, 0)[1]))
    for i, field in enumerate(table.schema):
        kind = schema.field(field.name).type
        if pa.types.is_timestamp(kind) and not pa.types.is_timestamp(field.type):
            moments = table[field.name].cast(pa.timestamp(kind.unit, "UTC")).cast(kind)
            table = table.set_column(i, field.name, moments)
    return table


def _type_name(kind: Any) -> str:
    """The type of a column as definitions call it, so that it is read from text as what it was."""
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind):
        return "float"
    return "bool" if pa.types.is_boolean(kind) else "str"
