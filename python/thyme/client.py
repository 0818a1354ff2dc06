"""The client: features, training sets, rows and pushes, over HTTP or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from thyme._config import Config
from thyme._datasets import DatasetsClient
from thyme._definitions import DefinitionsClient
from thyme._errors import InvalidDataError, error_from_answer
from thyme._frames import ARROW_STREAM, is_columns, is_frame, rows_of_columns, slices
from thyme._push import NDJSON, Push
from thyme._result import ThymeResult
from thyme._selection import Features, selection, selection_text
from thyme._session import Definition, Session, ThymeWarning, decode, name_of
from thyme._transport import HttpTransport, Transport
from thyme._values import Time, from_answer, plain_values, request_time, to_json

if TYPE_CHECKING:
    pass

Progress = Callable[[int], None]

LOG_SLICE_ROWS = 100_000
LOG_SLICE_BYTES = 8 << 20
OFFLINE_SLICE_ROWS = 250_000


class ThymeClient(DefinitionsClient, DatasetsClient):
    """Talks to one Thyme server.

    Featuresets and datasets are given as their class or by name. An entity id is a plain value, a tuple in
    the order of the key, or a dict by key name. Times are datetimes (naive means UTC), ISO 8601 texts, or
    seconds since the epoch. Every read takes `min_position=` (wait until that is visible; a push gives it)
    and `position=` (the state as it was known then).

    Attributes:
        config: The settings in effect.
    """

    def __init__(self, config: Config | str | None = None, *, transport: Transport | None = None) -> None:
        """Connects on first use.

        Args:
            config: The settings, or the server's base URL; None means `Config.load()`.
            transport: Carries the requests instead of HTTP.
        """
        if isinstance(config, str):
            config = Config.load(api_url=config)
        if config is None:
            config = Config() if transport is not None else Config.load()
        self.config = config
        self._session = Session(transport or HttpTransport(config), config.timeout_s)

    # Reads

    def query(
        self,
        featureset: Definition,
        entity_id: Any,
        inputs: Mapping[str, Any] | None = None,
        at: Time | None = None,
        *,
        features: Features = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> ThymeResult:
        """The features of one entity, now or at a time.

        Args:
            featureset: The featureset.
            entity_id: The entity's id.
            inputs: Values of request features.
            at: The time as of which; None means now.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            One row: `result["rides_1h"]`, `dict(result)`.

        Raises:
            NotFoundError: No such featureset.
            ThymeError: What else the server refuses; an entity never seen is not an error.
        """
        name = name_of(featureset)
        body = {"featureset": name, "entity_id": self._session.entity(name, entity_id)}
        if features is not None:
            body["features"] = selection(features, name)
        if inputs:
            body["inputs"] = dict(inputs)
        body.update(self._session.when(at, min_position, position, wait_ms))
        return self._session.query(name, body)

    def query_batch(
        self,
        featureset: Definition,
        ids: Iterable[Any],
        inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        at: Time | None = None,
        *,
        features: Features = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> ThymeResult:
        """The features of many entities, one row each in the order given.

        Args:
            featureset: The featureset.
            ids: The ids: a list, or a column of polars, pandas, NumPy or Arrow.
            inputs: Values of request features: one dict for all, or one an entity.
            at: The time as of which; None means now.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            The column `entity_id` (a JSON text for a composite key), then the features.
        """
        name = name_of(featureset)
        keys = [self._session.entity(name, each) for each in plain_values(ids)]
        body: dict[str, Any] = {"featureset": name, "entity_ids": keys}
        if features is not None:
            body["features"] = selection(features, name)
        if inputs:
            body["inputs"] = dict(inputs) if isinstance(inputs, Mapping) else [dict(each) for each in inputs]
        body.update(self._session.when(at, min_position, position, wait_ms))
        return self._session.table("POST", "/features/batch", body=to_json(body))

    def query_offline(
        self,
        featureset: Definition,
        entities: Any,
        *,
        entity_column: str | Sequence[str] | None = None,
        timestamp_column: str,
        as_served: bool = False,
        features: Features = None,
        output: str | Path | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        progress: Progress | None = None,
    ) -> ThymeResult:
        """A training set: the features of each row's entity at each row's time.

        All rows are computed at one position, however many requests it takes.

        Args:
            featureset: The featureset.
            entities: Rows with the entity and the time: a frame, a list of dicts, a dict of lists, or the
                path of a Parquet, CSV, JSONL or Arrow file. A column named like a request feature gives it.
            entity_column: The column with the entity's key, or the columns of a composite key in its
                order; None means the columns named like the key.
            timestamp_column: The column with the times.
            as_served: Uses what an online read at each row's time saw, leaving out what came later. Refused
                (422) by a server whose clock is not the wall clock.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            output: Writes the rows to this Parquet, CSV, JSONL or Arrow file as they come; the result then
                reads the file when it is first used.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.
            progress: Called with the number of rows of each slice that is done.

        Returns:
            The caller's columns in their order, then the features by name.

        Raises:
            ConflictError: The definitions changed in between.
            ThymeError: What else the server refuses.
        """
        from thyme._offline import OfflineQuery

        name = name_of(featureset)
        columns = [entity_column] if isinstance(entity_column, str) else list(entity_column or ())
        params: dict[str, Any] = {"featureset": name, "timestamp_column": timestamp_column}
        if columns:
            params["entity_column"] = columns
        if features is not None:
            params["features"] = selection_text(features, name)
        if as_served:
            params["as_served"] = "1"
        params.update(self._session.when(None, min_position, position, wait_ms))
        if isinstance(entities, (str, Path)):
            from thyme._files import read_slices

            types = self._file_types(name, columns, timestamp_column)
            read = read_slices(entities, types, whole=True, time_column=timestamp_column)
            parts = slices(read, OFFLINE_SLICE_ROWS)
        else:
            parts = slices(entities, OFFLINE_SLICE_ROWS, time_column=timestamp_column)
        return OfflineQuery(self._offline_slice, params, progress).run(parts, output)

    # Writes

    def log(self, dataset: Definition, data: Any, idempotency_key: str | None = None) -> str:
        """Pushes events; when it returns they are on durable storage.

        Args:
            dataset: The dataset.
            data: A list of dicts, one dict, a frame, or a dict of lists. More than 100,000 rows go in
                several pushes, each accepted or refused as a whole.
            idempotency_key: Makes a second push of the same data under the same key change nothing.

        Returns:
            The position that includes all of it, for `min_position`.

        Raises:
            InvalidDataError: Rows are invalid; `faults` has each row's index, field, expected and got.
        """
        position: str = self._push(name_of(dataset), data, idempotency_key)["position"]
        return position

    def log_file(
        self,
        dataset: Definition,
        path: str | Path,
        *,
        format: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Pushes a file in slices; memory does not grow with its size.

        Args:
            dataset: The dataset.
            path: A JSONL, CSV, Parquet or Arrow file. A CSV is read by the dataset's types.
            format: `jsonl`, `json`, `csv`, `parquet` or `arrow`; by default as the suffix says.
            idempotency_key: Makes a second push of the same file under the same key change nothing.
            progress: Called with the number of rows of each slice that is accepted.

        Returns:
            `accepted`, `skipped`, `position`, `faults`.
        """
        from thyme._files import format_of, json_line_slices, json_rows, read_slices

        name = name_of(dataset)
        kind = format or format_of(path)
        push = Push(name, self._session.push, idempotency_key, progress)
        if kind == "jsonl":
            for body, rows in json_line_slices(path, LOG_SLICE_ROWS, LOG_SLICE_BYTES):
                push.slice(body, NDJSON, rows)
        elif kind == "json":
            rows_read = json_rows(path, kind)
            if rows_read:
                push.rows(rows_read, LOG_SLICE_ROWS)
        else:
            types = self._session.catalog(name).types(name) if kind == "csv" else {}
            push.frames(slices(read_slices(path, types, kind=kind), LOG_SLICE_ROWS))
        if not push.total["position"]:
            raise InvalidDataError(f'"{path}" holds no rows')
        return push.total

    def erase(self, dataset: Definition, ids: Iterable[Any]) -> dict[str, Any]:
        """Removes all events of some entities up to now, and all that is made of them, from every file.

        Args:
            dataset: A raw dataset. Values of its other entities stay the same.
            ids: The ids, at most 1,000. Events that are pushed later are new.

        Returns:
            A receipt that does not name them: `dataset`, `position`, `time`, `entities` (a keyed hash each),
            and how many `events`, `dead_letters` and `records` went, from which `datasets`.
        """
        name = name_of(dataset)
        keys = [self._session.entity(name, each) for each in plain_values(ids)]
        body = to_json({"dataset": name, "entity_ids": keys})
        return decode(self._session.request("POST", "/api/v1/erase", body=body, unhurried=True))

    # State

    def status(self) -> dict[str, Any]:
        """The server's version, clock, positions, datasets, featuresets and sources."""
        return self._session.fetch("/api/v1/status")

    def backup(self, directory: str) -> dict[str, Any]:
        """Backs the server up into a directory of its own machine, while it serves.

        Args:
            directory: An absolute path there: empty, or with an earlier backup of the same server, of which
                only what changed is written.

        Returns:
            `position`, `files`, `bytes`, `bytes_written` and `checkpoint` of the backup.

        Raises:
            ConflictError: The directory holds something else, or a backup is being made already.
        """
        answer = self._session.request(
            "POST", "/api/v1/backup", body=to_json({"directory": directory}), unhurried=True
        )
        return decode(answer)

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """What happened, newest first.

        Args:
            **filters: `limit`, `severity`, `event_type`, `subject`.
        """
        events: list[dict[str, Any]] = self._session.fetch("/api/v1/events", filters)["events"]
        return events

    def late(
        self, dataset: Definition, limit: int | None = None, *, since: Time | None = None
    ) -> Iterator[dict[str, Any]]:
        """The late events of a dataset, newest first: they are in the log and count nowhere.

        Args:
            dataset: The dataset.
            limit: No more than these; None means all. They are fetched in pages.
            since: Only those that came at this time or later.

        Yields:
            `position`, `arrived`, `stream`, `time`, `watermark`, `max_lateness`, `late_by_s`, and the event's
            `fields`.
        """
        name = name_of(dataset)
        params = {"dataset": name, "since": None if since is None else request_time(since)}
        types = self._session.catalog(name).types(name)
        for event in self._session.pages("/api/v1/late", params, "late", limit):
            event["fields"] = from_answer(event["fields"], types, event.pop("non_finite", None))
            yield event

    def late_count(self, dataset: Definition) -> int:
        """How many events of a dataset were late."""
        return int(self._session.fetch("/api/v1/late", {"dataset": name_of(dataset), "limit": 1})["count"])

    def dead_letters(self, dataset: Definition, limit: int | None = None) -> list[dict[str, Any]]:
        """The records of a dataset that could not be taken and were not replayed since, oldest first.

        Args:
            dataset: The dataset.
            limit: The newest of them, no more than these; None means 100.

        Returns:
            `position` and `index` (the place among the letters of one position), `origin`, `reason`, `raw`
            (and `raw_base64` if it is not text), `cut`.
        """
        return list(self.iter_dead_letters(dataset, 100 if limit is None else limit))[::-1]

    def iter_dead_letters(self, dataset: Definition, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """`dead_letters` newest first, in pages and without holding them all; None means all."""
        return self._session.pages(
            "/api/v1/dead-letters", {"dataset": name_of(dataset)}, "dead_letters", limit
        )

    def dead_letter_counts(self, dataset: Definition) -> dict[str, int]:
        """`count` of all that are kept, how many were `replayed`, and how many are `waiting`."""
        answer = self._session.fetch("/api/v1/dead-letters", {"dataset": name_of(dataset), "limit": 1})
        return {name: answer[name] for name in ("count", "replayed", "waiting")}

    def replay_dead_letters(self, dataset: Definition) -> dict[str, Any]:
        """Reads the dead letters of a dataset again under the definitions of now.

        Returns:
            `replayed`, `erased` (left out, since their entities were erased), `failed`, `cut` (failed because
            only their first bytes were kept), `position`, and `reasons` of up to 100 that failed.
        """
        body = to_json({"dataset": name_of(dataset)})
        answer = decode(
            self._session.request(
                "POST", "/api/v1/dead-letters/replay", body=body, repeatable=True, unhurried=True
            )
        )
        self._session.wrote(answer)
        return answer

    def explain(
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
        """The events behind a value, those that were left out and why; the value computed from them again.

        Args:
            value: A feature or a field: `Drivers.fare_7d`, or `"Drivers.fare_7d"`.
            entity_id: The entity's id.
            at: The time as of which; None means now.
            inputs: Values of request features, for what an extractor makes of them.
            limit: How many events of a kind are shown; the totals are always given.
            position: Explains the state as of this position.
            min_position: Waits until this position is visible.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            `value`, `definition`, `events`, `left_out`, `recomputed` and more; see docs/audit.md.

        Raises:
            NotFoundError: No such featureset, dataset, feature or field.
        """
        from thyme._audit import explain

        return explain(
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

    def verify(
        self, definition: Definition | None = None, *, sample: int = 200, seed: int = 0
    ) -> dict[str, Any]:
        """Computes values again from the log, the slow way, and compares the bits with what is served.

        Args:
            definition: A featureset or a dataset; None means everything that is committed.
            sample: How many entities, times and positions of each featureset and dataset.
            seed: What the choices are made from; the same seed makes the same ones.

        Returns:
            `checked`, `different`, `features`, `differences`; see docs/audit.md.
        """
        from thyme._audit import verify

        return verify(self._session, definition, sample, seed)

    def health(self) -> dict[str, Any]:
        """`status` and `detail`, also from a server that is not ready.

        `status` is `"ok"`, `"degraded"` (some entities cannot be read), `"starting"` or `"failed"`.
        """
        transport = self._session.transport
        answer = transport.request(
            "GET", "/health", headers={}, body=b"", repeatable=True, timeout_s=self._session.timeout_s
        )
        if answer.status not in (200, 503):
            raise error_from_answer(answer.status, answer.body, transport.origin)
        return decode(answer)

    def close(self) -> None:
        """Closes the connections."""
        self._session.transport.close()

    def __enter__(self) -> Self:
        """Gives itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        self.close()

    def __repr__(self) -> str:
        """Names the server."""
        return f"{type(self).__name__}({self._session.transport.origin!r})"

    # Parts

    def _offline_slice(self, params: Mapping[str, Any], body: bytes) -> ThymeResult:
        return self._session.table(
            "POST", "/features/offline", params, body, content_type=ARROW_STREAM, unhurried=True
        )

    def _file_types(self, name: str, columns: Sequence[str], timestamp_column: str) -> dict[str, str]:
        """The types of the columns of a file of labels: inputs, the key and the time."""
        catalog = self._session.catalog(name)
        keys = catalog.key_types(name) or {}
        types = {**catalog.types(name), **keys}
        types.update(zip(columns, keys.values(), strict=False))
        return {**types, timestamp_column: "datetime"}

    def _push(
        self, name: str, data: Any, idempotency_key: str | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Pushes `data` in slices; gives the sum of the answers."""
        push = Push(name, self._session.push, idempotency_key, progress)
        if is_frame(data) or isinstance(data, Iterator) or (isinstance(data, Mapping) and _is_arrays(data)):
            push.frames(slices(data, LOG_SLICE_ROWS))
        elif isinstance(data, Mapping):
            push.rows(rows_of_columns(data) if is_columns(data) else [data], LOG_SLICE_ROWS)
        elif isinstance(data, (list, tuple)):
            push.rows(data, LOG_SLICE_ROWS)
        else:
            raise InvalidDataError(
                f"{type(data).__name__} cannot be pushed: expected a list of dicts, a dict, or a frame"
            )
        return push.total


def _is_arrays(data: Mapping[str, Any]) -> bool:
    """Whether a dict holds columns and one of them is an array, which Arrow takes as it is."""
    return is_columns(data) and not all(isinstance(values, (list, tuple)) for values in data.values())


__all__ = ["Definition", "ThymeClient", "ThymeWarning", "name_of"]
