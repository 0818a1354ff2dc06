"""What aggregates take besides a column, a window, a predicate and a default."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from thyme import ApproxPercentile, CountDistinct, ExpDecaySum, FirstK, LastK, Quantile, Sum, Variance


def test_parameters_are_in_the_document_with_their_defaults() -> None:
    document = Quantile(of="fare", q=0.95, window="7d").document("high")
    assert document["parameters"] == {"q": 0.95, "interpolation": "linear"}
    assert CountDistinct(of="card").document("cards")["parameters"] == {"exact": False}
    assert Variance(of="fare", kind="population").document("v")["parameters"] == {"kind": "population"}


def test_a_list_may_be_the_default() -> None:
    document = LastK(of="fare", k=2, default=[0.5, None]).document("last")
    assert document["default"] == [0.5, None]
    assert document["parameters"] == {"k": 2, "dedup": False, "dropnull": True}


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
