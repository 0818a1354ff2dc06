"""The features of featuresets."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, Unpack

from thyme import _checks
from thyme._expr import Expr
from thyme._field import Field
from thyme._literal import Default, described
from thyme._literal import default as default_of
from thyme._meta import CatalogKeywords, meta
from thyme._place import Place, caller, refuse

T = TypeVar("T")


class Feature(Generic[T]):
    """A feature of a featureset, as `DriverFeatures.score` gives it.

    Attributes:
        featureset: The featureset class.
        name: The feature's name.
    """

    __slots__ = ("featureset", "name")

    def __init__(self, featureset: type, name: str) -> None:
        """Made by `@featureset`."""
        self.featureset = featureset
        self.name = name

    def __repr__(self) -> str:
        """As one writes it."""
        return f"{self.featureset.__name__}.{self.name}"


# What is answered instead of a value that is too old.
ON_STALE = ("null", "default", "error")


def aging(what: str, max_age: str | None, on_stale: str | None) -> dict[str, Any]:
    """What a document says of the age of values."""
    body: dict[str, Any] = {}
    span = _checks.duration(f"{what}(max_age=)", max_age)
    if span is not None:
        body["max_age"] = span
    if on_stale is not None:
        body["on_stale"] = _checks.choice(f"{what}(on_stale=)", on_stale, ON_STALE)
    return body


class FeatureSpec:
    """What `feature()` says, until `@featureset` reads it."""

    def __init__(
        self,
        body: dict[str, Any],
        ref: Field[Any] | None,
        place: Place,
        computed: dict[str, Any] | None = None,
    ) -> None:
        self.body = body
        self.ref = ref
        self.place = place
        self.computed = computed

    def extractor(self, name: str) -> dict[str, Any] | None:
        """The extractor of the feature called `name`, if it is an expression."""
        if self.computed is None:
            return None
        return {"name": name, **self.computed, "outputs": [name], "at": self.place.document()}


def feature(
    *,
    id: int | None = None,
    ref: Any = None,
    expr: Expr | None = None,
    version: int | None = None,
    default: Default = None,
    request: bool = False,
    max_age: str | None = None,
    on_stale: str | None = None,
    **catalog: Unpack[CatalogKeywords],
) -> Any:
    """Says what a feature is.

    Args:
        id: Its number in the featureset, from 1, never reused: the feature *is* its id, the name a label. A
            featureset gives all ids or none; then they are assigned at the first commit.
        ref: The dataset field that it reads, such as `DriverStats.rides_1h`; as a text
            `"DriverStats@1.rides_1h"` of that version.
        expr: An expression over other features of the featureset, those that the caller gives included, such
            as `col("fare_7d") / col("rides_7d")`; it is computed in Rust, online and in training sets alike.
        version: The expression's, from 1; another expression needs another one.
        default: What stands for null.
        request: The caller gives it with each query.
        max_age: How old the newest event behind its value may be, such as `"10m"`; None means what the
            featureset says.
        on_stale: What is answered instead of a value that is older: `"null"`, `"default"`, or `"error"`,
            which refuses the read; None means what the featureset says, or else `"null"`.
        **catalog: `description owner tags project deprecated deprecation_reason replacement`.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: `id` or `default` is out of range.

    Example:
        @featureset
        class Rides:
            driver: str = feature(id=1)
            rides_1h: int = feature(id=2, ref=DriverStats.rides_1h, owner="rides@example.com")
            hour: int = feature(id=3, request=True, default=12)  # the caller gives it with each query
            busy: bool = feature(id=4, expr=(col("rides_1h") > 5) & col("hour").between(7, 9))
    """
    body: dict[str, Any] = {}
    if id is not None:
        body["id"] = _checks.number("feature(id=)", id)
    if isinstance(ref, Feature):
        hint = f"take it with @extractor_inputs({ref!r})"
        refuse(f"feature(ref=) takes a field of a dataset, got the feature {ref!r}; {hint}")
    if isinstance(ref, str):
        pinned, dot, name = ref.rpartition(".")
        if not (dot and "@" in pinned):
            versioned = 'as a text, a field of a version, such as "DriverStats@1.rides_1h"'
            refuse(
                f"feature(ref=) takes a field of a dataset, such as DriverStats.rides_1h, or, {versioned}, "
                f"got {described(ref)}"
            )
        body["ref"] = {"dataset": pinned, "field": name}
        ref = None
    if ref is not None and not isinstance(ref, Field):
        refuse(
            f"feature(ref=) takes a field of a dataset, such as DriverStats.rides_1h, got {described(ref)}"
        )
    if ref is not None:
        body["ref"] = {"dataset": ref.dataset.__name__, "field": ref.name}
    constant = default_of(default, "feature(default=)")
    if constant is not None:
        body["default"] = constant
    body["request"] = _checks.flag("feature(request=)", request)
    body.update(aging("feature", max_age, on_stale))
    body["meta"] = meta("feature()", catalog)
    return FeatureSpec(body, ref, caller(), _computed(expr, version))


def _computed(expr: Any, version: int | None) -> dict[str, Any] | None:
    """What an extractor's document says of an expression."""
    if expr is None:
        if version is not None:
            refuse("feature(version=) is the version of an expression; give it expr= too")
        return None
    if not isinstance(expr, Expr):
        refuse(
            f'feature(expr=) takes an expression such as col("fares") / col("rides"), got {described(expr)}'
        )
    return {
        "version": 1 if version is None else _checks.number("feature(version=)", version),
        "inputs": [{"feature": name} for name in expr.columns()],
        "form": "expression",
        "expr": expr.document(),
    }
