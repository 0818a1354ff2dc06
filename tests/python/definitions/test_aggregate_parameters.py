"""What aggregates take besides a column, a window, a predicate and a default."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from thyme import (
    ApproxPercentile,
    CountBy,
    CountDistinct,
    Distinct,
    ExpDecaySum,
    FirstK,
    Histogram,
    LastK,
    MostFrequent,
    Quantile,
    Sum,
    TopK,
    Variance,
)


def test_parameters_are_in_the_document_with_their_defaults() -> None:
    document = Quantile(of="fare", q=0.95, window="7d").document("high")
    assert document["parameters"] == {"q": 0.95, "interpolation": "linear"}
    assert CountDistinct(of="card").document("cards")["parameters"] == {"exact": False}
    assert Variance(of="fare", kind="population").document("v")["parameters"] == {"kind": "population"}


def test_a_list_may_be_the_default() -> None:
    document = LastK(of="fare", k=2, default=[0.5, None]).document("last")
    assert document["default"] == [0.5, None]
    assert document["parameters"] == {"k": 2, "dedup": False, "dropnull": True}


def test_columns_and_edges_are_parameters() -> None:
    assert TopK(of="name", by="fare", k=2).document("top")["parameters"] == {"k": 2, "by": "fare"}
    assert TopK(of="fare", k=2).document("top")["parameters"] == {"k": 2}
    by_city = CountBy(key_column="city").document("cities")
    assert "of" not in by_city
    assert by_city["parameters"] == {"key_column": "city", "limit": 1000}
    assert Histogram(of="fare", bins=(0, 10)).document("h")["parameters"] == {"bins": [0.0, 10.0]}


def test_what_is_not_said_is_not_in_the_document() -> None:
    assert "parameters" not in Sum(of="fare").document("total")
    assert "parameters" not in ApproxPercentile(of="fare").document("rank")
    assert ApproxPercentile(of="fare", pct=99).document("p99")["parameters"] == {"pct": 99}


def test_signatures_name_the_parameters() -> None:
    parameters = inspect.signature(Quantile).parameters
    assert list(parameters) == ["of", "window", "where", "default", "q", "interpolation"]
    assert parameters["q"].default is inspect.Parameter.empty
    assert parameters["interpolation"].default == "linear"
    assert list(inspect.signature(Sum).parameters) == ["of", "window", "where", "default"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Quantile(of="fare"), "Quantile() needs q="),
        (lambda: ExpDecaySum(of="fare"), "ExpDecaySum() needs half_life="),
        (lambda: LastK(of="fare"), "LastK() needs k="),
        (lambda: LastK(of="fare", k=0), "LastK(k=) takes an integer from 1 to 1000, got 0"),
        (lambda: FirstK(of="fare", k=True), "FirstK(k=) takes an integer from 1 to 1000, got True"),
        (lambda: FirstK(of="fare", k=2, dedup=1), "FirstK(dedup=) takes True or False, got 1"),
        (lambda: TopK(of="fare", k=1.5), "TopK(k=) takes an integer from 1 to 1000, got 1.5"),
        (lambda: TopK(of="fare", k=1, by=3), "TopK(by=)"),
        (lambda: CountBy(), "CountBy() needs key_column="),
        (lambda: Distinct(of="city", limit=10_001), "Distinct(limit=) takes an integer from 1 to 10000"),
        (lambda: MostFrequent(of="city"), "MostFrequent() needs k="),
        (lambda: Histogram(of="fare"), "Histogram() needs bins="),
        (lambda: Histogram(of="fare", bins=[]), "Histogram(bins=) takes a list of 1 to 1000 numbers"),
        (lambda: Histogram(of="fare", bins=[0.0, float("nan")]), "Histogram(bins=) takes finite numbers"),
        (lambda: Histogram(of="fare", bins=[1, 0]), "ascending order, got 0.0 after 1.0"),
        (lambda: Quantile(of="fare", q=[0.5]), "Quantile(q=) takes a number, a text, or True or False"),
    ],
)
def test_a_parameter_that_is_missing_or_of_no_type_is_refused_where_it_is_written(
    make: Any, says: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        make()
    assert says in str(refused.value)


def test_a_keyword_that_is_no_parameter_is_warned_of() -> None:
    with pytest.warns(FutureWarning, match=r"Variance\(\) does not know the keyword knid="):
        Variance(of="fare", knid="sample")  # type: ignore[call-arg]
