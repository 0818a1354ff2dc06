"""Rows of datasets, without extractors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from thyme._session import Definition, Session, name_of, warn
from thyme._values import Time, from_answer

if TYPE_CHECKING:
    import polars as pl


class DatasetsClient:
    """The part of the client that reads datasets."""

    _session: Session

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
        """
        name = name_of(dataset)
        params = {"entity_type": name, **self._session.entity_params(name, entity_id), "missing": missing}
        params.update(self._session.when(timestamp, min_position, position, wait_ms))
        answer = self._session.fetch("/features", params)
        warn(answer)
        row = None
        if answer.get("features") is not None:
            types = self._session.types(name, answer)
            row = from_answer(answer["features"], types, answer.get("non_finite"))
        return (row, dict(answer["as_of"])) if as_of else row

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
        params = {"dataset": name_of(dataset), **self._session.when(at, min_position, position, wait_ms)}
        result = self._session.table("GET", "/features/scan", params)
        rows = result.to_polars()
        return (rows, dict(result.metadata["as_of"])) if as_of else rows
