"""Datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, Unpack, overload

from thyme import _checks
from thyme._class_html import dataset_html, shown_in_notebooks
from thyme._definition import ATTRIBUTE, ClassReader, Definition
from thyme._field import Field, FieldSpec
from thyme._lookup import DatasetHandle
from thyme._meta import CatalogKeywords, meta
from thyme._pipeline import read_pipelines
from thyme.expectations import read_expectations

C = TypeVar("C", bound=type)


@overload
def dataset(cls: C, /) -> C: ...
@overload
def dataset(
    *,
    version: int = 1,
    index: bool = False,
    max_lateness: str | None = None,
    max_future_skew: str | None = None,
    retention: str | None = None,
    extra: Literal["forbid", "ignore"] = "forbid",
    on_error: Literal["refuse", "skip"] = "refuse",
    on_violation: Literal["observe", "quarantine"] = "observe",
    **catalog: Unpack[CatalogKeywords],
) -> Callable[[C], C]: ...
def dataset(
    cls: Any = None,
    /,
    *,
    version: int = 1,
    index: bool = False,
    max_lateness: str | None = None,
    max_future_skew: str | None = None,
    retention: str | None = None,
    extra: str = "forbid",
    on_error: str = "refuse",
    on_violation: str = "observe",
    **catalog: Any,
) -> Any:
    """Makes a class a dataset: its annotations are the fields, its `@pipeline` what derives it.

    Afterwards `Ride.fare` refers to a field, and `Ride.lookup(ts, driver="d1")` reads a row inside an
    extractor.

    Args:
        cls: The class, when used without parentheses.
        version: From 1; raise it when the meaning changes.
        index: Whether `lookup` of a raw dataset gives its latest row.
        max_lateness: How far behind the largest event time an event may be before it is late; None: nothing
            is late.
        max_future_skew: How far ahead of the clock an event may be and still move the largest event time.
        retention: How far back the dataset reaches.
        extra: `"forbid"` or `"ignore"` fields of a row that are not declared.
        on_error: `"refuse"` a push with an invalid row, or `"skip"` the row into the dead letters.
        on_violation: `"observe"` rows that break its `@expectations`, or `"quarantine"` them: they go to the
            dead letters.
        **catalog: `description owner tags project deprecated deprecation_reason replacement`.

    Raises:
        DefinitionValueError: The definition is wrong; all faults are listed.
        DefinitionTypeError: The same, if all of them are about types.

    Example:
        @dataset(index=True, max_lateness="1h")
        class Ride:
            driver: str = field(key=True)
            fare: float
            tip: float | None
            at: datetime = field(timestamp=True)
    """
    settings: dict[str, Any] = {
        "version": _checks.number("@dataset(version=)", version),
        "index": _checks.flag("@dataset(index=)", index),
        "max_lateness": _checks.duration("@dataset(max_lateness=)", max_lateness),
        "max_future_skew": _checks.duration("@dataset(max_future_skew=)", max_future_skew),
        "retention": _checks.duration("@dataset(retention=)", retention),
        "extra": _checks.choice("@dataset(extra=)", extra, ("forbid", "ignore")),
        "on_error": _checks.choice("@dataset(on_error=)", on_error, ("refuse", "skip")),
        "meta": meta("@dataset", catalog),
    }
    if _checks.choice("@dataset(on_violation=)", on_violation, ("observe", "quarantine")) != "observe":
        settings["on_violation"] = on_violation
    given = {name: value for name, value in settings.items() if value is not None}

    def decorate(decorated: C) -> C:
        return _define(decorated, given)

    return decorate if cls is None else decorate(cls)


def _define(cls: C, settings: dict[str, Any]) -> C:
    reader = ClassReader(cls, "@dataset")
    members = reader.members(FieldSpec, Field)
    if "lookup" in reader.namespace() or any(member.name == "lookup" for member in members):
        reader.fault(
            "lookup", f"the name lookup is taken: {reader.name}.lookup reads a row; use another name"
        )
    ids = [member.name for member in members if member.value is not None and member.value.event_id]
    if len(ids) > 1:
        reader.fault(ids[1], f"{' and '.join(ids)} are both event ids; one field names an event, keep one")
    pipelines = read_pipelines(reader)
    expectations = read_expectations(reader)
    reader.refuse_faults()
    body = {
        "name": reader.name,
        **settings,
        **({"event_id": ids[0]} if ids else {}),
        "fields": [
            {
                "name": member.name,
                "type": member.type.name,
                "optional": member.type.optional,
                "role": member.value.role if member.value is not None else "value",
                **(
                    {"default": member.value.default}
                    if member.value is not None and member.value.default is not None
                    else {}
                ),
            }
            for member in members
        ],
        **({"expectations": expectations} if expectations else {}),
        "pipelines": [pipeline.body for pipeline in pipelines],
        "at": reader.at.document(),
    }
    references = tuple(dict.fromkeys(source for pipeline in pipelines for source in pipeline.reads))
    definition = Definition("dataset", cls, body, references, reader.places, reader.at)
    definition.check()
    attributes: dict[str, Any] = {member.name: Field(cls, member.name) for member in members}
    attributes["lookup"] = staticmethod(DatasetHandle(reader.name).lookup)
    attributes[ATTRIBUTE] = definition
    shown_in_notebooks(cls, lambda: dataset_html(body))
    for name, value in attributes.items():
        setattr(cls, name, value)
    return cls
