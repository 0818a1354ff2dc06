"""Featuresets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, overload

from thyme._class_html import featureset_html, shown_in_notebooks
from thyme._definition import ATTRIBUTE, ClassReader, Definition
from thyme._extractor import ExtractorDefinition, read_extractors
from thyme._feature import Feature, FeatureSpec, aging
from thyme._meta import CatalogKeywords, meta

C = TypeVar("C", bound=type)


@dataclass(eq=False)
class FeaturesetDefinition(Definition):
    """A featureset.

    Its extractors' code is captured each time it is asked for: until the module is complete, names that it
    uses may still be missing or change, as they may for any Python function.
    """

    extractors: tuple[ExtractorDefinition, ...] = ()
    expressions: tuple[dict[str, Any], ...] = ()
    is_complete: bool = False

    def document(self) -> dict[str, Any]:
        """Its part of a definition document, with the extractors' code."""
        methods = [one.document(self.is_complete) for one in self.extractors]
        return {**self.body, "extractors": [*methods, *self.expressions]}

    def needs(self) -> tuple[type, ...]:
        """The datasets and featuresets it refers to, those that only the code names included."""
        used = [cls for one in self.extractors for cls in one.needs(self.is_complete)]
        return tuple(dict.fromkeys([*self.references, *used]))


@overload
def featureset(cls: C, /) -> C: ...
@overload
def featureset(
    *, max_age: str | None = None, on_stale: str | None = None, **catalog: Unpack[CatalogKeywords]
) -> Callable[[C], C]: ...
def featureset(
    cls: Any = None, /, *, max_age: str | None = None, on_stale: str | None = None, **catalog: Any
) -> Any:
    """Makes a class a featureset: its annotations are the features, its `@extractor` methods compute some.

    Afterwards `DriverFeatures.score` refers to a feature.

    Args:
        cls: The class, when used without parentheses.
        max_age: How old the newest event behind a value may be, such as `"10m"`, for all features that are
            not given with the query and do not say it themselves.
        on_stale: What is answered instead of a value that is older: `"null"` (the default), `"default"`, or
            `"error"`, which refuses the read.
        **catalog: `description owner tags project deprecated deprecation_reason replacement`.

    Raises:
        DefinitionValueError: The definition is wrong; all faults are listed.
        DefinitionTypeError: The same, if all of them are about types.

    Example:
        @featureset
        class DriverFeatures:
            driver: str = feature(id=1)
            rides_1h: int = feature(id=2, ref=DriverStats.rides_1h)
            fare_7d: float = feature(id=3, ref=DriverStats.fare_7d, default=0.0)
            hour: int = feature(id=4, request=True, default=12)
    """
    described = meta("@featureset", catalog)
    ages = aging("@featureset", max_age, on_stale)

    def decorate(decorated: C) -> C:
        return _define(decorated, described, ages)

    return decorate if cls is None else decorate(cls)


def _define(cls: C, described: dict[str, Any], ages: dict[str, Any]) -> C:
    reader = ClassReader(cls, "@featureset")
    members = reader.members(FeatureSpec, Feature)
    extractors = tuple(read_extractors(reader))
    reader.refuse_faults()
    features: list[dict[str, Any]] = []
    expressions: list[dict[str, Any]] = []
    for member in members:
        said = member.value.body if member.value is not None else {}
        typed = {"name": member.name, "type": member.type.name, "optional": member.type.optional}
        at = member.value.place if member.value is not None else member.at
        features.append({**typed, **said, "at": at.document()})
        computed = member.value.extractor(member.name) if member.value is not None else None
        if computed is not None:
            expressions.append(computed)
    refs = [
        member.value.ref for member in members if member.value is not None and member.value.ref is not None
    ]
    definition = FeaturesetDefinition(
        "featureset",
        cls,
        {"name": reader.name, "features": features, **ages, "meta": described, "at": reader.at.document()},
        tuple(dict.fromkeys(ref.dataset for ref in refs)),
        reader.places,
        reader.at,
        extractors,
        tuple(expressions),
    )
    if not any("@" in (one.get("ref") or {}).get("dataset", "") for one in features):
        definition.check()  # what it means of another version only a server knows
    definition.is_complete = True
    for member in members:
        setattr(cls, member.name, Feature(cls, member.name))
    setattr(cls, ATTRIBUTE, definition)
    givers = {
        output: f"{one.body['name']}(), version {one.body.get('version', 1)}"
        for one in extractors
        for output in one.body["outputs"]
    }
    givers |= {one["name"]: f"an expression, version {one['version']}" for one in expressions}
    shown_in_notebooks(cls, lambda: featureset_html(definition.body, givers))
    return cls
