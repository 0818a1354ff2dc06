"""How alike two vectors are, one row at a time."""

import math
from collections.abc import Callable
from typing import Any

Vector = list[float]


def added(terms: list[float]) -> float:
    """Every eighth term from the first, from the second, and so on; and these sums two by two."""
    sums = []
    for first in range(8):
        total = 0.0
        for term in terms[first::8]:
            total += term
        sums.append(total)
    a, b, c, d, e, f, g, h = sums
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


def dot(a: Vector, b: Vector) -> float:
    return added([float(x) * float(y) for x, y in zip(a, b, strict=True)])


def cosine(a: Vector, b: Vector) -> float | None:
    lengths = math.sqrt(dot(a, a) * dot(b, b))
    if lengths == 0:
        return None
    angle = dot(a, b) / lengths
    return angle if math.isnan(angle) else max(-1.0, min(1.0, angle))


def l2(a: Vector, b: Vector) -> float:
    return math.sqrt(added([(float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)]))


VECTORS: dict[str, Callable[..., Any]] = {"dot": dot, "cosine": cosine, "l2": l2}
