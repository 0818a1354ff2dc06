"""Feature tests: the real engine, in this process, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from thyme._config import Config
from thyme._local import LocalClient
from thyme._result import ThymeResult
from thyme._selection import Features
from thyme._session import Definition, name_of
from thyme._steps import run
from thyme._transport import LocalTransport
from thyme._values import Time, to_datetime, to_micros

if TYPE_CHECKING:
    import polars as pl


class MockContext:
    """An engine for a test; nothing is stored and nothing else needs to run.

    A class is committed when it is first used; a source is not read, its events come from the test.

        ctx = MockContext()
        ctx.add_events(Ride, [{"driver": "d1", "fare": 12.5, "tip": None, "at": "2026-03-15T10:00:00Z"}])
        assert ctx.query(DriverFeatures, "d1")["rides_1h"] == 1
    """

    def __init__(
        self,
        now: Time | None = None,
        *,
        attach: str | Config | None = None,
        dataset: Definition | Sequence[Definition] | None = None,
        last: str | None = None,
        sample: float | None = None,
    ) -> None:
        """Starts empty, or with rows of a running server.

        Args:
            now: The time of online reads; None means the largest event time added so far.
            attach: Begins with rows of this server; see `thyme.local`, also for what follows.
            dataset: What to copy.
            last: How far back.
            sample: Which part of the entities.
        """
        now_us = None if now is None else to_micros(now)
        if attach is not None:
            from thyme._attach import attach as attached

            self._transport = attached(
                attach, dataset, last=last, sample=sample, clock="event", now_us=now_us
            )
        elif dataset is not None or last is not None or sample is not None:
            raise ValueError("dataset=, last= and sample= say what to copy; they need attach=")
        else:
            self._transport = LocalTransport.open(clock="event", now_us=now_us)
        self._client = LocalClient(self._transport, has_sources=False)
        self._committed: set[type] = set()

    @property
    def now(self) -> datetime:
        """The time of online reads; setting it fixes it, and None lets it follow the events again."""
        return to_datetime(self._client.status()["now"])

    @now.setter
    def now(self, now: Time | None) -> None:
        self._client.set_now(now)

    def add_events(self, dataset: Definition, events: Any) -> list[dict[str, Any]]:
        """Pushes events.

        Args:
            dataset: The dataset.
            events: A list of dicts, or one dict.

        Returns:
            The violations of the dataset's expectations, one dict each.

        Raises:
            InvalidDataError: A row is invalid; nothing is added.
        """
        self._commit(dataset)
        violations: list[dict[str, Any]] = run(self._client._calls._push(name_of(dataset), events))[
            "violations"
        ]
        return violations

    def add_events_df(self, dataset: Definition, frame: Any) -> list[dict[str, Any]]:
        """Pushes the rows of a polars, pandas or Arrow frame; see `add_events`."""
        return self.add_events(dataset, frame)

    def get_aggregates(self, dataset: Definition, entity_id: Any, at: Time | None = None) -> dict[str, Any]:
        """The outputs of a derived dataset's pipelines for one entity.

        Args:
            dataset: The dataset.
            entity_id: The entity's id; one never seen has the values over nothing.
            at: The time; None means now.
        """
        self._commit(dataset)
        name = name_of(dataset)
        row = self._client.lookup(name, entity_id, at, missing="values") or {}
        outputs = self._client._catalog_of(name).outputs(name)
        return row if outputs is None else {field: row[field] for field in outputs if field in row}

    def get_aggregates_df(self, dataset: Definition, at: Time | None = None) -> pl.DataFrame:
        """The key and the outputs of all entities that have an event."""
        self._commit(dataset)
        return self._client.scan(dataset, at)

    def query(
        self,
        featureset: Definition,
        entity_id: Any,
        inputs: Mapping[str, Any] | None = None,
        at: Time | None = None,
        *,
        features: Features = None,
    ) -> dict[str, Any]:
        """The features of one entity.

        Args:
            featureset: The featureset.
            entity_id: The entity's id.
            inputs: Values of request features.
            at: The time; None means now.
            features: The features to answer, by id or name; None means all.
        """
        self._commit(featureset)
        return self._client.query(featureset, entity_id, inputs, at, features=features).to_dict()[0]

    def query_offline(
        self,
        featureset: Definition,
        rows: Any = None,
        *,
        entity_column: str | Sequence[str] | None = None,
        timestamp_column: str | None = None,
        spine: Definition | None = None,
        time_range: Sequence[Time | None] | None = None,
        every: str | None = None,
        features: Features = None,
    ) -> ThymeResult:
        """A training set; see `ThymeClient.query_offline`."""
        self._commit(featureset)
        if spine is not None:
            self._commit(spine)
        return self._client.query_offline(
            featureset,
            rows,
            entity_column=entity_column,
            timestamp_column=timestamp_column,
            spine=spine,
            time_range=time_range,
            every=every,
            features=features,
        )

    def commit(self, definitions: Any) -> dict[str, Any]:
        """Commits definitions before they are used, to see what is wrong with them."""
        from thyme._document import collect

        document = definitions if isinstance(definitions, Mapping) else collect(definitions)
        return self._client.commit(document, source=False)

    def close(self) -> None:
        """Stops the engine."""
        self._client.close()

    def __enter__(self) -> Self:
        """Gives itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        self.close()

    def _commit(self, definition: Definition) -> None:
        if isinstance(definition, type) and definition not in self._committed:
            self.commit(definition)
            self._committed.add(definition)


__all__ = ["MockContext"]
