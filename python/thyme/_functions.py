"""Functions of several expressions."""

from __future__ import annotations

from typing import Any

from thyme._expr import Expr, as_expr
from thyme._literal import Scalar
from thyme._place import refuse

Vector = list[float] | list[int] | None


def min_of(*values: Expr | Scalar) -> Expr:
    """The least of several values of a row; null if any is null, NaN if any is NaN.

    For the least of an entity's rows there is the aggregate `Min`.
    """
    return _free("min_of", values)


def max_of(*values: Expr | Scalar) -> Expr:
    """The greatest of several values of a row; null if any is null, NaN if any is NaN."""
    return _free("max_of", values)


def coalesce(*values: Expr | Scalar) -> Expr:
    """The first of the values that is not null."""
    return _free("coalesce", values)


def concat(*texts: Expr | str) -> Expr:
    """All texts one after the other; null if any is null. Cast numbers first."""
    return _free("concat", texts)


def atan2(y: Expr | Scalar, x: Expr | Scalar) -> Expr:
    """The angle of the point `(x, y)` in radians, from -pi to pi."""
    return _free("atan2", (y, x))


def haversine_km(lat1: Expr | Scalar, lon1: Expr | Scalar, lat2: Expr | Scalar, lon2: Expr | Scalar) -> Expr:
    """The great-circle distance of two places in kilometres, on a sphere of radius 6371.0088 km.

    `2 R asin(sqrt(sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)))`

    Args:
        lat1: The first latitude in degrees; beyond a pole the distance is null.
        lon1: The first longitude in degrees.
        lat2: The second latitude.
        lon2: The second longitude.
    """
    return _free("haversine_km", (lat1, lon1, lat2, lon2))


def dot(a: Expr | Vector, b: Expr | Vector) -> Expr:
    """The sum of the products of two vectors of one length, in a fixed order of additions.

    `((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))`, where `sj` adds up the products at j, j + 8, ...

    Args:
        a: A vector, or a list of numbers as one.
        b: Another of the same length.
    """
    return _free("dot", (a, b))


def cosine(a: Expr | Vector, b: Expr | Vector) -> Expr:
    """The cosine of the angle between two vectors: `dot(a, b) / sqrt(dot(a, a) * dot(b, b))`.

    From -1 to 1; null if a vector is all zeros.
    """
    return _free("cosine", (a, b))


def l2(a: Expr | Vector, b: Expr | Vector) -> Expr:
    """The Euclidean distance of two vectors of one length; squares are added as `dot` adds."""
    return _free("l2", (a, b))


def when(condition: Expr) -> When:
    """Begins a choice: `when(a).then(x).when(b).then(y).otherwise(z)`.

    The value is that of the first condition that is true; null is not. Values need one type; an int beside a
    float becomes one.

    Raises:
        DefinitionTypeError: `condition` is no expression.
    """
    return When((), condition)


class When:
    """A condition that waits for its value. Made by `when`."""

    __slots__ = ("_before", "_condition")

    def __init__(self, before: tuple[Expr, ...], condition: Expr) -> None:
        """Made by `when`."""
        self._before = before
        self._condition = as_expr(condition)

    def then(self, value: Expr | Scalar) -> Choice:
        """The value where the condition is true."""
        return Choice((*self._before, self._condition, as_expr(value)))

    def __repr__(self) -> str:
        """What is written so far."""
        return f"when({self._condition!r})"

    def document(self) -> Any:
        """Refused: there is no value yet.

        Raises:
            DefinitionTypeError: Always.
        """
        refuse(f"{self!r} has no value: write .then(...) after it")


class Choice(Expr):
    """A choice, which is null where no condition is true, unless `otherwise` says what it is."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[Expr, ...]) -> None:
        """Made by `When.then`."""
        whole = _choice(parts, as_expr(None))
        super().__init__(whole._node, whole._text)
        self._parts = parts

    def when(self, condition: Expr) -> When:
        """A further condition, for where none before it is true."""
        return When(self._parts, condition)

    def otherwise(self, value: Expr | Scalar) -> Expr:
        """The value where no condition is true."""
        return _choice(self._parts, as_expr(value))


def _choice(parts: tuple[Expr, ...], otherwise: Expr) -> Expr:
    pairs = zip(parts[::2], parts[1::2], strict=True)
    text = ".".join(f"when({condition!r}).then({value!r})" for condition, value in pairs)
    args = [part.document() for part in (*parts, otherwise)]
    return Expr({"op": "when", "args": args}, f"{text}.otherwise({otherwise!r})")


def _free(name: str, values: tuple[Any, ...]) -> Expr:
    if not values:
        refuse(f"{name}() takes one value at least, such as {name}(col('a'), col('b'))")
    operands = [as_expr(value) for value in values]
    text = ", ".join(map(repr, operands))
    return Expr({"op": name, "args": [operand.document() for operand in operands]}, f"{name}({text})")
