"""Expressions and the documents they become."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pytest

from thyme import Expr, Scale, coalesce, col, concat, dot, haversine_km, lit, max_of, min_of, when
from thyme.errors import DefinitionTypeError, DefinitionValueError

A = {"col": "a"}
TWO = {"lit": 2, "type": "int"}


def call(op: str, *args: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args)}


@pytest.mark.parametrize(
    ("expr", "document"),
    [
        (col("a") + 2, call("add", A, TWO)),
        (2 + col("a"), call("add", TWO, A)),
        (col("a") - 2, call("sub", A, TWO)),
        (2 - col("a"), call("sub", TWO, A)),
        (col("a") * 2, call("mul", A, TWO)),
        (2 * col("a"), call("mul", TWO, A)),
        (col("a") / 2, call("div", A, TWO)),
        (2 / col("a"), call("div", TWO, A)),
        (col("a") // 2, call("floor_div", A, TWO)),
        (2 // col("a"), call("floor_div", TWO, A)),
        (col("a") % 2, call("mod", A, TWO)),
        (2 % col("a"), call("mod", TWO, A)),
        (-col("a"), call("neg", A)),
        (col("a") == 2, call("eq", A, TWO)),
        (col("a") != 2, call("ne", A, TWO)),
        (col("a") < 2, call("lt", A, TWO)),
        (3 < col("a"), call("gt", A, {"lit": 3, "type": "int"})),  # noqa: SIM300
        (col("a") <= 2, call("le", A, TWO)),
        (col("a") > 2, call("gt", A, TWO)),
        (col("a") >= 2, call("ge", A, TWO)),
        (col("a") & col("a"), call("and", A, A)),
        (True & col("a"), call("and", {"lit": True, "type": "bool"}, A)),
        (col("a") | False, call("or", A, {"lit": False, "type": "bool"})),
        (False | col("a"), call("or", {"lit": False, "type": "bool"}, A)),
        (~col("a"), call("not", A)),
        (col("a").is_null(), call("is_null", A)),
        (col("a").fill_null(2), call("fill_null", A, TWO)),
        (col("a") ** 2, call("pow", A, TWO)),
        (2 ** col("a"), call("pow", TWO, A)),
        (abs(col("a")), call("abs", A)),
        (round(col("a")), call("round", A)),
        (round(col("a"), 2), call("round", A, TWO)),
        (col("a").clip(high=2), call("clip", A, {"lit": None}, TWO)),
        (col("a").is_in([2, None]), call("is_in", A, TWO, {"lit": None})),
        (col("a").cast(float), call("cast", A, {"lit": "float", "type": "str"})),
        (col("a").cast("int"), call("cast", A, {"lit": "int", "type": "str"})),
        (col("a").cast(list[str]), call("cast", A, {"lit": "list[str]", "type": "str"})),
        (col("a").cast(Annotated[Decimal, Scale(2)]), call("cast", A, {"lit": "decimal(2)", "type": "str"})),
        (
            col("a").json_extract("b[0]", dtype=dict),
            call("json_extract", A, {"lit": "b[0]", "type": "str"}, {"lit": "json", "type": "str"}),
        ),
        (col("a").split(","), call("split", A, {"lit": ",", "type": "str"})),
        (coalesce(col("a"), [1, None]), call("coalesce", A, {"lit": [1, None]})),
        (dot(col("a"), [1.5]), call("dot", A, {"lit": [1.5]})),
        (col("a").hour(), call("hour", A)),
        (
            col("a").truncate("1d", "Asia/Kolkata"),
            call("truncate", A, {"lit": "1d", "type": "str"}, {"lit": "Asia/Kolkata", "type": "str"}),
        ),
        (min_of(col("a"), 2), call("min_of", A, TWO)),
        (max_of(col("a"), 2), call("max_of", A, TWO)),
        (coalesce(col("a"), 2), call("coalesce", A, TWO)),
        (when(col("a")).then(2), call("when", A, TWO, {"lit": None})),
        (
            when(col("a")).then(2).when(col("a") > 2).then(col("a")).otherwise(2),
            call("when", A, TWO, call("gt", A, TWO), A, TWO),
        ),
    ],
)
def test_operators(expr: Expr, document: dict[str, Any]) -> None:
    assert expr.document() == document


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, {"lit": None}),
        (True, {"lit": True, "type": "bool"}),
        (2**63 - 1, {"lit": 2**63 - 1, "type": "int"}),
        (-(2**63), {"lit": -(2**63), "type": "int"}),
        (2.0, {"lit": 2.0, "type": "float"}),
        (float("nan"), {"lit": "NaN", "type": "float"}),
        (float("inf"), {"lit": "Infinity", "type": "float"}),
        (float("-inf"), {"lit": "-Infinity", "type": "float"}),
        ("x", {"lit": "x", "type": "str"}),
        (datetime(2026, 3, 15, 10), {"lit": "2026-03-15T10:00:00Z", "type": "datetime"}),
        (
            datetime(2026, 3, 15, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))),
            {"lit": "2026-03-15T10:00:00.000005Z", "type": "datetime"},
        ),
    ],
)
def test_constants(value: Any, document: dict[str, Any]) -> None:
    assert lit(value).document() == document
    assert (col("a") == value).document()["args"][1] == document


def test_an_int_outside_int64_is_refused() -> None:
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(DefinitionValueError, match="outside int64"):
            col("a") + value


@pytest.mark.parametrize("value", [{1}, [object()], timedelta(1), object(), len, 1j])
def test_other_operands_are_refused(value: Any) -> None:
    with pytest.raises(DefinitionTypeError, match="cannot stand in an expression|expected an int, float"):
        col("a") > value
    with pytest.raises(DefinitionTypeError, match="expected an int, float, str, bool, datetime"):
        lit(value)


def test_an_expression_has_no_truth_value() -> None:
    for wrong in (
        lambda: col("a") > 0 and col("b") > 0,
        lambda: not col("a"),
        lambda: 0 < col("a") < 5,
        lambda: col("a") in [1, 2],
    ):
        with pytest.raises(DefinitionTypeError, match=r"write & \| ~") as caught:
            wrong()
        assert "test_expressions.py" in str(caught.value)


def test_col_takes_a_name() -> None:
    with pytest.raises(DefinitionTypeError, match=r"col\(\) takes the name of a column as a text"):
        col(3)


def test_it_reads_as_it_was_written() -> None:
    assert repr((col("a") > 0) & ~col("b").is_null()) == "((col('a') > 0) & ~col('b').is_null())"


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((-col("a")).abs(), "(-col('a')).abs()"),
        ((col("a") ** 2).round(1), "(col('a') ** 2).round(1)"),
        (col("a").is_in([1, 2]), "col('a').is_in([1, 2])"),
        (concat(col("a"), "-"), "concat(col('a'), '-')"),
        (when(col("a") > 1).then(2).otherwise(None), "when((col('a') > 1)).then(2).otherwise(None)"),
        (haversine_km(col("a"), 0, 0, 0), "haversine_km(col('a'), 0, 0, 0)"),
    ],
)
def test_explain_prints_what_is_read(expr: Expr, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    expr.explain()
    assert capsys.readouterr().out == text + "\n"


def test_what_is_no_expression_yet_is_refused() -> None:
    with pytest.raises(DefinitionTypeError, match=r"\.then"):
        when(col("a") > 1).document()
    with pytest.raises(DefinitionTypeError, match="is_in"):
        assert 1 in col("a")
    with pytest.raises(DefinitionTypeError, match="list of constants"):
        col("a").is_in("abc")
    for kind in (set, list, "lists", Decimal, int | None):
        with pytest.raises(DefinitionTypeError, match=r"cast\(\) takes a type such as int"):
            col("a").cast(kind)
    with pytest.raises(DefinitionValueError, match="not empty"):
        col("a").split("")
    with pytest.raises(DefinitionTypeError, match="one value"):
        min_of()
