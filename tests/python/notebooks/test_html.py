"""What notebooks show: whole, escaped, and without a colour or an asset of its own."""

from __future__ import annotations

import re
from datetime import datetime
from html.parser import HTMLParser
from types import MethodType
from typing import Any

from thyme import (
    Count,
    Sum,
    col,
    dataset,
    extractor,
    extractor_inputs,
    extractor_outputs,
    feature,
    featureset,
    field,
    inputs,
    local,
    pipeline,
)
from thyme._class_html import dataset_html, featureset_html
from thyme._plan import Plan
from thyme._result import ThymeResult

HOSTILE = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"


@dataset(index=True, description=f"rides {HOSTILE}", owner="rides@example.com", tags={"tier": "<b>"})
class HtmlRide:
    driver: str = field(key=True)
    fare: float | None
    at: datetime = field(timestamp=True)


@dataset(version=3, deprecated=True, deprecation_reason="too <slow>", replacement="Other")
class HtmlStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int
    fare_7d: float

    @pipeline(version=2)
    @inputs(HtmlRide)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(
            rides=Count(where=col("fare") > 1), fare_7d=Sum(of="fare", window="7d")
        )


@featureset(description="for models")
class HtmlFeatures:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=HtmlStats.rides, description=HOSTILE)
    fare: float = feature(id=3, ref=HtmlStats.fare_7d, default=0.5, deprecated=True, replacement="rides")
    hour: int = feature(id=4, request=True)
    score: float | None = feature(id=5)

    @extractor(version=4)
    @extractor_inputs("rides")
    @extractor_outputs("score")
    def scored(cls, ts, rides):
        return rides * 2.0


class Checked(HTMLParser):
    """Refuses whatever may run, load or colour, and tags that do not close."""

    ALLOWED = frozenset({"div", "table", "thead", "tbody", "tr", "th", "td", "span", "b", "s", "code"})

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(shown)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in self.ALLOWED, tag
        for name, value in attributes:
            assert name == "style"
            assert value is not None
            assert not re.search(r"url|#[0-9a-f]{3}|rgb|background", value)
            assert set(re.findall(r"(?<![a-z-])color:([^;]*)", value)) == set()
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def cells(shown: str) -> list[str]:
    return Checked(shown).texts


def test_a_class_is_shown_as_ipython_asks_for_it() -> None:
    for cls in (HtmlRide, HtmlStats, HtmlFeatures):
        # IPython takes of a class what is a bound method, and nothing else.
        method = cls._repr_html_
        assert isinstance(method, MethodType)
        assert cells(method())[0] == cls.__name__


def test_a_dataset_shows_fields_types_and_what_makes_them() -> None:
    ride, stats = cells(HtmlRide._repr_html_()), cells(HtmlStats._repr_html_())
    assert f"rides {HOSTILE}" in ride
    assert "owner rides@example.com; tags tier=<b>" in ride
    assert ride[ride.index("fare") :][:2] == ["fare", "float | None"]
    assert "dataset, version 3" in stats
    assert "deprecated: too <slow>; use Other" in stats
    assert "count, where ..." in stats
    assert "sum of fare over 7d" in stats
    assert "pipeline compute, version 2, from HtmlRide" in stats


def test_a_featureset_shows_ids_types_origins_and_what_is_deprecated() -> None:
    shown = HtmlFeatures._repr_html_()
    texts = cells(shown)
    assert texts[texts.index("2") :][:5] == ["2", "rides", "int", "HtmlStats.rides", HOSTILE]
    assert "<s>fare</s>" in shown
    assert "HtmlStats.fare_7d, default 0.5" in texts
    assert "deprecated, use rides." in texts
    assert "given with each query" in texts
    assert "scored(), version 4" in texts


def test_names_that_no_class_could_have_are_escaped_too() -> None:
    fields = [{"name": HOSTILE, "type": HOSTILE, "role": HOSTILE}]
    body: dict[str, Any] = {"name": HOSTILE, "fields": fields, "meta": {"tags": [HOSTILE]}}
    assert HOSTILE in cells(dataset_html(body))
    features = [{"name": HOSTILE, "type": "int", "ref": {"dataset": HOSTILE, "field": HOSTILE}}]
    assert f"{HOSTILE}.{HOSTILE}" in cells(featureset_html({"name": HOSTILE, "features": features}, {}))


def test_a_result_shows_its_rows_escaped_with_old_names_marked() -> None:
    meta = {"deprecated": {"old": {"id": 2, "name": "now", "status": "renamed"}}}
    rows = [{"now": HOSTILE[:20], "old": None, HOSTILE: 1.5}] * 12
    shown = ThymeResult(rows=rows, metadata={"meta": meta, "as_of": {"time": HOSTILE}})._repr_html_()
    texts = cells(shown)
    assert HOSTILE in texts
    assert HOSTILE[:20] in texts
    assert "<s>old</s>" in shown
    assert "... 2 more" in texts
    assert texts.count("null") == 10


def test_a_plan_shows_changes_values_and_what_it_takes() -> None:
    with local() as client:
        empty = client.plan(HtmlFeatures)
        assert isinstance(empty, dict)
        assert "HtmlStats.compute" in cells(empty._repr_html_())
        client.commit(HtmlRide)
        rows = [{"driver": HOSTILE, "fare": 2.0, "at": f"2026-03-15T10:00:{n:02}Z"} for n in range(5)]
        client.log("HtmlRide", rows)
        planned = client.plan(HtmlFeatures, values=True)
        texts = cells(planned._repr_html_())
        assert "added" in texts
        assert any("fills HtmlStats from 5 events" in each for each in texts)
        assert "rides" in texts
        client.commit(HtmlFeatures)
        assert "nothing changes" in cells(client.plan(HtmlFeatures)._repr_html_())
        example = {
            "entity_id": HOSTILE, "time": HOSTILE, "is_now": False, "old": None, "new": HOSTILE, "explain": HOSTILE,
        }  # fmt: skip
        values = planned["values"]
        values["featuresets"][0]["features"][0]["examples"] = [example]
        assert cells(planned._repr_html_()).count(HOSTILE) == 4
        stopped = Plan({**planned, "values": {"stopped": HOSTILE}})
        assert f"no values: {HOSTILE}" in cells(stopped._repr_html_())
