"""Expressions over the columns of a row: `col("fare") > 0`."""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn

from thyme._expr_lists import Lists
from thyme._expr_numbers import Numbers
from thyme._expr_texts import Texts
from thyme._expr_times import Times
from thyme._expr_values import Values
from thyme._literal import Default, Scalar, default, described, literal
from thyme._place import refuse


class Expr(Numbers, Texts, Times, Lists, Values):
    """An expression. Made with `col` and `lit`; it computes nothing until the engine does.

    `/` gives a float; `//` and `%` floor as in Python. A zero divisor and an int64 overflow give null.
    Methods are those of numbers, texts, datetimes, lists, and of any value; functions of several expressions
    such as `when`, `coalesce` and `min_of` are imported beside `col`.
    Combine conditions with `&`, `|` and `~`, each side in parentheses.

    Example:
        worth = (col("fare") > 0) & ~col("tip").is_null()
        total = col("fare") + col("tip").fill_null(0.0)
    """

    __slots__ = ("_node", "_text")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: dict[str, Any], text: str) -> None:
        """Made by `col`, `lit` and the operators."""
        self._node = node
        self._text = text

    def document(self) -> dict[str, Any]:
        """The expression as a definition document has it."""
        return self._node

    def __repr__(self) -> str:
        """The expression as it is written."""
        return self._text

    def __add__(self, other: Expr | Scalar) -> Expr:
        """`a + b`."""
        return _binary("add", "+", self, other)

    def __radd__(self, other: Expr | Scalar) -> Expr:
        """`a + b`."""
        return _binary("add", "+", other, self)

    def __sub__(self, other: Expr | Scalar) -> Expr:
        """`a - b`."""
        return _binary("sub", "-", self, other)

    def __rsub__(self, other: Expr | Scalar) -> Expr:
        """`a - b`."""
        return _binary("sub", "-", other, self)

    def __mul__(self, other: Expr | Scalar) -> Expr:
        """`a * b`."""
        return _binary("mul", "*", self, other)

    def __rmul__(self, other: Expr | Scalar) -> Expr:
        """`a * b`."""
        return _binary("mul", "*", other, self)

    def __truediv__(self, other: Expr | Scalar) -> Expr:
        """`a / b`, always a float."""
        return _binary("div", "/", self, other)

    def __rtruediv__(self, other: Expr | Scalar) -> Expr:
        """`a / b`, always a float."""
        return _binary("div", "/", other, self)

    def __floordiv__(self, other: Expr | Scalar) -> Expr:
        """`a // b`, floored."""
        return _binary("floor_div", "//", self, other)

    def __rfloordiv__(self, other: Expr | Scalar) -> Expr:
        """`a // b`, floored."""
        return _binary("floor_div", "//", other, self)

    def __mod__(self, other: Expr | Scalar) -> Expr:
        """`a % b`, with the sign of `b`."""
        return _binary("mod", "%", self, other)

    def __rmod__(self, other: Expr | Scalar) -> Expr:
        """`a % b`, with the sign of `b`."""
        return _binary("mod", "%", other, self)

    def __neg__(self) -> Expr:
        """`-a`."""
        return _unary("neg", "-", self)

    def __eq__(self, other: Expr | Scalar) -> Expr:  # type: ignore[override]
        """`a == b`; null if either is null."""
        return _binary("eq", "==", self, other)

    def __ne__(self, other: Expr | Scalar) -> Expr:  # type: ignore[override]
        """`a != b`; null if either is null."""
        return _binary("ne", "!=", self, other)

    def __lt__(self, other: Expr | Scalar) -> Expr:
        """`a < b`."""
        return _binary("lt", "<", self, other)

    def __le__(self, other: Expr | Scalar) -> Expr:
        """`a <= b`."""
        return _binary("le", "<=", self, other)

    def __gt__(self, other: Expr | Scalar) -> Expr:
        """`a > b`."""
        return _binary("gt", ">", self, other)

    def __ge__(self, other: Expr | Scalar) -> Expr:
        """`a >= b`."""
        return _binary("ge", ">=", self, other)

    def __and__(self, other: Expr | Scalar) -> Expr:
        """Both; three-valued, as in SQL."""
        return _binary("and", "&", self, other)

    def __rand__(self, other: Expr | Scalar) -> Expr:
        """Both; three-valued, as in SQL."""
        return _binary("and", "&", other, self)

    def __or__(self, other: Expr | Scalar) -> Expr:
        """Either; three-valued, as in SQL."""
        return _binary("or", "|", self, other)

    def __ror__(self, other: Expr | Scalar) -> Expr:
        """Either; three-valued, as in SQL."""
        return _binary("or", "|", other, self)

    def __invert__(self) -> Expr:
        """Not."""
        return _unary("not", "~", self)

    def __rpow__(self, base: Expr | Scalar) -> Expr:
        """`a ** b`."""
        return as_expr(base) ** self

    def _method(self, name: str, *args: Any) -> Expr:
        operands = [as_expr(arg) for arg in args]
        node = {"op": name, "args": [self._node, *(operand._node for operand in operands)]}
        rest = ", ".join(operand._text for operand in operands)
        if name == "pow":
            return Expr(node, f"({self._text} ** {rest})")
        receiver = f"({self._text})" if self._text.startswith(("-", "~")) else self._text
        return Expr(node, f"{receiver}.{name}([{rest}])" if name == "is_in" else f"{receiver}.{name}({rest})")

    def columns(self) -> list[str]:
        """The names of the columns that it reads, each once, in order."""
        names: dict[str, None] = {}
        left = [self._node]
        while left:
            node = left.pop()
            if "col" in node:
                names[node["col"]] = None
            left.extend(reversed(node.get("args", ())))
        return list(names)

    def explain(self) -> None:
        """Prints the expression as it is read."""
        sys.stdout.write(f"{self._text}\n")

    def __bool__(self) -> NoReturn:
        """Refused: an expression has no truth value before there is a row.

        Raises:
            DefinitionTypeError: Always.
        """
        refuse(
            f"{self._text} is an expression and neither true nor false: "
            "instead of `and`, `or`, `not`, `in`, `if` and a < b < c, write & | ~, each side in parentheses, "
            "such as (col('a') > 0) & (col('b') < 9)"
        )

    def __contains__(self, value: object) -> NoReturn:
        """Refused: an expression has no values before there is a row.

        Raises:
            DefinitionTypeError: Always.
        """
        refuse(f"instead of `in` write {self._text}.is_in([...]), or .contains(...) of a text")


def col(name: str) -> Expr:
    """The column called `name`.

    Raises:
        DefinitionTypeError: `name` is not a text.
    """
    if not isinstance(name, str):
        refuse(f'col() takes the name of a column as a text, such as col("fare"), got {described(name)}')
    return Expr({"col": name}, f"col({name!r})")


def lit(value: Default) -> Expr:
    """A constant. Python values in an expression become constants by themselves.

    Args:
        value: An int within int64, float, str, bool, datetime (naive is UTC), date, Decimal, bytes or None, a
            member of an Enum for its value, or a list or a dict of these: beside a list, a map or a vector it
            is one, and JSON otherwise.

    Raises:
        DefinitionTypeError: It is something else.
        DefinitionValueError: It is an int outside int64, or a Decimal that is not finite.
    """
    if isinstance(value, (list, tuple, dict)):
        return Expr({"lit": default(value, "a constant")}, repr(value))
    constant, data_type = literal(value, "a constant")
    node = {"lit": constant} if data_type is None else {"lit": constant, "type": data_type}
    return Expr(node, repr(value))


_CONSTANTS = (bool, int, float, str, datetime, date, Decimal, bytes, Enum, list, tuple, dict, type(None))


def as_expr(value: Any) -> Expr:
    """An operand: an expression, or a constant.

    Raises:
        DefinitionTypeError: It is neither.
    """
    if isinstance(value, Expr):
        return value
    if isinstance(value, _CONSTANTS):
        return lit(value)
    refuse(
        f"{described(value)} cannot stand in an expression: expected col(...), another expression, "
        "or an int, float, str, bool, datetime, date, Decimal, bytes, list, dict or None"
    )


def _binary(op: str, sign: str, left: Any, right: Any) -> Expr:
    a, b = as_expr(left), as_expr(right)
    return Expr({"op": op, "args": [a._node, b._node]}, f"({a._text} {sign} {b._text})")


def _unary(op: str, sign: str, operand: Expr) -> Expr:
    return Expr({"op": op, "args": [operand._node]}, f"{sign}{operand._text}")
