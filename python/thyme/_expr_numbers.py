"""Methods of numbers."""

from __future__ import annotations

from typing import Any, Self

from thyme._expr_calls import Calls


class Numbers(Calls):
    """What an expression of numbers can be asked.

    A null gives null. What raises in Python is null: the root of a negative number, the logarithm of zero,
    an int outside int64. A result too large for a float is infinite, as of `*`; NaN stays NaN.
    """

    __slots__ = ()

    def __pow__(self, exponent: Any) -> Self:
        """`a ** b`: an int for an int and a literal int that is not negative, else a float.

        Null for a negative number with a fraction as exponent and for zero with a negative one.
        """
        return self._method("pow", exponent)

    def __abs__(self) -> Self:
        """`abs(a)`, as `.abs()`."""
        return self.abs()

    def __round__(self, digits: int | None = None) -> Self:
        """`round(a)`, as `.round()`."""
        return self.round(digits)

    def abs(self) -> Self:
        """The size, of the same type."""
        return self._method("abs")

    def sign(self) -> Self:
        """-1, 0 or 1, of the same type."""
        return self._method("sign")

    def round(self, digits: int | None = None) -> Self:
        """Rounded half to even, as Python's `round`.

        Args:
            digits: From -18 to 18. Without it the result is an int, and null for NaN, an infinity, or what
                int64 has no place for. With it the type stays; a float is the exact value rounded to so many
                decimals.
        """
        return self._method("round") if digits is None else self._method("round", digits)

    def floor(self) -> Self:
        """The greatest int that is not greater; null outside int64."""
        return self._method("floor")

    def ceil(self) -> Self:
        """The least int that is not less; null outside int64."""
        return self._method("ceil")

    def clip(self, low: Any = None, high: Any = None) -> Self:
        """The greater of it and `low`, and then the less of that and `high`.

        Args:
            low: The least it may be; None for no bound. A column's null is unknown, and so is the result.
            high: The greatest it may be; it wins if it is less than `low`.
        """
        return self._method("clip", low, high)

    def sqrt(self) -> Self:
        """The square root, correctly rounded; null of a negative number."""
        return self._method("sqrt")

    def cbrt(self) -> Self:
        """The cube root."""
        return self._method("cbrt")

    def exp(self) -> Self:
        """`e ** a`."""
        return self._method("exp")

    def expm1(self) -> Self:
        """`e ** a - 1`, precise near zero."""
        return self._method("expm1")

    def log(self) -> Self:
        """The natural logarithm; null of what is not positive."""
        return self._method("log")

    def log2(self) -> Self:
        """The logarithm to base 2; null of what is not positive."""
        return self._method("log2")

    def log10(self) -> Self:
        """The logarithm to base 10; null of what is not positive."""
        return self._method("log10")

    def log1p(self) -> Self:
        """The natural logarithm of `1 + a`, precise near zero; null where that is not positive."""
        return self._method("log1p")

    def sin(self) -> Self:
        """The sine of an angle in radians; null of an infinity."""
        return self._method("sin")

    def cos(self) -> Self:
        """The cosine of an angle in radians; null of an infinity."""
        return self._method("cos")

    def tan(self) -> Self:
        """The tangent of an angle in radians; null of an infinity."""
        return self._method("tan")

    def asin(self) -> Self:
        """The angle, in radians, that has this sine; null outside -1 to 1."""
        return self._method("asin")

    def acos(self) -> Self:
        """The angle, in radians, that has this cosine; null outside -1 to 1."""
        return self._method("acos")

    def atan(self) -> Self:
        """The angle, in radians, that has this tangent."""
        return self._method("atan")

    def tanh(self) -> Self:
        """The hyperbolic tangent."""
        return self._method("tanh")
