"""Training sets: what is asked for, and how it is computed through a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from thyme._errors import InvalidDataError
from thyme._frames import ARROW_STREAM, ipc_bytes
from thyme._labels import VALUE_BYTES, Labels, slice_rows
from thyme._offline import OfflineQuery, Progress, at_position, memory_bytes
from thyme._progress import progress as bar
from thyme._result import ThymeResult
from thyme._selection import Features, selection_text
from thyme._session import Session
from thyme._spine import Spine, spine_of
from thyme._values import Time


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
    ) -> ThymeResult:
        """All rows. See `ThymeClient.query_offline`.

        Args:
            session: Asks the server.
            when: The fields of the request that say at which position.
            output: A file for the rows.
            progress: Told about rows that are done.
            memory: What may be taken.
        """
        budget = memory_bytes(memory)

        async def send(params: Mapping[str, Any], body: bytes) -> ThymeResult:
            return await session.table(
                "POST", "/features/offline", params, body, content_type=ARROW_STREAM, unhurried=True
            )

        with await self._source(session) as source:
            catalog = await session.catalog(self._featureset)
            features = len(catalog.types(self._featureset))
            params = {**self._params(source), **when}
            if isinstance(source, Spine):
                bytes_in = VALUE_BYTES * len(source.empty.column_names)
                # Which rows there are depends on the position as well.
                params = at_position(params, await send(params, ipc_bytes(source.empty)))
                slices = source.slices(session, params["position"], slice_rows(budget, bytes_in, features))
            else:
                slices = session.each((await session.offload(source.slices, budget, features))[1])
            with _told(progress, f"{self._featureset}: computing", source.total) as told:
                query = OfflineQuery(send, params, source, told, session.offload, budget)
                return await query.run(slices, output)

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


def _told(given: Progress | bool | None, label: str, total: int | None) -> Any:
    """Whom to tell about progress: the caller's function, a bar, or nobody."""
    nobody: Callable[[int], None] = lambda rows: None  # noqa: E731
    if given is None or given is True:
        return bar(label, total)
    return nullcontext(nobody if given is False else given)
