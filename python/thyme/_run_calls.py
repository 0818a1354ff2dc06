"""What was asked of a server: the calls. See `_calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from thyme._session import PAGE, Definition, Session, decode, name_of
from thyme._values import Time, request_time


class RunCalls:
    """The calls that are about query runs."""

    _session: Session

    async def query_runs(
        self,
        *,
        featureset: Definition | None = None,
        dataset: Definition | None = None,
        entity_id: Any = None,
        caller: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """See `ThymeClient.query_runs`."""
        given = await self._filters(entity_id, caller, since, until)
        for kind, definition in (("featureset", featureset), ("dataset", dataset)):
            given[kind] = None if definition is None else name_of(definition)
        runs: list[dict[str, Any]] = []
        async for page in self._pages(given, limit or 50):
            runs.extend(page)
        return runs

    async def _filters(
        self,
        entity_id: Any,
        caller: str | None,
        since: Time | None,
        until: Time | None,
    ) -> dict[str, Any]:
        given: dict[str, Any] = {"caller": caller}
        if isinstance(entity_id, dict):
            given["entity_id"] = ",".join(f"{key}={value}" for key, value in entity_id.items())
        elif entity_id is not None:
            given["entity_id"] = str(entity_id)
        for bound, time in (("since", since), ("until", until)):
            given[bound] = None if time is None else request_time(time)
        return given

    async def _pages(self, given: dict[str, Any], limit: int) -> AsyncIterator[list[dict[str, Any]]]:
        before, left = None, limit
        while left > 0:
            asked = {**given, "limit": min(left, PAGE), "before": before}
            answer = await self._session.fetch("/api/v1/query-runs", asked)
            yield answer["query_runs"]
            before, left = answer["next"], left - len(answer["query_runs"])
            if before is None:
                return

    async def query_run(self, id: str) -> dict[str, Any]:
        """See `ThymeClient.query_run`."""
        return await self._session.fetch(f"/api/v1/query-runs/{quote(id, safe='')}")

    async def replay(self, id: str) -> dict[str, Any]:
        """See `ThymeClient.replay`."""
        path = f"/api/v1/query-runs/{quote(id, safe='')}/replay"
        return decode(await self._session.request("POST", path, body=b"{}", repeatable=True))
