"""A training set, slice by slice: in the caller's order, at one position, under one commit."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from thyme._errors import ConflictError
from thyme._files import FrameWriter, read_slices
from thyme._frames import ipc_bytes
from thyme._result import ThymeResult

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

Send = Callable[[Mapping[str, Any], bytes], Awaitable[ThymeResult]]


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
        progress: Callable[[int], None] | None,
        offload: Offload,
    ) -> None:
        """Prepares the requests.

        Args:
            send: Sends one slice as Arrow IPC bytes with these parameters.
            params: The parameters of the request.
            progress: Called with the number of rows of each slice that is done.
            offload: Does what takes its time.
        """
        self._offload = offload
        self._send = send
        self._params = dict(params)
        self._progress = progress
        self._first: ThymeResult | None = None

    async def run(self, parts: AsyncIterable[pa.Table], output: str | Path | None) -> ThymeResult:
        """All rows, in memory or in the file `output`."""
        import pyarrow as pa

        tables: list[pa.Table] = []
        with FrameWriter(output) if output is not None else nullcontext() as writer:
            async for part in parts:
                table = await self._slice(part)
                if writer is not None:
                    await self._offload(writer.write, table)
                else:
                    tables.append(table)
                if self._progress is not None:
                    self._progress(part.num_rows)
        assert self._first is not None  # `slices` gives at least one
        kept: Any
        if writer is not None:
            path, schema = writer.path, self._first.to_arrow_with_meta().schema
            kept = lambda: _read_back(path, schema)  # noqa: E731
        else:
            kept = pa.concat_tables(tables, promote_options="permissive")
        return ThymeResult(table=kept, metadata=self._first.metadata, query_run_id=self._first.query_run_id)

    async def _slice(self, part: pa.Table) -> pa.Table:
        result = await self._send(self._params, await self._offload(ipc_bytes, part))
        as_of = result.metadata.get("as_of") or {}
        if self._first is None:
            self._first = result
            # What is pushed while later slices are computed must not show in them; as served, not in rows
            # whose time is yet to come.
            if as_of.get("position"):
                self._params.pop("min_position", None)
                self._params["position"] = as_of["position"]
        elif as_of.get("commit") != (self._first.metadata.get("as_of") or {}).get("commit"):
            raise ConflictError(
                "the definitions were changed while the training set was computed; run it again"
            )
        return result.to_arrow_with_meta()


def _read_back(path: Path, schema: pa.Schema) -> pa.Table:
    """The rows of the file that was written, with times as times also from a format that has only text."""
    import pyarrow as pa

    types = {field.name: _type_name(field.type) for field in schema}
    table = pa.concat_tables(list(read_slices(path, types, whole=True)))
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
