"""Two datasets that derive from one event, and features of both with look-ups of their own."""

from __future__ import annotations

from datetime import datetime, timedelta

from thyme import (
    Count,
    Last,
    Sum,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    inputs,
    pipeline,
)


@dataset(index=True)
class Sale:
    shop: str = field(key=True)
    number: int
    amount: float
    at: datetime = field(timestamp=True)


@dataset
class SaleCounts:
    shop: str = field(key=True)
    at: datetime = field(timestamp=True)
    n: int
    n_1s: int

    @pipeline(version=1)
    @inputs(Sale)
    def compute(cls, sales):  # type: ignore[no-untyped-def]
        return sales.groupby("shop").aggregate(n=Count(), n_1s=Count(window="1s"))


@dataset
class SaleTotals:
    shop: str = field(key=True)
    at: datetime = field(timestamp=True)
    count: int
    total: float
    last: int | None

    @pipeline(version=1)
    @inputs(Sale)
    def compute(cls, sales):  # type: ignore[no-untyped-def]
        return sales.groupby("shop").aggregate(
            count=Count(), total=Sum(of="amount"), last=Last(of="number", window="2s")
        )


@featureset
class SaleFeatures:
    shop: str = feature(id=1)
    n: int = feature(id=2, ref=SaleCounts.n)
    n_1s: int = feature(id=3, ref=SaleCounts.n_1s)
    count: int = feature(id=4, ref=SaleTotals.count)
    total: float = feature(id=5, ref=SaleTotals.total)
    last: int | None = feature(id=6, ref=SaleTotals.last)
    n_looked_up: int = feature(id=7)
    n_before: int = feature(id=8)
    newest: int | None = feature(id=9)

    @extractor(deps=[SaleCounts, Sale])
    @extractor_inputs("shop")
    @extractor_outputs("n_looked_up", "n_before", "newest")
    def looked_up(cls, ts, shop):  # type: ignore[no-untyped-def]
        before = SaleCounts.lookup(ts - timedelta(milliseconds=300), shop=shop)["n"]
        return SaleCounts.lookup(ts, shop=shop)["n"], before, Sale.lookup(ts, shop=shop)["number"]


DEFINITIONS = [Sale, SaleCounts, SaleTotals, SaleFeatures]
SHOPS = ["a", "b", "c"]
