"""Categories that a map by category leaves out are counted in `/metrics`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import thyme
from thyme import CountBy, dataset, field, inputs, pipeline
from thyme._steps import run
from thyme.client import ThymeClient

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)
FAMILY = "thyme_map_categories_dropped_total"


@dataset
class Visit:
    guest: str = field(key=True)
    page: str
    at: datetime = field(timestamp=True)


@dataset
class Pages:
    guest: str = field(key=True)
    visits: dict[str, int]
    at: datetime = field(timestamp=True)

    @pipeline
    @inputs(Visit)
    def compute(cls, visits):
        return visits.groupby("guest").aggregate(visits=CountBy(key_column="page", limit=2))


def dropped(client: ThymeClient) -> str:
    text = run(client._session.request("GET", "/metrics")).body.decode()
    return next(line for line in text.splitlines() if line.startswith(f'{FAMILY}{{dataset="Pages"}}'))


def test_what_a_read_leaves_out_is_counted() -> None:
    with thyme.local() as client:
        client.commit([Visit, Pages])
        pages = ["a", "b", "c", "a", "d"]
        rows = [{"guest": "g", "page": p, "at": TEN + timedelta(minutes=i)} for i, p in enumerate(pages)]
        position = client.log(Visit, rows)
        at = TEN + timedelta(hours=1)
        row = client.lookup(Pages, "g", timestamp=at, min_position=position)
        assert row["visits"] == {"a": 2, "d": 1}
        assert dropped(client).endswith(" 2")
        early = client.lookup(Pages, "g", timestamp=TEN + timedelta(minutes=1), min_position=position)
        assert early["visits"] == {"a": 1, "b": 1}
        assert dropped(client).endswith(" 2")
