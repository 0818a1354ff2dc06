"""`@pipeline`, `@inputs`, the builder and the aggregates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from definition_texts import HEADER, RIDES

from thyme import Avg, Count, First, Last, Max, Min, Sum, col, inputs, pipeline
from thyme._pipeline import Stream
from thyme.errors import DefinitionError, DefinitionTypeError, DefinitionValueError

Refused = Callable[..., DefinitionError]
Document = Callable[..., dict[str, Any]]

RAW = RIDES.split("@dataset\nclass DriverStats")[0]


def stats(body: str, fields: str = "n: int") -> str:
    """A derived dataset whose pipeline has this body."""
    return f"""
{RAW}
@dataset
class Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    {fields}

    @pipeline
    @inputs(Ride)
    def compute(cls, rides):
        {body}
"""


def test_operators_in_the_order_they_are_written(document_of: Document) -> None:
    text = stats(
        'return rides.assign(total=col("fare") + col("tip"), one=1).filter(col("total") > 5)'
        '.groupby("driver").aggregate(n=Count(where=col("one") == 1, default=7))'
    )
    operators = document_of(text)["datasets"][1]["pipelines"][0]["operators"]
    total = {"op": "add", "args": [{"col": "fare"}, {"col": "tip"}]}
    del operators[-1]["aggregates"][0]["at"]
    assert operators == [
        {
            "op": "assign",
            "columns": [{"name": "total", "expr": total}, {"name": "one", "expr": {"lit": 1, "type": "int"}}],
        },
        {"op": "filter", "expr": {"op": "gt", "args": [{"col": "total"}, {"lit": 5, "type": "int"}]}},
        {"op": "groupby", "keys": ["driver"]},
        {
            "op": "aggregate",
            "aggregates": [
                {
                    "name": "n",
                    "function": "count",
                    "where": {"op": "eq", "args": [{"col": "one"}, {"lit": 1, "type": "int"}]},
                    "default": 7,
                }
            ],
        },
    ]


def test_grouping_may_come_before_filters_and_assigns(document_of: Document) -> None:
    last = 'return rides.filter(col("fare") > 0).assign(x=1).groupby("driver").aggregate(n=Count())'
    first = 'return rides.groupby("driver").filter(col("fare") > 0).assign(x=1).aggregate(n=Count())'
    one, other = (
        document_of(stats(text))["datasets"][1]["pipelines"][0]["operators"] for text in (last, first)
    )
    assert [operator["op"] for operator in other] == ["filter", "assign", "groupby", "aggregate"]
    assert one == other


def test_a_grouped_column_is_not_replaced(refused: Refused) -> None:
    error = refused(stats('return rides.groupby("driver").assign(driver="x").aggregate(n=Count())'))
    assert isinstance(error, DefinitionValueError)
    assert ".assign() replaces driver after .groupby() has grouped by it" in str(error)


def test_streams_are_values() -> None:
    rides = Stream("Ride")
    assert rides.filter(col("a"))._operators != rides._operators == ()


def test_aggregates_become_their_registered_names() -> None:
    names = [kind(of="x").document("o")["function"] for kind in (Count, Sum, Avg, Min, Max, First, Last)]
    assert names == ["count", "sum", "avg", "min", "max", "first", "last"]
    assert {"of", "window", "where", "default"}.isdisjoint(Count(window="").document("n"))


def test_pipelines_either_way_round_and_with_keywords(document_of: Document) -> None:
    text = stats('return rides.groupby("driver").aggregate(n=Count())')
    swapped = text.replace(
        "    @pipeline\n    @inputs(Ride)", '    @inputs(Ride)\n    @pipeline(version=4, owner="me")'
    )
    written = document_of(swapped)["datasets"][1]["pipelines"][0]
    assert (written["version"], written["meta"]) == (4, {"owner": "me"})


JOINED = """
@dataset
class Driver:
    bank: int = field(key=True)
    driver: str = field(key=True)
    city: str
    at: datetime = field(timestamp=True)


"""


def test_a_join_names_its_columns_and_brings_its_dataset(document_of: Document) -> None:
    text = """return (
            rides.join(
                Driver, left_on=["driver", "no"], right_on=["driver", "bank"], fields={"home": "city"}, within="1d"
            )
            .groupby("driver").aggregate(n=Count())
        )"""
    body = stats(text.replace("rides.join", "rides.assign(no=1).join"))
    document = document_of(body.replace("\n@dataset", JOINED + "@dataset", 1))
    assert {dataset["name"] for dataset in document["datasets"][:2]} == {"Ride", "Driver"}
    pipeline = document["datasets"][-1]["pipelines"][0]
    assert pipeline["inputs"] == ["Ride"]
    join = pipeline["operators"][1]
    assert join.pop("at")["line"] > 0
    assert join == {
        "op": "join",
        "dataset": "Driver",
        "left_on": ["driver", "no"],
        "right_on": ["driver", "bank"],
        "fields": [{"name": "home", "field": "city"}],
        "within": "1d",
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("rides.groupby('driver')", "Stats.compute: it must return its stream"),
        ("pass", "got None; did you forget `return`?"),
        ("return rides.filter(lambda df: df)", ".filter() with a function is not supported yet"),
        (
            "import polars as pl; return rides.filter(pl.col('fare') > 0)",
            "polars expression is not supported yet",
        ),
        ("return rides.filter(True)", ".filter() takes an expression such as col("),
        ("return rides.filter('fare > 0')", "got 'fare > 0' (str)"),
        ("return rides.assign(col('fare'))", ".assign() takes columns by name"),
        ("return rides.assign(x={1})", "an object of type set cannot stand in an expression"),
        ("return rides.assign(x=len)", ".assign() with a function is not supported yet"),
        ("return rides.transform(len)", ".transform() is not supported yet"),
        ("return rides.join('Tip', on='driver', fields=['tip'])", ".join() takes a dataset, a class"),
        ("return rides.join(Ride, 'driver', ['tip'])", ".join() takes the rest by name"),
        ("return rides.join(Ride, fields=['tip'])", ".join(Ride) needs the column to join on, such as on="),
        ("return rides.join(Ride, left_on='driver', fields=['tip'])", "needs the column to join on"),
        ("return rides.join(Ride, on='driver', left_on='driver', fields=['tip'])", "not both"),
        ("return rides.join(Ride, on=Ride.driver, fields=['tip'])", 'write its name as a text: "driver"'),
        ("return rides.join(Ride, on='driver', fields='tip')", ".join(fields=) takes a list of names"),
        ("return rides.join(Ride, on='driver', fields=[Ride.tip])", 'write its name as a text: "tip"'),
        ("return rides.join(Ride, on='driver', fields=['tip'], within=3)", ".join(within=) takes a duration"),
        ("return rides.groupby(['driver'])", ".groupby() takes names as texts"),
        ("return rides.groupby(Ride.driver)", 'write its name as a text: "driver"'),
        ("return rides.aggregate([Count()])", ".aggregate() takes its outputs by name"),
        ("return rides.aggregate(n=Count)", "got the class Count; call it: Count(...)"),
        ("return rides.aggregate(n=3)", ".aggregate(n=) takes an aggregate"),
        ("return rides.aggregate(n=Count(window=3600))", "Count(window=) takes a duration as a text"),
        (
            'return rides.aggregate(n=Sum("fare"))',
            'Sum() takes keywords only, such as Sum(of="fare", window="1h")',
        ),
        ("return rides.aggregate(n=Count(where='fare > 0'))", "Count(where=) takes an expression"),
        ("return rides.aggregate(n=Sum(of=Ride.fare))", 'write its name as a text: "fare"'),
        ("return rides.aggregate(n=Count(default=set()))", "Count(default=): expected an int"),
    ],
)
def test_what_never_reaches_the_document(refused: Refused, body: str, says: str) -> None:
    error = refused(stats(body))
    assert isinstance(error, DefinitionTypeError)
    assert says in str(error)
    assert "Stats.compute" in str(error)
    assert "features.py:" in str(error)


@pytest.mark.parametrize("window", ["7 days", "1.5h", "-1h", "0h", "h", "1y", "1H"])
def test_bad_windows_are_value_errors_with_their_line(refused: Refused, window: str) -> None:
    error = refused(stats(f'return rides.groupby("driver").aggregate(n=Count(window="{window}"))'))
    assert isinstance(error, DefinitionValueError)
    assert f'Stats.compute.n: Count(window=): "{window}" is not a duration' in str(error)
    assert error.found[0].line == 25


@pytest.mark.parametrize(
    ("body", "fields", "says"),
    [
        ('return rides.groupby("driver").aggregate(n=Sum())', "n: int", "sum"),
        ('return rides.groupby("driver").aggregate(n=Sum(of="fair"))', "n: float", "did you mean fare?"),
        ('return rides.groupby("driver").aggregate(n=Sum(of="fare"))', "n: int", "n is declared int"),
        ('return rides.groupby("driver").aggregate(m=Count())', "n: int", "n has no aggregate"),
        ("return rides.aggregate(n=Count())", "n: int", "expected"),
        (
            'return rides.filter(col("fare") + 1).groupby("driver").aggregate(n=Count())',
            "n: int",
            "expected a bool",
        ),
    ],
)
def test_the_engine_judges_pipelines(refused: Refused, body: str, fields: str, says: str) -> None:
    error = refused(stats(body, fields))
    assert says in str(error)
    assert "Stats.compute" in str(error)
    assert "features.py:" in str(error)


def test_a_pipeline_takes_a_parameter_for_each_input(refused: Refused) -> None:
    text = stats("return rides").replace("(cls, rides)", "(rides)")
    assert "compute(cls, ride), got compute(rides)" in str(refused(text))


def test_a_pipeline_names_its_inputs(refused: Refused) -> None:
    text = stats("return rides")
    assert "put @inputs(SomeDataset) below @pipeline" in str(refused(text.replace("    @inputs(Ride)\n", "")))
    assert "put @pipeline above @inputs" in str(refused(text.replace("    @pipeline\n", "")))


def test_misuse_of_the_decorators() -> None:
    with pytest.raises(DefinitionTypeError, match="@inputs takes datasets.*got the class int"):
        inputs(int)
    with pytest.raises(DefinitionTypeError, match="@inputs takes datasets.*got 'Ride'"):
        inputs("Ride")
    with pytest.raises(DefinitionTypeError, match="@pipeline decorates a method, got 3"):
        pipeline(3)
    with pytest.raises(DefinitionTypeError, match="takes a positive integer"):
        pipeline(version="1")
    with pytest.warns(FutureWarning, match="@pipeline does not know the keyword vresion="):
        pipeline(vresion=2)
    with pytest.warns(FutureWarning, match=r"Count\(\) does not know the keyword windwo="):
        Count(windwo="1h")


def test_a_polars_function_is_not_taken_for_an_expression() -> None:
    with pytest.raises(DefinitionTypeError, match="not supported yet"):
        Stream("Ride").filter(lambda frame: frame.filter(pl.col("x") > 0))


def test_an_exception_of_the_users_code_passes_through(refused: Refused, imported: Any) -> None:

    with pytest.raises(NameError, match="fare"):
        imported(HEADER, stats("return rides.filter(fare > 0)"))
