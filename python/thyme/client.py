"""The client: features, training sets, rows and pushes, over HTTP or in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thyme._access import AccessClient
from thyme._async_client import AsyncThymeClient
from thyme._calls import Calls, Progress
from thyme._catalog import Catalog
from thyme._config import Config, settings
from thyme._datasets import DatasetsClient
from thyme._definitions import DefinitionsClient
from thyme._jobs import JobsClient
from thyme._multi import Ask
from thyme._result import ThymeResult
from thyme._runs import RunsClient
from thyme._selection import Features
from thyme._session import Definition, Session, ThymeWarning, name_of
from thyme._steps import Blocking, iterate, loses_answers, run
from thyme._transport import HttpTransport, Transport
from thyme._values import Time


class ThymeClient(DefinitionsClient, DatasetsClient, AccessClient, JobsClient, RunsClient):
    """Talks to one Thyme server.

    Featuresets and datasets are given as their class or by name. An entity id is a plain value, a tuple in
    the order of the key, or a dict by key name. Times are datetimes (naive means UTC), ISO 8601 texts, or
    seconds since the epoch. Every read takes `min_position=` (wait until that is visible; a push gives it)
    and `position=` (the state as it was known then).

    Example:
        with ThymeClient("http://localhost:8080") as client:
            client.commit([Ride, DriverStats, DriverFeatures])
            position = client.log(Ride, [{"driver": "d1", "fare": 12.5, "tip": None, "at": datetime.now()}])
            row = client.query(DriverFeatures, "d1", min_position=position)

    Attributes:
        config: The settings in effect.
    """

    def __init__(
        self,
        config: Config | str | None = None,
        *,
        api_key: str | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Connects on first use.

        Args:
            config: The settings, or the server's base URL; None means `Config.load()`.
            api_key: The API key, instead of the settings' own.
            transport: Carries the requests instead of HTTP.
        """
        config = self.config = settings(config, api_key, is_wired=transport is not None)
        transport = transport or HttpTransport(config)
        makes_keys = config.push_keys and loses_answers(transport)
        self._session = Session(Blocking(transport), config.timeout_s, makes_keys=makes_keys)
        self._calls: Calls = Calls(self._session)

    # Reads

    def query(
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
        """The features of one entity, now or at a time.

        Args:
            featureset: The featureset.
            entity_id: The entity's id.
            inputs: Values of request features.
            at: The time as of which; None means now.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            meta: Also says how each value came about and how fresh it is: `result.meta["rides_1h"]`.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            One row: `result["rides_1h"]`, `dict(result)`.

        Raises:
            NotFoundError: No such featureset.
            ThymeError: What else the server refuses; an entity never seen is not an error.

        Example:
            row = client.query(DriverFeatures, "d1", {"hour": 23}, at="2026-03-15T10:00:00Z")
            rides = row["rides_1h"]
        """
        return run(
            self._calls.query(
                featureset,
                entity_id,
                inputs,
                at,
                features=features,
                meta=meta,
                min_position=min_position,
                position=position,
                wait_ms=wait_ms,
            )
        )

    def query_batch(
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
        """The features of many entities, one row each in the order given.

        Args:
            featureset: The featureset.
            ids: The ids: a list, or a column of polars, pandas, NumPy or Arrow.
            inputs: Values of request features: one dict for all, or one an entity.
            at: The time as of which; None means now.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            meta: Also says how each value came about and how fresh it is: `result.meta["rides_1h"]`.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            The column `entity_id` (a JSON text for a composite key), then the features.

        Example:
            frame = client.query_batch(DriverFeatures, ["d1", "d2"], {"hour": 23}).to_polars()
        """
        return run(
            self._calls.query_batch(
                featureset,
                ids,
                inputs,
                at,
                features=features,
                meta=meta,
                min_position=min_position,
                position=position,
                wait_ms=wait_ms,
            )
        )

    def query_multi(
        self,
        queries: Iterable[Ask | tuple[Any, ...]],
        at: Time | None = None,
        *,
        meta: bool = False,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
    ) -> list[ThymeResult]:
        """Features of several featuresets in one request, all at one time and one position.

        Args:
            queries: For each featureset `(featureset, ids)`, or an `Ask` that has inputs and features too; at
                most 100.
            at: The time as of which; None means now.
            meta: Also says how each value came about and how fresh it is: `result.meta`.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.

        Returns:
            A result for each query, as `query_batch` gives it, in the order given.

        Raises:
            ThymeError: One of the queries is refused, which its number says; then none is answered.

        Example:
            day, night = client.query_multi(
                [(DriverFeatures, ["d1", "d2"]), (DriverFeatures, ["d1"], {"hour": 23})]
            )
        """
        return run(
            self._calls.query_multi(
                queries, at, meta=meta, min_position=min_position, position=position, wait_ms=wait_ms
            )
        )

    def query_offline(
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
        """A training set: the features of each row's entity at each row's time.

        All rows are computed at one position and under one commit, however many requests it takes; see
        docs/training.md.

        Args:
            featureset: The featureset.
            entities: Rows with the entity and the time: a frame of polars (also a lazy one), pandas or
                Arrow, a reader of record batches, a list of dicts, a dict of lists; or Parquet, CSV, JSONL
                or Arrow files: a path, a pattern such as `labels/*.parquet`, a URL such as
                `s3://bucket/labels.parquet`, or a list of these. A column named like a request feature
                gives it.
            entity_column: The column with the entity's key, or the columns of a composite key in its
                order; None means the columns named like the key.
            timestamp_column: The column with the times; with `every`, how it is to be called (`timestamp`).
            spine: Instead of `entities`: a row for each event of this dataset, at its time, with its fields.
            time_range: The first time and the one before which it ends: of the events of `spine`, where
                either may be None, or with `every`.
            every: Instead of `entities`: a row for every entity at each of the times of `time_range` that
                are so far apart, such as `"1d"`, by entity and then time.
            as_served: Uses what an online read at each row's time saw, leaving out what came later. Refused
                (422) by a server whose clock is not the wall clock.
            features: The features to answer, by id or name; None means all, and the old names that still
                answer.
            meta: Also says how each value came about and how fresh it is: `result.meta`, and columns such as
                `rides_1h.status` in `output`.
            output: Writes the rows to this Parquet, CSV, JSONL or Arrow file, by path or URL, as they come;
                the result then reads the file when it is first used. A manifest beside it, such as
                `train.parquet.manifest.json`, says what it was made of; see `rebuild`.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.
            progress: Called with the number of rows of each slice that is done; None shows a bar if
                stderr is a terminal, False shows none.
            memory: How much memory the rows under way, and those kept for the result, may take, such as
                `"256MiB"`; None is 512 MiB. What has no room goes to a temporary file.

        Returns:
            The caller's columns in their order, then the features by name.

        Raises:
            ConflictError: The definitions changed in between.
            ThymeError: What else the server refuses.

        Example:
            labels = [{"driver": "d1", "at": "2026-03-15T10:00:00Z", "cancelled": True}]
            train = client.query_offline(
                DriverFeatures, labels, entity_column="driver", timestamp_column="at"
            ).to_polars()
        """
        return run(
            self._calls.query_offline(
                featureset,
                entities,
                entity_column=entity_column,
                timestamp_column=timestamp_column,
                spine=spine,
                time_range=time_range,
                every=every,
                as_served=as_served,
                features=features,
                meta=meta,
                output=output,
                min_position=min_position,
                position=position,
                wait_ms=wait_ms,
                progress=progress,
                memory=memory,
            )
        )

    def rebuild(
        self,
        manifest: str | Path,
        entities: Any = None,
        *,
        output: str | Path | None = None,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> ThymeResult:
        """Makes a training set again, with the same bytes; see docs/training.md.

        Args:
            manifest: The path or URL of its manifest.
            entities: The rows that it was made of, if they came from no file, or the files, if they moved.
            output: Where to write it; None means where it was.
            progress: See `query_offline`.
            memory: See `query_offline`.

        Raises:
            ConflictError: It cannot be made again; the sentence says why. Nothing is written then.
            GoneError: Rows that it needs were removed, as the retention of their dataset says.
        """
        return run(self._calls.rebuild(manifest, entities, output=output, progress=progress, memory=memory))

    # Writes

    def log(self, dataset: Definition, data: Any, idempotency_key: str | None = None) -> str:
        """Pushes events; when it returns they are on durable storage.

        Args:
            dataset: The dataset.
            data: A list of dicts, one dict, a frame, or a dict of lists. More than 100,000 rows go in
                several pushes, each accepted or refused as a whole.
            idempotency_key: Makes a second push of the same data under the same key change nothing. Without
                one a push over HTTP gets a key of its own, so that it is sent again if its answer is lost and
                counts once all the same; see docs/client.md.

        Returns:
            The position that includes all of it, for `min_position`.

        Raises:
            InvalidDataError: Rows are invalid; `faults` has each row's index, field, expected and got.

        Example:
            position = client.log(Ride, [{"driver": "d1", "fare": 12.5, "tip": None, "at": datetime.now()}])
            row = client.query(DriverFeatures, "d1", min_position=position)
        """
        return run(self._calls.log(dataset, data, idempotency_key))

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
            `accepted`, `skipped`, `position`, `faults`; `duplicates` if the dataset's events have ids.
        """
        return run(
            self._calls.log_file(
                dataset, path, format=format, idempotency_key=idempotency_key, progress=progress
            )
        )

    def erase(self, dataset: Definition, ids: Iterable[Any]) -> dict[str, Any]:
        """Removes all events of some entities up to now, and all that is made of them, from every file.

        Args:
            dataset: A raw dataset. Values of its other entities stay the same, but for what a join or a
                dedup made of the erased events.
            ids: The ids, at most 1,000. Events that are pushed later are new.

        Returns:
            A receipt that does not name them: `dataset`, `position`, `time`, `entities` (a keyed hash each),
            and how many `events`, `dead_letters` and `records` went, from which `datasets`.
        """
        return run(self._calls.erase(dataset, ids))

    # State

    def status(self) -> dict[str, Any]:
        """The server's version, clock, positions, datasets, featuresets and sources."""
        return run(self._calls.status())

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
        return run(self._calls.backup(directory))

    def events(
        self,
        *,
        limit: int | None = None,
        severity: str | None = None,
        event_type: str | None = None,
        subject: str | None = None,
        by: str | None = None,
    ) -> list[dict[str, Any]]:
        """What happened, newest first.

        Args:
            limit: No more than these; None means 100.
            severity: Only those of this one: `"info"`, `"warning"` or `"error"`.
            event_type: Only those of this type, such as `"checkpoint_failed"`.
            subject: Only those about this dataset, featureset, ...
            by: Only what this caller did, such as `"key 3f9a01c2"`.

        Returns:
            `time`, `severity`, `event_type`, `subject`, `message`, `by` of each.
        """
        given = {"severity": severity, "event_type": event_type, "subject": subject, "by": by}
        return run(self._calls.events(limit=limit, **given))

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
        return iterate(self._calls.late(dataset, limit, since=since))

    def late_count(self, dataset: Definition) -> int:
        """How many events of a dataset were late."""
        return run(self._calls.late_count(dataset))

    def duplicates(
        self, dataset: Definition, limit: int | None = None, *, since: Time | None = None
    ) -> Iterator[dict[str, Any]]:
        """The events of a dataset whose ids were there already, newest first: they count nowhere.

        Args:
            dataset: The dataset.
            limit: No more than these; None means all. They are fetched in pages.
            since: Only those that came at this time or later.

        Yields:
            `position`, `arrived`, `stream`, `time`, `of` (the position of the event that counts), and the
            event's `fields`.
        """
        return iterate(self._calls.duplicates(dataset, limit, since=since))

    def duplicate_count(self, dataset: Definition) -> int:
        """How many events of a dataset were there already."""
        return run(self._calls.duplicate_count(dataset))

    def dead_letters(self, dataset: Definition, limit: int | None = None) -> list[dict[str, Any]]:
        """The records of a dataset that could not be taken and were not replayed since, oldest first.

        Args:
            dataset: The dataset.
            limit: The newest of them, no more than these; None means 100.

        Returns:
            `position` and `index` (the place among the letters of one position), `origin`, `reason`, `raw`
            (and `raw_base64` if it is not text), `cut`.
        """
        return run(self._calls.dead_letters(dataset, limit))

    def iter_dead_letters(self, dataset: Definition, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """`dead_letters` newest first, in pages and without holding them all; None means all."""
        return iterate(self._calls.iter_dead_letters(dataset, limit))

    def dead_letter_counts(self, dataset: Definition) -> dict[str, int]:
        """`count` of all that are kept, how many were `replayed`, and how many are `waiting`."""
        return run(self._calls.dead_letter_counts(dataset))

    def replay_dead_letters(self, dataset: Definition) -> dict[str, Any]:
        """Reads the dead letters of a dataset again under the definitions of now.

        Returns:
            `replayed`, `erased` (left out, since their entities were erased), `failed`, `cut` (failed because
            only their first bytes were kept), `position`, and `reasons` of up to 100 that failed.
        """
        return run(self._calls.replay_dead_letters(dataset))

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
        return run(
            self._calls.explain(
                value,
                entity_id,
                at,
                inputs=inputs,
                limit=limit,
                position=position,
                min_position=min_position,
                wait_ms=wait_ms,
            )
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
        return run(self._calls.verify(definition, sample=sample, seed=seed))

    def health(self) -> dict[str, Any]:
        """`status` and `detail`, also from a server that is not ready.

        `status` is `"ok"`, `"degraded"` (some entities cannot be read), `"starting"` or `"failed"`.
        """
        return run(self._calls.health())

    def close(self) -> None:
        """Closes the connections."""
        run(self._session.transport.close())

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

    def _catalog_of(self, name: str) -> Catalog:
        """The catalog, which has `name` if it is committed."""
        return run(self._session.catalog(name))


# What is said of a call here holds there too.
for _name in dir(Calls):
    if not _name.startswith("_"):
        getattr(Calls, _name).__doc__ = getattr(ThymeClient, _name).__doc__

__all__ = ["Ask", "AsyncThymeClient", "Definition", "ThymeClient", "ThymeWarning", "name_of"]
