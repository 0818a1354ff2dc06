"""Training sets: what is asked for, and how it is computed through a session."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from thyme._errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidDataError,
    NotFoundError,
    ThymeError,
)
from thyme._frames import ARROW_STREAM, ipc_bytes
from thyme._job_calls import Upload
from thyme._labels import VALUE_BYTES, Labels, slice_rows
from thyme._manifest import (
    FORMAT,
    SUFFIX,
    DiffersError,
    Manifest,
    Recorder,
    definitions_of,
    files_of,
    versions,
    write,
)
from thyme._offline import OfflineQuery, Output, Progress, at_position, memory_bytes
from thyme._progress import progress as bar
from thyme._result import ThymeResult
from thyme._selection import Features, selection, selection_text
from thyme._session import Session, warn
from thyme._spine import Spine, spine_of
from thyme._storage import Place, place
from thyme._values import Time, request_time

if TYPE_CHECKING:
    import pyarrow as pa


class TrainingSet:
    """The features of each row's entity at each row's time."""

    def __init__(
        self,
        featureset: str,
        rows: Any,
        *,
        entity_column: str | Sequence[str] | None,
        timestamp_column: str | None,
        as_served: bool,
        features: Features,
        meta: bool = False,
        spine: str | None = None,
        time_range: Sequence[Time | None] | None = None,
        every: str | None = None,
    ) -> None:
        """Says what is asked for. See `ThymeClient.query_offline`.

        Raises:
            InvalidDataError: Rows are given and asked for, or neither.
        """
        self._spine = (spine, time_range, every)
        is_spine = any(each is not None for each in self._spine)
        if is_spine and rows is not None:
            raise InvalidDataError("give rows, or spine=, time_range= and every= that make them, not both")
        if not is_spine and rows is None:
            raise InvalidDataError(
                "give rows with entities and times; or spine=, or time_range= with every=, which make them"
            )
        if not is_spine and timestamp_column is None:
            raise InvalidDataError("timestamp_column is missing: which column of the rows has their times?")
        self._featureset = featureset
        self._rows = rows
        self._columns = [entity_column] if isinstance(entity_column, str) else list(entity_column or ())
        self._timestamp_column = timestamp_column
        self._as_served = as_served
        self._features = features
        self._meta = meta

    async def compute(
        self,
        session: Session,
        when: Mapping[str, Any],
        *,
        output: str | Path | None,
        progress: Progress | bool | None,
        memory: str | int | None,
        again: Manifest | None = None,
    ) -> ThymeResult:
        """All rows. See `ThymeClient.query_offline`.

        Args:
            session: Asks the server.
            when: The fields of the request that say at which position.
            output: A file for the rows.
            progress: Told about rows that are done.
            memory: What may be taken.
            again: What is to be made again.

        Raises:
            ConflictError: It cannot be.
        """
        budget = memory_bytes(memory)

        async def send(params: Mapping[str, Any], body: bytes) -> ThymeResult:
            return await _answered(session, params, body)

        recorder = None if output is None else Recorder(again)
        given = None if again is None else int(again.content["slice_rows"])
        with await self._source(session) as source:
            made = {} if recorder is None else await self._begun(session, source, place(output or ""))
            params, size, slices = await self._slices(session, source, when, budget, given)
            with told_of(progress, f"{self._featureset}: computing", source.total) as told:
                query = OfflineQuery(send, params, source, told, session.offload, budget)
                if recorder is None or output is None:
                    return await query.run(slices, None)
                written = Output(output, recorder.accept)
                try:
                    result = await query.run(slices, written, recorder if written.is_regular else None)
                except DiffersError:
                    made = await manifest_of(session, made, recorder, size, query.metadata)
                    raise _differs(again, made, query.metadata) from None
            if again is not None:
                result.metadata["rebuilt"] = {"output": written.place.text, **_rebuilt(again, recorder)}
            elif written.is_regular:
                beside = written.place.beside(SUFFIX)
                made = await manifest_of(session, made, recorder, size, result.metadata)
                await session.offload(write, beside, made)
                result.metadata["manifest"] = beside.text
            return result

    async def submit(
        self,
        session: Session,
        when: Mapping[str, Any],
        *,
        progress: Progress | bool | None,
        memory: str | int | None,
    ) -> str:
        """Hands all rows to the server, which computes them by itself. See `ThymeClient.start_offline`."""
        job = Upload(session)
        with await self._source(session) as source:
            params, _, slices = await self._slices(session, source, when, memory_bytes(memory), None)
            with told_of(progress, f"{self._featureset}: sending", source.total) as told:
                try:
                    async for part in slices:
                        await job.add(params, part)
                        told(part.num_rows)
                    return await job.end(params)
                except ThymeError as error:
                    await job.give_up()
                    raise source.placed(error, job.rows) from None
                except BaseException:
                    await job.give_up()
                    raise

    async def _slices(
        self,
        session: Session,
        source: Labels | Spine,
        when: Mapping[str, Any],
        budget: int,
        given: int | None,
    ) -> tuple[dict[str, Any], int, AsyncIterable[pa.Table]]:
        """The parameters of each request, how many rows it has, and these."""
        catalog = await session.catalog(self._featureset)
        features = len(catalog.types(self._featureset))
        params = {**self._params(source), **when}
        if isinstance(source, Spine):
            bytes_in = VALUE_BYTES * len(source.empty.column_names)
            size = given or slice_rows(budget, bytes_in, features)
            # Which rows there are depends on the position as well.
            params = at_position(params, await _answered(session, params, ipc_bytes(source.empty)))
            return params, size, source.slices(session, params["position"], size)
        size, parts = await session.offload(source.slices, budget, features, given)
        return params, size, session.each(parts)

    async def _begun(self, session: Session, source: Labels | Spine, output: Place) -> dict[str, Any]:
        """What a manifest says before anything is computed."""
        spine, time_range, every = self._spine
        labels: dict[str, Any] = {"kind": "spine" if isinstance(source, Spine) else "rows"}
        if isinstance(source, Labels) and source.places:
            files = await session.offload(files_of, source.places, output)
            labels = {"kind": "files", "files": files}
        return {
            "thyme_manifest": FORMAT,
            "featureset": self._featureset,
            "arguments": {
                "entity_column": self._columns or None,
                "timestamp_column": self._timestamp_column,
                "as_served": self._as_served,
                "features": selection(self._features, self._featureset),
                "meta": self._meta,
                "spine": spine,
                "time_range": None
                if time_range is None
                else [None if each is None else request_time(each) for each in time_range],
                "every": every,
            },
            "labels": labels,
            "output": {"name": PurePath(output.path).name},
        }

    async def _source(self, session: Session) -> AbstractContextManager[Labels | Spine]:
        """Where the rows come from."""
        dataset, time_range, every = self._spine
        if any(each is not None for each in self._spine):
            catalog = await session.catalog(self._featureset)
            if dataset is not None and catalog.dataset(dataset) is None:
                catalog = await session.refresh()
            spine = spine_of(
                catalog,
                self._featureset,
                dataset,
                time_range,
                every,
                self._columns,
                self._timestamp_column,
            )
            return nullcontext(spine)
        types = await self._types(session)
        return await session.offload(Labels, self._rows, types, self._timestamp_column)

    def _params(self, source: Labels | Spine) -> dict[str, Any]:
        columns, timestamp_column = self._columns, self._timestamp_column
        if isinstance(source, Spine):
            columns, timestamp_column = source.entity_columns, source.timestamp_column
        params: dict[str, Any] = {"featureset": self._featureset, "timestamp_column": timestamp_column}
        if columns:
            params["entity_column"] = columns
        if self._features is not None:
            params["features"] = selection_text(self._features, self._featureset)
        if self._as_served:
            params["as_served"] = "1"
        if self._meta:
            params["meta"] = "1"
        return params

    async def _types(self, session: Session) -> dict[str, str]:
        """The types of the columns of files of labels: inputs, the key and the time."""
        catalog = await session.catalog(self._featureset)
        keys = catalog.key_types(self._featureset) or {}
        types = {**catalog.types(self._featureset), **keys}
        types.update(zip(self._columns, keys.values(), strict=False))
        return {**types, str(self._timestamp_column): "datetime"}


async def manifest_of(
    session: Session,
    begun: Mapping[str, Any],
    recorder: Recorder,
    size: int,
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole manifest of what was computed."""
    as_of = metadata["as_of"]
    try:
        committed = await session.fetch("/api/v1/history", {"commit": as_of["commit"]})
        spine = begun["arguments"]["spine"]
        hashes = definitions_of(committed["definitions"], begun["featureset"], spine)
    except ForbiddenError:
        # A key that is for some featuresets sees no definitions. The commit stands for them.
        hashes = {}
    made = recorder.made(size)
    for part in ("labels", "output"):
        made[part] = {**begun[part], **made[part]}
    return {
        **begun,
        "as_of": as_of,
        "definitions": {"commit": as_of["commit"], "sha256": hashes},
        **made,
        "warnings": metadata.get("warnings") or [],
    }


def begun_by(job: Mapping[str, Any], output: Place) -> dict[str, Any]:
    """What the manifest of a job's result begins with. Its labels came as rows, whatever held them before."""
    given = job["arguments"]
    asked = [] if given["features"] is None else given["features"].split(",")
    return {
        "thyme_manifest": FORMAT,
        "featureset": job["featureset"],
        "arguments": {
            "entity_column": given["entity_column"] or None,
            "timestamp_column": given["timestamp_column"],
            "as_served": given["as_served"],
            # An id is a number, and no name begins with a digit.
            "features": [int(each) if each.isdigit() else each for each in asked] or None,
            "meta": given["meta"],
            "spine": None,
            "time_range": None,
            "every": None,
        },
        "labels": {"kind": "rows"},
        "output": {"name": PurePath(output.path).name},
    }


async def _answered(session: Session, params: Mapping[str, Any], body: bytes) -> ThymeResult:
    return await session.table(
        "POST", "/features/offline", params, body, content_type=ARROW_STREAM, unhurried=True
    )


async def rebuild(
    session: Session,
    manifest: str | Path,
    rows: Any,
    *,
    output: str | Path | None,
    progress: Progress | bool | None,
    memory: str | int | None,
) -> ThymeResult:
    """A training set once more. See `ThymeClient.rebuild`."""
    again = await session.offload(Manifest.read, manifest)
    kind = again.content["labels"]["kind"]
    if rows is None and kind == "rows":
        raise InvalidDataError(
            f'"{again.output}" was made of rows that came from no file: give them again, as entities'
        )
    if rows is None:
        rows = await session.offload(again.labels)
    request = TrainingSet(again.content["featureset"], rows, **again.arguments())
    try:
        return await request.compute(
            session,
            {"position": again.content["as_of"]["position"]},
            output=output or again.output,
            progress=progress,
            memory=memory,
            again=again,
        )
    except (GoneError, NotFoundError) as error:
        error.detail = f'"{again.output}" cannot be made again: {error.detail}'
        raise


def _differs(again: Manifest | None, made: Mapping[str, Any], metadata: Mapping[str, Any]) -> ConflictError:
    assert again is not None
    reason = again.why_not(made, list(metadata.get("warnings") or ()))
    return ConflictError(f'"{again.output}" cannot be made again: {reason}')


def _rebuilt(again: Manifest, recorder: Recorder) -> dict[str, Any]:
    """Whether what was made again has the same bytes, or the same rows in others."""
    then = again.content["output"]["sha256"]
    identical = recorder.sha256 == then
    if not identical:
        made = {"labels": again.content["labels"], "definitions": again.content["definitions"]}
        why = again.why_not({**made, "versions": versions()}, [])
        warn({"warnings": [f'"{again.output}" has the same rows again, and other bytes: {why}']})
    return {"identical": identical, "rows": recorder.rows.rows, "sha256": recorder.sha256}


def told_of(given: Progress | bool | None, label: str, total: int | None) -> Any:
    """Whom to tell about progress: the caller's function, a bar, or nobody."""
    nobody: Callable[[int], None] = lambda rows: None  # noqa: E731
    if given is None or given is True:
        return bar(label, total)
    return nullcontext(nobody if given is False else given)
