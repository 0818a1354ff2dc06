"""Arithmetic of decimals, as fractions."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from .oracle_types import DIGITS

OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction | int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floor_div": lambda a, b: math.floor(a / b),
    "mod": lambda a, b: a - b * math.floor(a / b),
}


def decimals(op: str, plain: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operation of two numbers, by `plain` unless one is a decimal; a float beside it is its digits."""

    def computed(a: Any, b: Any) -> Any:
        if not isinstance(a, Decimal) and not isinstance(b, Decimal):
            return plain(a, b)
        a, b = (v if isinstance(v, Decimal) else Decimal(str(v)) for v in (a, b))
        x, y = Fraction(a), Fraction(b)
        if op == "div":
            return float(x / y)
        places = [max(0, -int(v.as_tuple().exponent)) for v in (a, b)]
        scale = {"mul": sum(places), "floor_div": 0}.get(op, max(places))
        unscaled = int(OPERATIONS[op](x, y) * 10**scale)
        with localcontext(prec=400):
            return Decimal(unscaled).scaleb(-scale) if abs(unscaled) < 10**DIGITS else None

    return computed
