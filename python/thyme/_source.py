"""Sources: the connector that feeds a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from thyme import _checks
from thyme._definition import definition_of
from thyme._literal import described
from thyme._meta import CatalogKeywords, meta
from thyme._place import refuse
from thyme.connectors import Connector

C = TypeVar("C", bound=type)


def source(
    connector: Connector,
    *,
    max_lateness: str | None = None,
    max_future_skew: str | None = None,
    **catalog: Unpack[CatalogKeywords],
) -> Callable[[C], C]:
    """Feeds a dataset from a connector. Stands above `@dataset`.

    Several feed it from several, such as one from history files and one that follows what is live, each a
    stream of its own.

    Args:
        connector: Where the events come from, such as `FileSource(path="rides.parquet")`.
        max_lateness: How far behind the largest event time of this stream an event may be; overrides the
            dataset's.
        max_future_skew: How far ahead of the clock an event may be and still move the largest event time;
            overrides the dataset's.
        **catalog: `description owner tags project deprecated deprecation_reason replacement`.

    Raises:
        DefinitionTypeError: An argument has the wrong type, or the class is no dataset.
        DefinitionValueError: The dataset cannot have this source.
    """
    if not isinstance(connector, Connector):
        refuse(
            f'@source takes a connector such as FileSource(path="rides.parquet"), got {described(connector)}'
        )
    body: dict[str, Any] = {"kind": connector.kind, "options": connector.options()}
    lateness = _checks.duration("@source(max_lateness=)", max_lateness)
    skew = _checks.duration("@source(max_future_skew=)", max_future_skew)
    if lateness is not None:
        body["max_lateness"] = lateness
    if skew is not None:
        body["max_future_skew"] = skew
    body["meta"] = meta("@source", catalog)

    def decorate(cls: C) -> C:
        definition = definition_of(cls)
        if definition is None or definition.kind != "dataset":
            refuse(f"@source stands above @dataset, got {described(cls)}, which is no dataset yet")
        before: dict[str, Any] = {
            name: definition.body.pop(name) for name in ("source", "sources") if name in definition.body
        }
        others = before.get("sources") or [one for one in [before.get("source")] if one is not None]
        now: dict[str, Any] = {"source": body}
        if others:
            now = {"sources": [body, *others]}
        definition.body.update(now)
        try:
            definition.check()
        except BaseException:
            for name in now:
                del definition.body[name]
            definition.body.update(before)
            raise
        return cls

    return decorate
