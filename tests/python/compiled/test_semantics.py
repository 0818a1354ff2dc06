"""Programs compute what Python computes: the cases in which other languages do not."""

from __future__ import annotations

import json
import math
import random
import struct
from datetime import datetime, timezone
from typing import Any

import pytest

from compiled.both_ways import Both, T, bits, run_both
from thyme import _thyme

UTC = timezone.utc
LATE = datetime(2026, 3, 15, 22, 30, 5, 7, tzinfo=UTC)
BIG = 2**63 - 1


def both(expression: str, *values: Any, body: str = "", kinds: str = "") -> Any:
    """What an expression of `a`, `b`, ... gives, the same both ways."""
    names = "abcdef"[: len(values)]
    types = kinds.split() or [type(value).__name__ if value is not None else "int" for value in values]
    head = "import math\nfrom datetime import timedelta\n"
    text = f"{head}def f(cls, ts, {', '.join(names)}):\n{body}    return {expression}\n"
    case = Both(text, dict(zip(names, types, strict=True)), ["y"])
    assert case.program is not None, case.reason
    (found,) = case.in_rust([values], [T])
    assert found is not None, f"{expression} is left to CPython"
    expected = case.in_cpython(values, T)
    assert not isinstance(expected, str), expected
    assert bits(found[0]) == bits(expected[0])
    return found[0]


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("a // b", (-7, 2), -4),
        ("a % b", (-7, 2), 1),
        ("a % b", (7, -2), -1),
        ("a % b", (-(2**63), -1), 0),
        ("a // b", (-7.5, 2), -4.0),
        ("a % b", (-7.5, 2), 0.5),
        ("a % b", (5.0, math.inf), 5.0),
        ("a % b", (-5.0, math.inf), math.inf),
        ("a / b", (7, 2), 3.5),
        ("a / b", (6, 3), 2.0),
        ("a ** 2", (-3,), 9),
        ("a ** -1", (2,), 0.5),
        ("a ** 0.5", (2.0,), 2**0.5),
        ("a ** 0", (math.nan,), 1.0),
        ("a + b", (True, True), 2),
        ("-a", (True,), -1),
        ("a & b", (True, False), False),
        ("a + b", ("x", "é"), "xé"),
        ("not a", ("",), True),
        ("a or b", (0, 2.5), 2.5),
        ("a or b", (0.0, 0), 0),
        ("a and b", (0.0, 7), 0.0),
        ("a and b", ("x", 7), 7),
        ("a < b < 10", (1, 5), True),
        ("a < b < 5", (1, 5), False),
        ("a == b", (1, True), True),
        ("a == b", ("1", 1), False),
        ("a == b", (2**53 + 1, float(2**53)), False),
        ("a > b", (2**53 + 1, float(2**53)), True),
        ("a < b", (BIG, 2.0**63), True),
        ("a == b", (math.nan, math.nan), False),
        ("a < b", (math.nan, 1), False),
        ("a in (1, 2.5)", (1.0,), True),
        ('a in ("gold", "silver")', ("silver",), True),
        ('"ol" in a', ("gold",), True),
        ("a in [1, None]", (3,), False),
        ("max(a, b)", (1, 1.0), 1),
        ("max(a, b)", (1.0, 1), 1.0),
        ("min(a, b)", (math.nan, 1.0), math.nan),
        ("min(a, b)", (1.0, math.nan), 1.0),
        ("round(a)", (2.5,), 2),
        ("round(a)", (-0.5,), 0),
        ("round(a, 2)", (2.675,), 2.67),
        ("round(a, 2)", (0.125,), 0.12),
        ("round(a, 1)", (0.25,), 0.2),
        ("round(a, 1)", (0.75,), 0.8),
        ("round(a, 0)", (2.5,), 2.0),
        ("round(a, 2)", (7,), 7),
        ("round(a, 2)", (math.inf,), math.inf),
        ("round(a, 300)", (5e-324,), 0.0),
        ("abs(a)", (-2.5,), 2.5),
        ("int(a)", (-2.9,), -2),
        ("float(a)", (2**53 + 1,), float(2**53)),
        ("str(a)", (True,), "True"),
        ("str(a)", (1e16,), "1e+16"),
        ("str(a)", (1e-5,), "1e-05"),
        ("str(a)", (123456.0,), "123456.0"),
        ("str(a)", (0.0001,), "0.0001"),
        ("str(a)", (math.nan,), "nan"),
        ('f"{a}:{b!s}-{c}"', (1, 2.5, None), "1:2.5-None"),
        ("max([a, b, 0])", (1, 2.5), 2.5),
        ("min((a, b))", ("x", "b"), "b"),
        ("any([a, b])", (0, ""), False),
        ("all((a, b))", (1, "x"), True),
        ("round(a, ndigits=1)", (2.25,), 2.2),
        ("len(a)", ("日本",), 2),
        ("a.upper()", ("abc",), "ABC"),
        ("a.strip()", (" \x1ca ",), "a"),
        ("math.floor(a)", (-0.5,), -1),
        ("math.log(a)", (10,), math.log(10)),
        ("isinstance(a, int)", (True,), True),
        ("ts.hour", (1,), 10),
        ("a.weekday()", (LATE,), 6),
        ("(ts - a).total_seconds()", (LATE,), -45005.000007),
        ("(ts - a).days", (LATE,), -1),
        ("ts - a > timedelta(hours=-13)", (LATE,), True),
        ("a + timedelta(days=2)", (LATE,), datetime(2026, 3, 17, 22, 30, 5, 7, tzinfo=UTC)),
        ("a.timestamp()", (LATE,), LATE.timestamp()),
        ("a if a is not None else -1", (5,), 5),
    ],
)
def test_an_expression_has_its_python_value(expression: str, values: tuple[Any, ...], expected: Any) -> None:
    assert bits(both(expression, *values)) == bits(expected)


def test_none_is_a_value_that_can_be_tested() -> None:
    body = "    if a is None:\n        return -1\n"
    assert both("a", None, body=body, kinds="int") == -1
    assert both("a is None or a > 3", None, kinds="int") is True
    assert both("a == 0", None, kinds="int") is False


def test_the_text_of_a_float_is_the_shortest_that_gives_it_again() -> None:
    chance = random.Random(3)
    floats = [2.0**power for power in range(-1074, 1024)]
    floats += [struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0] for _ in range(5000)]
    floats += [chance.uniform(-1e6, 1e6) for _ in range(2000)]
    floats += [chance.randint(-(10**6), 10**6) / 10 ** chance.randint(0, 6) for _ in range(2000)]
    case = Both("def f(cls, ts, a):\n    return str(a)\n", {"a": "float"}, ["y"])
    found = case.in_rust([(value,) for value in floats], [T] * len(floats))
    assert found == [(str(value),) for value in floats]


def test_rounding_is_that_of_the_exact_value() -> None:
    chance = random.Random(4)
    halves = [(chance.randint(-(10**6), 10**6) / 2 ** chance.randint(1, 20),) for _ in range(3000)]
    decimals = [(chance.randint(-(10**9), 10**9) / 10 ** chance.randint(1, 9),) for _ in range(3000)]
    near = [(value + chance.choice((-1e-6, -1e-9, 1e-9, 5e-7, 1e-6)),) for (value,) in halves]
    rows = halves + decimals + near
    for digits in (0, 1, 2, 3, 5, 9):
        case = Both(f"def f(cls, ts, a):\n    return round(a, {digits})\n", {"a": "float"}, ["y"])
        assert case.in_rust(rows, [T] * len(rows)) == [(round(value, digits) + 0.0,) for (value,) in rows]


def test_statements_run_in_order() -> None:
    body = (
        '    """What it is about."""\n'
        "    total: float = 0\n"
        "    low, high = 1, 10\n"
        "    if a > high:\n"
        "        a = high\n"
        "    elif a < low:\n"
        "        a = low\n"
        "    else:\n"
        "        pass\n"
        "    total += a\n"
        "    first = second = total * 2\n"
    )
    assert [both("first + second", value, body=body) for value in (50, -3, 4)] == [40, 4, 16]


@pytest.mark.parametrize(
    ("expression", "values", "error"),
    [
        ("a / b", (1, 0), "ZeroDivisionError: division by zero"),
        ("a / b", (1.0, 0), "ZeroDivisionError: float division by zero"),
        ("a % b", (1, 0), "ZeroDivisionError: integer"),
        ("a + b", (1, None), "TypeError: unsupported operand type(s) for +: 'int' and 'NoneType'"),
        ("a < b", (None, 1), "TypeError: '<' not supported between instances of 'NoneType' and 'int'"),
        ("max(a, b)", (None, 1), "TypeError: '>' not supported between instances of 'int' and 'NoneType'"),
        ("round(a)", (None,), "TypeError: type NoneType doesn't define __round__ method"),
        ("int(a)", (math.nan,), "ValueError: cannot convert float NaN to integer"),
        ("math.sqrt(a)", (-1.0,), "ValueError: math domain error"),
        ("a.hour", (1,), "AttributeError: 'int' object has no attribute 'hour'"),
    ],
)
def test_what_raises_is_left_to_cpython(expression: str, values: tuple[Any, ...], error: str) -> None:
    kinds = [type(value).__name__ if value is not None else "int" for value in values]
    names = "abcdef"[: len(values)]
    text = f"import math\ndef f(cls, ts, {', '.join(names)}):\n    return {expression}\n"
    case = Both(text, dict(zip(names, kinds, strict=True)), ["y"])
    assert case.in_rust([values], [T]) == [None]
    said = case.in_cpython(values, T)
    assert isinstance(said, str)
    assert error in said


@pytest.mark.parametrize(
    ("expression", "values"),
    [("a + 1", (BIG,)), ("-a", (-(2**63),)), ("a * a", (2**62,)), ("a ** 70", (2,)), ("a / 3", (2**60,))],
)
def test_ints_outside_int64_are_left_to_cpython(expression: str, values: tuple[Any, ...]) -> None:
    case = Both(f"def f(cls, ts, a):\n    return {expression} > 0\n", {"a": "int"}, ["y"])
    assert case.in_rust([values], [T]) == [None]
    assert not isinstance(case.in_cpython(values, T), str)


@pytest.mark.parametrize(
    "code",
    [
        [{"constant": 0}],
        [{"load": 0}],
        [{"jump": 0}],
        ["time", {"jump": 1}],
        ["time", {"jump": 3}],
        ["nothing"],
        [{"binary": "plus"}],
    ],
)
def test_what_is_no_program_is_refused(code: list[Any]) -> None:
    program = {"constants": [], "locals": 0, "code": code, "outputs": ["y"]}
    with pytest.raises(RuntimeError, match="a translated extractor"):
        _thyme.run_program(json.dumps(program), [], [T], [])


def test_no_program_does_harm() -> None:
    chance = random.Random(9)
    text = (
        "def f(cls, ts, a, b):\n"
        "    for x in (a, b or 2, {'k': 3}['k']):\n"
        "        a, b = max(x, a), f'{x}' if 1 < x <= 3 else len(str(ts.hour))\n"
        "    return a if b in (1, 'x') and not a else (a, -b)[0]\n"
    )
    case = Both(text, {"a": "int", "b": "float"}, ["y"])
    assert case.program is not None
    whole = json.loads(case.program)
    some = [
        *whole["code"],
        "item",
        "get",
        "pop",
        {"unpack": 2},
        {"fields": ["a"]},
        {"dict": ["y"]},
        {"tuple": 3},
    ]
    some += [
        {"lookup": ["D", ["k"]]},
        {"is_instance": ["int"]},
        {"call": ["concat", 2]},
        {"input": 7},
        "defer",
    ]
    ran = 0
    for _ in range(3000):
        code = list(whole["code"])
        for _ in range(chance.randint(1, 4)):
            code[chance.randrange(len(code))] = chance.choice(some)
        try:
            columns = [[3, 0, 2], [1.5, None, 0.0]]
            found, _ = run_both(json.dumps({**whole, "code": code}), case.types, [T] * 3, columns)
        except RuntimeError:
            continue  # a jump backwards
        assert all(row is None or len(row) == 1 for row in found)
        ran += 1
    assert ran > 1000
