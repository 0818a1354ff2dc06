"""Training sets: what is asked for, and how it is computed through a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from thyme._frames import ARROW_STREAM
from thyme._labels import Labels
from thyme._offline import OfflineQuery, Progress, memory_bytes
from thyme._progress import progress as bar
from thyme._result import ThymeResult
from thyme._selection import Features, selection_text
from thyme._session import Session


class TrainingSet:
    """The features of each row's entity at each row's time."""

    def __init__(
        self,
        featureset: str,
        rows: Any,
        *,
        entity_column: str | Sequence[str] | None,
        timestamp_column: str,
        as_served: bool,
        features: Features,
        meta: bool = False,
    ) -> None:
        """Says what is asked for. See `ThymeClient.query_offline`."""
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
        types = await self._types(session)

        def look() -> Labels:
            return Labels(self._rows, types, self._timestamp_column)

        with await session.offload(look) as labels:
            params = {**self._params(), **when}
            catalog = await session.catalog(self._featureset)
            features = len(catalog.types(self._featureset))
            _, slices = await session.offload(labels.slices, budget, features)
            with _told(progress, f"{self._featureset}: computing", labels.total) as told:

                async def send(params: Mapping[str, Any], body: bytes) -> ThymeResult:
                    return await session.table(
                        "POST", "/features/offline", params, body, content_type=ARROW_STREAM, unhurried=True
                    )

                query = OfflineQuery(send, params, labels, told, session.offload, budget)
                return await query.run(session.each(slices), output)

    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = {
            "featureset": self._featureset,
            "timestamp_column": self._timestamp_column,
        }
        if self._columns:
            params["entity_column"] = self._columns
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
        return {**types, self._timestamp_column: "datetime"}


def _told(given: Progress | bool | None, label: str, total: int | None) -> Any:
    """Whom to tell about progress: the caller's function, a bar, or nobody."""
    nobody: Callable[[int], None] = lambda rows: None  # noqa: E731
    if given is None or given is True:
        return bar(label, total)
    return nullcontext(nobody if given is False else given)
