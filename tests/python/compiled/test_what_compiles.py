"""What is translated and what is not, and the reason that is given."""

from __future__ import annotations

from typing import Any

import pytest

from compiled.both_ways import Both, T, bits


def reason(body: str, head: str = "", form: str = "positional") -> str:
    """Why an extractor of one input `a` is not translated."""
    parameters = "inputs" if form == "dict" else "a"
    text = f"{head}def f(cls, ts, {parameters}):\n{body}"
    case = Both(text, {"a": "int"}, ["y"], form)
    assert case.program is None
    return case.reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "    for x in range(a):\n        a += x\n    return a\n",
            "a `for` loop over a range that is not literal (line 2 of it)",
        ),
        (
            "    for x in range(101):\n        a += x\n    return a\n",
            "a `for` loop of more than 100 rounds, or over `*` (line 2 of it)",
        ),
        ("    x = 1\n    while a > x:\n        x += a\n    return x\n", "a `while` loop (line 3 of it)"),
        ("    try:\n        return a\n    finally:\n        a = 1\n", "`finally` (line 5 of it)"),
        (
            "    try:\n        return a\n    except ValueError:\n        print(a)\n",
            "a call of `print` (line 5 of it)",
        ),
        ("    return sum((a, 1))\n", "a call of `sum` (line 2 of it)"),
        ("    return [x for x in (1, a)][0]\n", "a comprehension (line 2 of it)"),
        ('    return f"{a:.2f}"\n', "an f-string with a format (line 2 of it)"),
        ("    return (lambda: a)()\n", "a call of `lambda: a` (line 2 of it)"),
        ("    return a << 2\n", "the operator `<<` (line 2 of it)"),
        ("    return a is a\n", "`is` with something else than None, True or False (line 2 of it)"),
        ("    return cls.__name__\n", "the attribute `cls.__name__` (line 2 of it)"),
        ("    return 9223372036854775808 - a\n", "an int outside int64 (line 2 of it)"),
        ("    return max((a,))\n", "a call of `max` with 1 arguments (line 2 of it)"),
        ("    return a.bit_length()\n", "a call of `a.bit_length` (line 2 of it)"),
        ("    print(a)\n    return a\n", "a call of `print` (line 2 of it)"),
    ],
)
def test_the_reason_names_the_construct_and_its_line(body: str, expected: str) -> None:
    assert reason(body) == expected


def test_a_name_of_the_module_hides_the_builtin() -> None:
    head = "def max(x, y):\n    return x if x > y else y * 10\n\n"
    case = Both(head + "def f(cls, ts, a):\n    return max(a, 3)\n", {"a": "int"}, ["y"])
    assert case.in_rust([(1,), (5,)], [T, T]) == [(30,), (5,)]
    assert (
        reason("    return min(a, 3)\n", "from heapq import nsmallest as min\n")
        == "a call of `min` (line 2 of it)"
    )


def test_functions_of_the_module_go_along() -> None:
    head = (
        "def clamp(x, low=0, high=10):\n"
        "    if x < low:\n"
        "        return low\n"
        "    return min(x, high)\n\n"
        "def twice(x):\n"
        "    x = clamp(x) * 2\n"
        "    return x\n\n"
    )
    case = Both(
        head + "def f(cls, ts, a):\n    return twice(a) + clamp(a, high=3) + a\n", {"a": "int"}, ["y"]
    )
    rows = [(value,) for value in (-5, 2, 7, 50)]
    assert (
        case.in_rust(rows, [T] * 4)
        == [case.in_cpython(row, T) for row in rows]
        == [(-5,), (8,), (24,), (73,)]
    )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("def g(x):\n    return g(x - 1) if x else 0\n\n", "the recursion of `g` (line 2 of what it uses)"),
        (
            "from functools import cache\n@cache\ndef g(x):\n    return x\n\n",
            "a call of `g` (line 2 of it)",
        ),
        ("def g(*x):\n    return x\n\n", "parameters with `*` (line 1 of what it uses)"),
        ("g = lambda x: x + 1\n\n", "`g`, a `lambda` (line 2 of it)"),
    ],
)
def test_functions_that_do_not_go_along_say_why(head: str, expected: str) -> None:
    assert reason("    return g(a)\n", head) == expected


def test_constants_of_the_module_go_along() -> None:
    head = 'RATE = 0.5\nTIERS = {"gold": 3, "silver": 2, None: 0}\nODD = {1, 3, 5}\nLIMITS = (1, (2, 3))\n'
    text = f"{head}def f(cls, ts, a, b):\n    return TIERS.get(a, 1) * RATE + TIERS['gold'] + LIMITS[1][-1] + (b in ODD)\n"
    case = Both(text, {"a": "str", "b": "int"}, ["y"])
    rows: list[tuple[Any, ...]] = [("gold", 1), ("iron", 2), (None, 3)]
    assert case.in_rust(rows, [T] * 3) == [(8.5,), (6.5,), (7.0,)]
    assert [case.in_cpython(row, T) for row in rows] == [(8.5,), (6.5,), (7.0,)]


def test_inputs_may_come_as_a_dict() -> None:
    text = (
        "def f(cls, ts, inputs):\n"
        '    if "none" in inputs or inputs.get("none") is not None:\n'
        "        return 0, 0\n"
        '    return inputs["a"] + 1, inputs.get("b", 5)\n'
    )
    case = Both(text, {"a": "int", "b": "float"}, ["y", "z"], "dict")
    rows: list[tuple[Any, ...]] = [(1, 2.5), (2, None)]
    assert case.in_rust(rows, [T] * 2) == [(2, 2.5), (3, None)] == [case.in_cpython(row, T) for row in rows]
    assert (
        reason('    return inputs["x"]\n', form="dict") == '`"x"`, which is none of its inputs (line 2 of it)'
    )
    assert reason("    return len(inputs)\n", form="dict") == "`inputs` by itself (line 2 of it)"


@pytest.mark.parametrize(
    ("result", "expected"),
    [("a, 2.5", (7, 2.5)), ('{"z": a, "y": None}', (None, 7)), ("(lambda: 1) and (a, 1)", None)],
)
def test_several_outputs_come_as_a_tuple_or_a_dict(result: str, expected: Any) -> None:
    case = Both(f"def f(cls, ts, a):\n    return {result}\n", {"a": "int"}, ["y", "z"])
    if expected is None:
        assert case.program is None
        return
    assert case.in_rust([(7,)], [T]) == [expected] == [case.in_cpython((7,), T)]


@pytest.mark.parametrize("result", ["a", "(a, 1, 2)", '{"y": 1}', "a.hour, 1", "{}", "None", '("y", (1, 2))'])
def test_another_shape_is_left_to_cpython_which_refuses_it(result: str) -> None:
    case = Both(f"def f(cls, ts, a):\n    return {result}\n", {"a": "int"}, ["y", "z"])
    assert case.in_rust([(7,)], [T]) == [None]


def test_what_is_raised_on_purpose_goes_along() -> None:
    text = 'def f(cls, ts, a):\n    assert a != 3, "three"\n    if a < 0:\n        raise ValueError(f"{a}")\n    return a\n'
    case = Both(text, {"a": "int"}, ["y"])
    assert case.in_rust([(1,), (3,), (-1,)], [T] * 3) == [(1,), None, None]
    assert "ValueError: -1" in str(case.in_cpython((-1,), T))


def test_what_is_caught_is_left_to_cpython_where_it_is_raised() -> None:
    body = "    try:\n        y = 6 / a\n    except ZeroDivisionError as e:\n        return -1.0\n    else:\n        y += 1\n"
    case = Both(f"def f(cls, ts, a):\n{body}    return y\n", {"a": "int"}, ["y"])
    assert case.in_rust([(3,), (0,)], [T] * 2) == [(3.0,), None]
    assert case.in_cpython((0,), T) == (-1.0,)


def test_loops_over_literals_are_written_out() -> None:
    text = (
        "def f(cls, ts, a, b):\n"
        "    total = 0\n"
        "    for x in (a, b, a * b):\n"
        "        if x is None:\n"
        "            break\n"
        "        if x < 0:\n"
        "            continue\n"
        "        for n in range(2):\n"
        "            total += x + n\n"
        "    else:\n"
        "        total += 1000\n"
        "    for _ in ():\n"
        "        total = None\n"
        "    return total\n"
    )
    case = Both(text, {"a": "int", "b": "int"}, ["y"])
    rows: list[tuple[Any, ...]] = [(1, 2), (-1, 2), (-3, -4)]
    found = case.in_rust(rows, [T] * 3)
    assert found == [(1013,), (1005,), (1025,)] == [case.in_cpython(row, T) for row in rows]


def test_any_and_all_over_literals_are_written_out() -> None:
    text = (
        "def f(cls, ts, a, b, x):\n"
        "    if any(x is None for x in (a, b)):\n"
        "        return x\n"
        "    big = all(x > 1 for x in [a, b, 6 / a] if x != 5)\n"
        "    return (big + x) * 10 + (not any(y < 0 for y in ()))\n"
    )
    case = Both(text, {"a": "int", "b": "int", "x": "int"}, ["y"])
    rows: list[tuple[Any, ...]] = [(None, 2, 7), (2, 3, 4), (2, 5, 4), (6, 3, 4), (0, 3, 4)]
    found = case.in_rust(rows, [T] * 5)
    assert found == [(7,), (51,), (51,), (41,), None]
    assert found[:4] == [case.in_cpython(row, T) for row in rows[:4]]
    said = reason("    return any(x for x in range(a))\n")
    assert said == "a generator over something else than a literal tuple or list (line 2 of it)"


def test_a_default_that_is_a_constant_is_taken() -> None:
    case = Both("def f(cls, ts, a, k=2.5):\n    return a * k\n", {"a": "int"}, ["y"])
    assert list(map(bits, case.in_rust([(2,)], [T])[0] or ())) == [bits(5.0)]


def test_a_text_that_becomes_too_long_is_left() -> None:
    functions = ["def g0(x):\n    return x + 1\n"]
    functions += [f"def g{n}(x):\n    return g{n - 1}(x) + g{n - 1}(x + 1)\n" for n in range(1, 15)]
    found = reason("    return g14(a)\n", "\n".join(functions) + "\n")
    assert found.startswith("a text that becomes too long with the functions it calls")
