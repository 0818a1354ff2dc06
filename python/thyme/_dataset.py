"""Datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

from thyme import _checks
from thyme._class_html import dataset_html, shown_in_notebooks
from thyme._definition import ATTRIBUTE, ClassReader, Definition
from thyme._field import Field, FieldSpec
from thyme._lookup import DatasetHandle
from thyme._meta import CatalogKeywords, meta
from thyme._pipeline import read_pipelines
from thyme._place import refuse
from thyme.expectations import read_expectations

C = TypeVar("C", bound=type)


@overload
def dataset(cls: C, /) -> C: ...
@overload
def dataset(
    *,
    version: int = 1,
    index: bool = False,
    key: str | Sequence[str] | None = None,
    cdc: Literal["upsert"] | None = None,
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
    key: str | Sequence[str] | None = None,
    cdc: str | None = None,
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
        key: The key field, or several, instead of `field(key=True)` on each.
        cdc: `"upsert"`: the rows of a raw dataset replace each other by key. The one with the greatest event
            time (of several, the last position) is there at a time, or none, if a field with
            `field(deleted=True)` is true in it. Implies `index=True`. None: every row is an event.
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
    if cdc is not None:
        settings |= {"cdc": _checks.choice("@dataset(cdc=)", cdc, ("upsert",)), "index": True}
    keys = _key_names(key)
    given = {name: value for name, value in settings.items() if value is not None}

    def decorate(decorated: C) -> C:
        return _define(decorated, given, keys)

    return decorate if cls is None else decorate(cls)


def _key_names(key: Any) -> tuple[str, ...]:
    """The fields that `@dataset(key=)` names."""
    names = (key,) if isinstance(key, str) else () if key is None else key
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        refuse(f"@dataset(key=) is {key!r}; name a field, or a list of fields", kind="type")
    return tuple(names)


def _role(name: str, spec: FieldSpec | None, keys: tuple[str, ...]) -> str:
    role = spec.role if spec is not None else "value"
    return "key" if name in keys and role == "value" else role


def _define(cls: C, settings: dict[str, Any], keys: tuple[str, ...]) -> C:
    reader = ClassReader(cls, "@dataset")
    members = reader.members(FieldSpec, Field)
    if "lookup" in reader.namespace() or any(member.name == "lookup" for member in members):
        reader.fault(
            "lookup", f"the name lookup is taken: {reader.name}.lookup reads a row; use another name"
        )
    ids = [member.name for member in members if member.value is not None and member.value.event_id]
    if len(ids) > 1:
        reader.fault(ids[1], f"{' and '.join(ids)} are both event ids; one field names an event, keep one")
    gone = [member.name for member in members if member.value is not None and member.value.deleted]
    if len(gone) > 1:
        reader.fault(gone[1], f"{' and '.join(gone)} both say deleted; one field says it, keep one")
    for name in keys:
        if all(member.name != name for member in members):
            reader.fault(name, f"key={name!r} names no field of {reader.name}; annotate {name} in the class")
    pipelines = read_pipelines(reader)
    expectations = read_expectations(reader)
    reader.refuse_faults()
    body = {
        "name": reader.name,
        **settings,
        **({"event_id": ids[0]} if ids else {}),
        **({"deleted": gone[0]} if gone else {}),
        "fields": [
            {
                "name": member.name,
                "type": member.type.name,
                "optional": member.type.optional,
                "role": _role(member.name, member.value, keys),
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
