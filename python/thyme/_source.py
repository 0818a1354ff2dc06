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
        if "source" in definition.body:
            refuse(
                "a dataset has one @source; declare a dataset for each", subject=definition.name, kind="value"
            )
        definition.body["source"] = body
        try:
            definition.check()
        except BaseException:
            del definition.body["source"]
            raise
        return cls

    return decorate
