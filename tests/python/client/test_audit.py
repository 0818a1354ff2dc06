"""`explain` and `verify` in this process, with extractors and joins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

import thyme
from client.rides import ClientFeatures, ClientRide, ClientStats
from thyme import Count, Sum, col, dataset, feature, featureset, field, inputs, pipeline
from thyme._local import LocalClient
from thyme.errors import InvalidDataError, NotFoundError


@dataset(index=True, max_lateness="1h")
class AuditOrder:
    shop: str = field(key=True)
    user: str
    amount: float | None
    at: datetime = field(timestamp=True)


@dataset(index=True)
class AuditUser:
    user: str = field(key=True)
    city: str
    since: datetime = field(timestamp=True)


@dataset
class AuditShop:
    shop: str = field(key=True)
    at: datetime = field(timestamp=True)
    orders: int
    big_1h: float

    @pipeline(version=3)
    @inputs(AuditOrder)
    def compute(cls, orders: Any) -> Any:
        return (
            orders.filter(col("user") != "tester")
            .groupby("shop")
            .aggregate(orders=Count(), big_1h=Sum(of="amount", window="1h", where=col("amount") > 5))
        )


@dataset
class AuditCity:
    city: str = field(key=True)
    at: datetime = field(timestamp=True)
    orders: int

    @pipeline(version=1)
    @inputs(AuditOrder)
    def compute(cls, orders: Any) -> Any:
        joined = orders.join(AuditUser, on="user", fields=["city"])
        return joined.groupby("city").aggregate(orders=Count())


@featureset
class AuditFeatures:
    shop: str = feature(id=1)
    big: float = feature(id=2, ref=AuditShop.big_1h)


ORDERS = [
    ("s1", "ann", 10.0, "10:00"),
    ("s1", "bob", 3.0, "10:10"),
    ("s1", "tester", 99.0, "10:20"),
    ("s1", "ann", None, "10:25"),
    ("s1", "bob", 20.0, "10:30"),
    ("s1", "eve", 7.0, "09:00"),
    ("s1", "eve", 8.0, "12:00"),
    ("s2", "ann", math.nan, "12:01"),
    ("s1", "eve", 9.0, "10:31"),
]


def at(clock: str) -> str:
    return f"2026-03-15T{clock}:00Z"


@pytest.fixture(scope="module")
def client() -> Iterator[LocalClient]:
    with thyme.local() as opened:
        classes = [AuditOrder, AuditUser, AuditShop, AuditCity, AuditFeatures]
        opened.commit([*classes, ClientRide, ClientStats, ClientFeatures])
        for shop, user, amount, clock in ORDERS:
            opened.log(AuditOrder, [{"shop": shop, "user": user, "amount": amount, "at": at(clock)}])
        users = [("ann", "Rome", "08:00"), ("bob", "Oslo", "08:00"), ("ann", "Oslo", "10:20")]
        opened.log(AuditUser, [{"user": u, "city": c, "since": at(t)} for u, c, t in users])
        opened.log(ClientRide, [{"driver": "d", "fare": 1.5, "seats": 1, "at": at("10:00")}])
        yield opened


def test_every_event_counts_or_is_left_out_for_a_reason(client: LocalClient) -> None:
    explained = client.explain(AuditFeatures.big, "s1", at("10:59"))
    assert explained["value"] == 30.0
    assert explained["recomputed"] == {"served": 30.0, "value": 30.0, "same": True}
    definition = explained["definition"]
    assert (definition["after"], definition["until"]) == (at("09:59"), at("10:59"))
    assert definition["pipeline_version"] == 3
    assert [event["fields"]["amount"] for event in explained["events"]["shown"]] == [20.0, 10.0]
    left_out = {
        group["reason"]: [e["fields"]["amount"] for e in group["shown"]] for group in explained["left_out"]
    }
    assert left_out == {
        "late": [9.0, 7.0],
        "filtered": [99.0],
        "where": [None, 3.0],
        "after_time": [8.0],
    }
    assert explained["events_of_entity"] == 8


def test_a_bound_counts_once(client: LocalClient) -> None:
    # 10:00 is the open end of the window that ends at 11:00.
    assert client.explain("AuditShop.big_1h", "s1", at("11:00"))["value"] == 20.0
    assert client.explain("AuditShop.big_1h", "s1", "2026-03-15T10:59:59.999999Z")["value"] == 30.0


def test_what_came_after_the_position_is_said(client: LocalClient) -> None:
    first = client.explain("AuditShop.orders", "s1", at("12:00"), limit=1)
    position = first["events"]["shown"][0]["position"]
    before = f"e{int(position[1:].split('.')[0]) - 1}"
    then = client.explain("AuditShop.orders", "s1", at("12:00"), position=before)
    assert then["value"] == first["value"] - 1
    assert then["as_of"]["position"] == before
    reasons = {group["reason"]: group["total"] for group in then["left_out"]}
    assert reasons["after_position"] == 2
    assert then["recomputed"]["same"] is True


def test_joined_events_are_those_of_the_time(client: LocalClient) -> None:
    rome = client.explain("AuditCity.orders", "Rome", at("12:00"))
    oslo = client.explain("AuditCity.orders", "Oslo", at("12:00"))
    assert (rome["value"], oslo["value"]) == (1, 3)
    assert rome["recomputed"]["same"]
    assert oslo["recomputed"]["same"]
    assert [event["fields"]["amount"] for event in oslo["events"]["shown"]] == [20.0, None, 3.0]


def test_an_extractor_is_explained_by_its_inputs(client: LocalClient) -> None:
    explained = client.explain(ClientFeatures.score, "d", at("10:30"), inputs={"hour": 23})
    assert (explained["value"], explained["origin"]) == (2.0, "extractor")
    assert explained["extractor"]["name"] == "ClientFeatures.scored"
    rides, hour = explained["inputs"]
    assert (rides["value"], rides["recomputed"]["same"], rides["events"]["total"]) == (1, True, 1)
    assert (hour["value"], hour["origin"]) == (23, "request")
    assert client.explain(ClientFeatures.driver, "d")["origin"] == "entity"


def test_an_index_is_explained_by_its_latest_row(client: LocalClient) -> None:
    explained = client.explain(AuditOrder.amount, "s2", at("12:30"))
    assert (explained["value"], explained["non_finite"]) == (None, {"value": "NaN"})
    assert explained["recomputed"]["same"] is True
    assert explained["events"]["total"] == 1


def test_an_entity_never_seen_has_no_events(client: LocalClient) -> None:
    explained = client.explain("AuditShop.orders", "nobody")
    assert (explained["value"], explained["events_of_entity"]) == (0, 0)


def test_wrong_names_are_refused_with_near_ones(client: LocalClient) -> None:
    with pytest.raises(NotFoundError, match="big"):
        client.explain("AuditFeatures.bigg", "s1")
    with pytest.raises(NotFoundError, match="orders"):
        client.explain("AuditShop.order", "s1")
    with pytest.raises(NotFoundError, match="AuditShop"):
        client.explain("AuditShopp.orders", "s1")
    with pytest.raises(InvalidDataError, match=r"FEATURESET\.FEATURE"):
        client.explain("AuditShop", "s1")
    with pytest.raises(NotFoundError, match="AuditShop"):
        client.verify("AuditShap")
    with pytest.raises(InvalidDataError, match="sample"):
        client.verify(sample=0)


def test_all_values_are_what_the_log_says(client: LocalClient) -> None:
    report = client.verify(sample=60)
    assert (report["different"], report["differences"]) == (0, [])
    counts = {item["name"]: item["checked"] for item in report["features"]}
    for name in ("AuditShop.big_1h", "AuditCity.orders", "AuditFeatures.big", "AuditOrder.amount"):
        assert counts[name] == 60, name
    notes = {item["name"]: item["note"] for item in report["features"]}
    assert "extractor scored" in notes["ClientFeatures.score"]
    assert client.verify(AuditFeatures, sample=60)["checked"] == 60
    summary = client.status()["verified"]
    assert summary["rounds"] >= 2
    assert summary["checked"] > 500
    assert summary["wrong"] == []
