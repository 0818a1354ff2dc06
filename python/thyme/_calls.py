"""What a client does, written once as coroutines: `ThymeClient` runs them, `AsyncThymeClient` awaits them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thyme._access_calls import AccessCalls
from thyme._dataset_calls import DatasetCalls
from thyme._definition_calls import DefinitionCalls
from thyme._errors import InvalidDataError, error_from_answer
from thyme._frames import is_columns, is_frame, rows_of_columns, slices
from thyme._job_calls import JobCalls
from thyme._multi import Ask, query_of
from thyme._push import NDJSON, Push
from thyme._result import ThymeResult
from thyme._run_calls import RunCalls
from thyme._selection import Features, selection
from thyme._session import Definition, Session, decode, name_of
from thyme._values import Time, from_answer, plain_values, request_time, to_json

Progress = Callable[[int], None]

LOG_SLICE_ROWS = 100_000
LOG_SLICE_BYTES = 8 << 20


class Calls(DefinitionCalls, DatasetCalls, AccessCalls, JobCalls, RunCalls):
    """Every call of a client; what each does is said at the method of `ThymeClient` with its name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def query(
        self,
        featureset: Definition,
        entity_id: Any,
        inputs: Mapping[str, Any] | None = None,
        at: Time | None = None,
        *,
        features: Features = None,
        meta: bool = False,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> ThymeResult:
        """See `ThymeClient.query`."""
        name = name_of(featureset)
        body = {"featureset": name, "entity_id": await self._session.entity(name, entity_id)}
        if features is not None:
            body["features"] = selection(features, name)
        if inputs:
            body["inputs"] = dict(inputs)
        if meta:
            body["meta"] = True
        body.update(self._session.when(at, min_position, position, wait_ms))
        return await self._session.query(name, body)

    async def query_batch(
        self,
        featureset: Definition,
        ids: Iterable[Any],
        inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        at: Time | None = None,
        *,
        features: Features = None,
        meta: bool = False,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> ThymeResult:
        """See `ThymeClient.query_batch`."""
        name = name_of(featureset)
        keys = [await self._session.entity(name, each) for each in plain_values(ids)]
        body: dict[str, Any] = {"featureset": name, "entity_ids": keys}
        if features is not None:
            body["features"] = selection(features, name)
        if inputs:
            body["inputs"] = dict(inputs) if isinstance(inputs, Mapping) else [dict(each) for each in inputs]
        if meta:
            body["meta"] = True
        body.update(self._session.when(at, min_position, position, wait_ms))
        return await self._session.table("POST", "/features/batch", body=to_json(body))

    async def query_multi(
        self,
        queries: Iterable[Ask | tuple[Any, ...]],
        at: Time | None = None,
        *,
        meta: bool = False,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> list[ThymeResult]:
        """See `ThymeClient.query_multi`."""
        body: dict[str, Any] = {"queries": [await query_of(self._session, each) for each in queries]}
        if meta:
            body["meta"] = True
        body.update(self._session.when(at, min_position, position, wait_ms))
        return await self._session.tables("/features/multi", to_json(body))

    async def query_offline(
        self,
        featureset: Definition,
        entities: Any = None,
        *,
        entity_column: str | Sequence[str] | None = None,
        timestamp_column: str | None = None,
        spine: Definition | None = None,
        time_range: Sequence[Time | None] | None = None,
        every: str | None = None,
        as_served: bool = False,
        features: Features = None,
        meta: bool = False,
        output: str | Path | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> ThymeResult:
        """See `ThymeClient.query_offline`."""
        from thyme._training import TrainingSet

        request = TrainingSet(
            name_of(featureset),
            entities,
            entity_column=entity_column,
            timestamp_column=timestamp_column,
            as_served=as_served,
            features=features,
            meta=meta,
            spine=None if spine is None else name_of(spine),
            time_range=time_range,
            every=every,
        )
        when = self._session.when(None, min_position, position, wait_ms)
        return await request.compute(self._session, when, output=output, progress=progress, memory=memory)

    async def rebuild(
        self,
        manifest: str | Path,
        entities: Any = None,
        *,
        output: str | Path | None = None,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> ThymeResult:
        """See `ThymeClient.rebuild`."""
        from thyme._training import rebuild

        return await rebuild(
            self._session, manifest, entities, output=output, progress=progress, memory=memory
        )

    async def log(self, dataset: Definition, data: Any, idempotency_key: str | None = None) -> str:
        """See `ThymeClient.log`."""
        position: str = (await self._push(name_of(dataset), data, idempotency_key))["position"]
        return position

    async def log_file(
        self,
        dataset: Definition,
        path: str | Path,
        *,
        format: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """See `ThymeClient.log_file`."""
        from thyme._files import format_of, json_line_slices, json_rows, read_slices

        name = name_of(dataset)
        kind = format or format_of(path)
        push = Push(name, self._session.push, idempotency_key, progress)
        if kind == "jsonl":
            lines = json_line_slices(path, LOG_SLICE_ROWS, LOG_SLICE_BYTES)
            async for body, rows in self._session.each(lines):
                await push.slice(body, NDJSON, rows)
        elif kind == "json":
            rows_read = await self._session.offload(json_rows, path, kind)
            if rows_read:
                await push.rows(rows_read, LOG_SLICE_ROWS)
        else:
            types = (await self._session.catalog(name)).types(name) if kind == "csv" else {}
            read = slices(read_slices(path, types, kind=kind), LOG_SLICE_ROWS)
            await push.frames(self._session.each(read))
        if not push.total["position"]:
            raise InvalidDataError(f'"{path}" holds no rows')
        return push.total

    async def erase(self, dataset: Definition, ids: Iterable[Any]) -> dict[str, Any]:
        """See `ThymeClient.erase`."""
        name = name_of(dataset)
        keys = [await self._session.entity(name, each) for each in plain_values(ids)]
        body = to_json({"dataset": name, "entity_ids": keys})
        return decode(await self._session.request("POST", "/api/v1/erase", body=body, unhurried=True))

    async def status(self) -> dict[str, Any]:
        """See `ThymeClient.status`."""
        return await self._session.fetch("/api/v1/status")

    async def backup(self, directory: str) -> dict[str, Any]:
        """See `ThymeClient.backup`."""
        answer = await self._session.request(
            "POST", "/api/v1/backup", body=to_json({"directory": directory}), unhurried=True
        )
        return decode(answer)

    async def events(
        self,
        *,
        limit: int | None = None,
        severity: str | None = None,
        event_type: str | None = None,
        subject: str | None = None,
        by: str | None = None,
    ) -> list[dict[str, Any]]:
        """See `ThymeClient.events`."""
        filters = {
            "limit": limit,
            "severity": severity,
            "event_type": event_type,
            "subject": subject,
            "by": by,
        }
        events: list[dict[str, Any]] = (await self._session.fetch("/api/v1/events", filters))["events"]
        return events

    def late(
        self, dataset: Definition, limit: int | None = None, *, since: Time | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """See `ThymeClient.late`."""
        return self._left_out("late", dataset, limit, since)

    async def late_count(self, dataset: Definition) -> int:
        """See `ThymeClient.late_count`."""
        return await self._left_out_count("late", dataset)

    def duplicates(
        self, dataset: Definition, limit: int | None = None, *, since: Time | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """See `ThymeClient.duplicates`."""
        return self._left_out("duplicates", dataset, limit, since)

    async def duplicate_count(self, dataset: Definition) -> int:
        """See `ThymeClient.duplicate_count`."""
        return await self._left_out_count("duplicates", dataset)

    async def _left_out(
        self, kind: str, dataset: Definition, limit: int | None, since: Time | None
    ) -> AsyncIterator[dict[str, Any]]:
        name = name_of(dataset)
        params = {"dataset": name, "since": None if since is None else request_time(since)}
        types = (await self._session.catalog(name)).types(name)
        async for event in self._session.pages(f"/api/v1/{kind}", params, kind, limit):
            event["fields"] = from_answer(event["fields"], types, event.pop("non_finite", None))
            yield event

    async def _left_out_count(self, kind: str, dataset: Definition) -> int:
        answer = await self._session.fetch(f"/api/v1/{kind}", {"dataset": name_of(dataset), "limit": 1})
        return int(answer["count"])

    async def dead_letters(self, dataset: Definition, limit: int | None = None) -> list[dict[str, Any]]:
        """See `ThymeClient.dead_letters`."""
        newest = [each async for each in self.iter_dead_letters(dataset, 100 if limit is None else limit)]
        return newest[::-1]

    def iter_dead_letters(
        self, dataset: Definition, limit: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """See `ThymeClient.iter_dead_letters`."""
        return self._session.pages(
            "/api/v1/dead-letters", {"dataset": name_of(dataset)}, "dead_letters", limit
        )

    async def dead_letter_counts(self, dataset: Definition) -> dict[str, int]:
        """See `ThymeClient.dead_letter_counts`."""
        answer = await self._session.fetch("/api/v1/dead-letters", {"dataset": name_of(dataset), "limit": 1})
        return {name: answer[name] for name in ("count", "replayed", "waiting")}

    async def replay_dead_letters(self, dataset: Definition) -> dict[str, Any]:
        """See `ThymeClient.replay_dead_letters`."""
        body = to_json({"dataset": name_of(dataset)})
        answer = decode(
            await self._session.request(
                "POST", "/api/v1/dead-letters/replay", body=body, repeatable=True, unhurried=True
            )
        )
        self._session.wrote(answer)
        return answer

    async def explain(
        self,
        value: Any,
        entity_id: Any,
        at: Time | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        limit: int | None = None,
        position: str | None = None,
        min_position: str | None = None,
        wait_ms: int | None = None,
    ) -> dict[str, Any]:
        """See `ThymeClient.explain`."""
        from thyme._audit import explain

        return await explain(
            self._session,
            value,
            entity_id,
            at,
            inputs=inputs,
            limit=limit,
            position=position,
            min_position=min_position,
            wait_ms=wait_ms,
        )

    async def verify(
        self, definition: Definition | None = None, *, sample: int = 200, seed: int = 0
    ) -> dict[str, Any]:
        """See `ThymeClient.verify`."""
        from thyme._audit import verify

        return await verify(self._session, definition, sample, seed)

    async def health(self) -> dict[str, Any]:
        """See `ThymeClient.health`."""
        transport = self._session.transport
        answer = await transport.request(
            "GET", "/health", headers={}, body=b"", repeatable=True, timeout_s=self._session.timeout_s
        )
        if answer.status not in (200, 503):
            raise error_from_answer(answer.status, answer.body, transport.origin)
        return decode(answer)

    async def _push(
        self, name: str, data: Any, idempotency_key: str | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Pushes `data` in slices; gives the sum of the answers."""
        push = Push(name, self._session.push, idempotency_key, progress)
        if is_frame(data) or isinstance(data, Iterator) or (isinstance(data, Mapping) and _is_arrays(data)):
            await push.frames(self._session.each(slices(data, LOG_SLICE_ROWS)))
        elif isinstance(data, Mapping):
            await push.rows(rows_of_columns(data) if is_columns(data) else [data], LOG_SLICE_ROWS)
        elif isinstance(data, (list, tuple)):
            await push.rows(data, LOG_SLICE_ROWS)
        else:
            raise InvalidDataError(
                f"{type(data).__name__} cannot be pushed: expected a list of dicts, a dict, or a frame"
            )
        return push.total


def _is_arrays(data: Mapping[str, Any]) -> bool:
    """Whether a dict holds columns and one of them is an array, which Arrow takes as it is."""
    return is_columns(data) and not all(isinstance(values, (list, tuple)) for values in data.values())
