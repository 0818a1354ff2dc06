"""How values came about and how fresh they are, as a read with `meta=True` says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from thyme._values import to_datetime

if TYPE_CHECKING:
    import pyarrow as pa

# Columns of an Arrow answer beside a feature's own: `NAME.status`, ... No feature has a name with a dot.
_PARTS = ("status", "newest", "age_s", "error")


class FeatureMeta(NamedTuple):
    """How the value of a feature came about and how fresh it is; of several rows, lists with an item a row.

    Attributes:
        status: `OK`; `DEFAULT`: the feature's default stands for it; `MISSING`: it is null, or what an entity
            without any event has; `STALE`: older than the feature allows; `INCOMPLETE`: its definition is not
            live yet; `ERROR`: it could not be computed.
        newest: The event time of the newest event behind it; None if there is none.
        age_s: The time as of which it was read minus `newest`, in seconds.
        version: The version of the dataset that it reads, or of the extractor that gives it.
        error: Why there is no value.
    """

    status: Any
    newest: Any
    age_s: Any
    version: int | None
    error: Any = None


def of_row(said: Mapping[str, Any]) -> dict[str, FeatureMeta]:
    """By feature, from the JSON of an answer for one entity."""
    return {
        name: FeatureMeta(
            one["status"],
            None if one["newest"] is None else to_datetime(one["newest"]),
            one["age_s"],
            one["version"],
            one.get("error"),
        )
        for name, one in said.items()
    }


def of_table(said: Mapping[str, Any], table: pa.Table) -> dict[str, FeatureMeta]:
    """By feature, from the columns of an answer in Arrow, of which `said` names the features."""

    def part(name: str, of: str) -> Any:
        values = table[f"{name}.{of}"].to_pylist()
        return values[0] if len(values) == 1 else values

    return {
        name: FeatureMeta(
            part(name, "status"),
            part(name, "newest"),
            part(name, "age_s"),
            one["version"],
            part(name, "error"),
        )
        for name, one in said.items()
    }


def columns_of(said: Mapping[str, Any]) -> list[str]:
    """The columns of an Arrow answer that are about these features and not of them."""
    return [f"{name}.{part}" for name in said for part in _PARTS]
