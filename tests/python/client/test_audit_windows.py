"""`explain` and `verify` of windows that are not the span before T."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

import thyme
from thyme import Count, Rows, Session, Sliding, Sum, Tumbling, col, dataset, field, inputs, pipeline
from thyme._local import LocalClient


@dataset(index=True)
class WindowsSale:
    shop: str = field(key=True)
    amount: int | None
    at: datetime = field(timestamp=True)


@dataset
class WindowsShop:
    shop: str = field(key=True)
    at: datetime = field(timestamp=True)
    session: int
    rows: int
    yesterday: int
    before: int
    last_two: int

    @pipeline
    @inputs(WindowsSale)
    def compute(cls, sales: Any) -> Any:
        return sales.groupby("shop").aggregate(
            session=Sum(of="amount", where=col("amount") > 5, window=Session(gap="30m")),
            rows=Sum(of="amount", where=col("amount") > 5, window=Rows(3)),
            yesterday=Sum(of="amount", window=Tumbling("1d", tz="Europe/London", lookback=1)),
            before=Count(window=Sliding("1h", offset="1h")),
            last_two=Sum(of="amount", window=Rows(2, offset="1d")),
        )


SALES = [
    (1, "2026-03-28T23:59:59.999999Z"),
    (10, "2026-03-29T00:00:00Z"),
    (20, "2026-03-29T22:59:59.999999Z"),
    (40, "2026-03-29T23:00:00Z"),
    (100, "2026-03-30T10:00:00Z"),
    (3, "2026-03-30T10:20:00Z"),
    (200, "2026-03-30T10:50:00Z"),
    (None, "2026-03-30T11:00:00Z"),
    (400, "2026-03-30T12:00:00Z"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[LocalClient]:
    with thyme.local(clock="event") as opened:
        opened.commit([WindowsSale, WindowsShop])
        opened.log(WindowsSale, [{"shop": "s", "amount": amount, "at": time} for amount, time in SALES])
        yield opened


@pytest.mark.parametrize(
    ("output", "time", "value", "counted", "left_out"),
    [
        # 3 keeps the session together, though it does not count itself.
        (
            "session",
            "2026-03-30T11:05:00Z",
            300,
            [200, 100],
            {"before_window": 4, "where": 2, "after_time": 1},
        ),
        ("rows", "2026-03-30T11:05:00Z", 200, [200], {"before_window": 5, "where": 2, "after_time": 1}),
        (
            "yesterday",
            "2026-03-30T11:05:00Z",
            30,
            [20, 10],
            {"before_window": 1, "after_window": 5, "after_time": 1},
        ),
        (
            "before",
            "2026-03-30T12:00:00Z",
            3,
            [None, 200, 3],
            {"before_window": 5, "after_window": 1},
        ),
        ("last_two", "2026-03-30T22:59:59.999999Z", 30, [20, 10], {"before_window": 1, "after_window": 6}),
    ],
)
def test_each_event_is_in_the_window_or_left_out_of_it(
    client: LocalClient, output: str, time: str, value: int, counted: list[Any], left_out: dict[str, int]
) -> None:
    explained = client.explain(f"WindowsShop.{output}", "s", time)
    assert explained["value"] == value
    assert explained["recomputed"]["same"] is True
    assert [event["fields"]["amount"] for event in explained["events"]["shown"]] == counted
    assert {group["reason"]: group["total"] for group in explained["left_out"]} == left_out


def test_what_is_served_is_what_the_log_says(client: LocalClient) -> None:
    report = client.verify(WindowsShop, sample=100)
    assert report["checked"] > 400
    assert report["different"] == 0
