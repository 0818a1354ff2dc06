"""Rows of datasets, without extractors: the calls. See `_calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from thyme._session import Definition, Session, name_of, warn
from thyme._values import Time, from_answer

if TYPE_CHECKING:
    import polars as pl


class DatasetCalls:
    """The calls that read datasets."""

    _session: Session

    @overload
    async def lookup(
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
    async def lookup(
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
    async def lookup(
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

    async def lookup(
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
        """See `ThymeClient.lookup`."""
        name = name_of(dataset)
        params = {
            "entity_type": name,
            **await self._session.entity_params(name, entity_id),
            "missing": missing,
        }
        params.update(self._session.when(timestamp, min_position, position, wait_ms))
        answer = await self._session.fetch("/features", params)
        warn(answer)
        row = None
        if answer.get("features") is not None:
            types = await self._session.types(name, answer)
            row = from_answer(answer["features"], types, answer.get("non_finite"))
        return (row, dict(answer["as_of"])) if as_of else row

    @overload
    async def scan(
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
    async def scan(
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
    async def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool,
    ) -> pl.DataFrame | tuple[pl.DataFrame, dict[str, Any]]: ...

    async def scan(
        self,
        dataset: Definition,
        at: Time | None = None,
        *,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        as_of: bool = False,
    ) -> pl.DataFrame | tuple[pl.DataFrame, dict[str, Any]]:
        """See `ThymeClient.scan`."""
        params = {"dataset": name_of(dataset), **self._session.when(at, min_position, position, wait_ms)}
        result = await self._session.table("GET", "/features/scan", params)
        rows = result.to_polars()
        return (rows, dict(result.metadata["as_of"])) if as_of else rows
