"""Rows of datasets, without extractors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from thyme._session import Definition
from thyme._steps import run
from thyme._values import Time

if TYPE_CHECKING:
    import polars as pl

    from thyme._calls import Calls


class DatasetsClient:
    """The part of the client that reads datasets."""

    _calls: Calls

    @overload
    def lookup(
        self,
        dataset: Definition,
        entity_id: Any,
        timestamp: Time | None = None,
        *,
        missing: str | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: Literal[False] = False,
    ) -> dict[str, Any] | None: ...

    @overload
    def lookup(
        self,
        dataset: Definition,
        entity_id: Any,
        timestamp: Time | None = None,
        *,
        missing: str | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: Literal[True],
    ) -> tuple[dict[str, Any] | None, dict[str, Any]]: ...

    @overload
    def lookup(
        self,
        dataset: Definition,
        entity_id: Any,
        timestamp: Time | None = None,
        *,
        missing: str | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool,
    ) -> dict[str, Any] | tuple[dict[str, Any] | None, dict[str, Any]] | None: ...

    def lookup(
        self,
        dataset: Definition,
        entity_id: Any,
        timestamp: Time | None = None,
        *,
        missing: str | None = None,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool = False,
    ) -> dict[str, Any] | tuple[dict[str, Any] | None, dict[str, Any]] | None:
        """The row of a dataset for one entity, without extractors.

        Args:
            dataset: A derived dataset, or one with `index=True`.
            entity_id: The entity's id.
            timestamp: The time as of which; None means now.
            missing: `"values"` gives an entity without events its values over nothing (counts of 0, ...).
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.
            as_of: Gives a pair: the row, and the `time`, `position` and `commit` that it is as of.

        Returns:
            The row, or None if there is none.

        Example:
            stats = client.lookup(DriverStats, "d1", "2026-03-15T10:00:00Z")
            rides = 0 if stats is None else stats["rides_1h"]
        """
        return run(
            self._calls.lookup(
                dataset,
                entity_id,
                timestamp,
                missing=missing,
                min_position=min_position,
                position=position,
                wait_ms=wait_ms,
                as_of=as_of,
            )
        )

    @overload
    def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: Literal[False] = False,
    ) -> pl.DataFrame: ...

    @overload
    def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: Literal[True],
    ) -> tuple[pl.DataFrame, dict[str, Any]]: ...

    @overload
    def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool,
    ) -> pl.DataFrame | tuple[pl.DataFrame, dict[str, Any]]: ...

    def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool = False,
    ) -> pl.DataFrame | tuple[pl.DataFrame, dict[str, Any]]:
        """All entities of a derived dataset, one row each: the key, then the outputs at that time.

        Args:
            dataset: The dataset.
            at: The time as of which; None means now.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position, at most 60,000; None means 10 s.
            as_of: Gives a pair: the rows, and the `time`, `position` and `commit` that they are as of.
        """
        return run(
            self._calls.scan(
                dataset, at, min_position=min_position, position=position, wait_ms=wait_ms, as_of=as_of
            )
        )
