"""The dashboard and the rules ask for nothing that a server does not have, and for everything that it has."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.promql import NotPromQL, parse
from running import PYTHON, start_server
from thyme import Count, ThymeClient, dataset, feature, featureset, field, inputs, pipeline, source
from thyme.client import ThymeWarning
from thyme.connectors import FileSource

DEPLOY = PYTHON.parent / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "thyme.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus" / "thyme.rules.yml").read_text(encoding="utf-8"))
# Prometheus puts these on whatever it scrapes.
SCRAPED = {"instance", "job"}
# Where the log begins is for those who look for a record; `thyme status` has it.
NOT_SHOWN = {"thyme_log_first_record"}


@dataset(max_lateness="1h", on_error="skip")
class Trip:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset
class TripStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    trips: int

    @pipeline(version=1)
    @inputs(Trip)
    def compute(cls, trips):  # type: ignore[no-untyped-def]
        return trips.groupby("driver").aggregate(trips=Count())


def trip_features(name: str) -> Any:
    body = {"driver": feature(id=1), name: feature(id=2, ref=TripStats.trips)}
    kind = type(
        "TripFeatures", (), {**body, "__annotations__": {"driver": str, name: int}, "__module__": __name__}
    )
    return featureset(kind)


def read_from(path: Path) -> Any:
    @source(FileSource(str(path)))
    @dataset
    class Filed:
        who: str = field(key=True)
        at: datetime = field(timestamp=True)

    return Filed


def traffic(client: ThymeClient, folder: Path) -> None:
    """Something of everything that is counted."""
    (folder / "rows.jsonl").write_text('{"who": "a", "at": 1772000000}\nnot JSON\n{"who": "b"')
    filed = read_from(folder / "rows.jsonl")
    for name in ("old", "new"):
        client.commit([Trip, TripStats, trip_features(name), filed], wait_sources=True, source=False)
    now = datetime.now(UTC)
    trips = [{"driver": "d", "fare": 1.0, "at": now - timedelta(days=i)} for i in range(3)]
    client.log(Trip, trips[:1])
    client.log(Trip, trips, idempotency_key="k")
    client.log(Trip, trips, idempotency_key="k")
    client.log(Trip, [{"driver": "d", "fare": "much", "at": now}])
    with pytest.warns(ThymeWarning, match="renamed"):
        assert client.query("TripFeatures", "d", features=["old"])["old"] > 0


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """The labels of each sample of a server with traffic, by its name."""
    folder = tmp_path_factory.mktemp("deploy")
    server = start_server(folder / "data", "--verify-every", "1s")
    try:
        with ThymeClient(server.url) as client:
            traffic(client, folder)
            deadline = time.monotonic() + 30
            samples: dict[str, set[str]] = {}
            while "thyme_verified_total" not in samples and time.monotonic() < deadline:
                text = httpx.get(f"{server.url}/metrics", trust_env=False).text
                samples = {
                    sample.name: set(sample.labels)
                    for family in text_string_to_metric_families(text)
                    for sample in family.samples
                }
                time.sleep(0.05)
            yield samples
    finally:
        server.process.terminate()
        server.process.wait(timeout=20)


def panels() -> list[dict[str, Any]]:
    return [each for each in DASHBOARD["panels"] if each["type"] != "row"]


def expressions() -> list[tuple[str, str, str]]:
    """Where each stands, what it is, and the text that names its labels."""
    found = [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]
    found += [(each["name"], each["expr"], each["titleFormat"]) for each in DASHBOARD["annotations"]["list"]]
    for group in RULES["groups"]:
        for rule in group["rules"]:
            summary = re.sub(r"\$labels\.", "", rule["annotations"]["summary"])
            found.append((rule["alert"], rule["expr"], summary))
    return found


def test_every_metric_and_label_that_is_asked_for_is_there(scraped: dict[str, set[str]]) -> None:
    assert len(expressions()) > 60
    for where, expression, legend in expressions():
        part = parse(expression)
        known = set(SCRAPED)
        for selector in part.selectors:
            assert selector.metric in scraped, f"{where}: no metric {selector.metric}"
            labels = scraped[selector.metric] | SCRAPED
            assert selector.labels <= labels, f"{where}: {selector.metric} has {labels}"
            known |= labels
        result = known if part.labels is None else part.labels
        named = set(re.findall(r"{{\s*(\w+)\s*}}", legend))
        assert named <= result, f"{where}: {legend} of {result}"


def test_every_metric_that_a_server_has_is_on_the_dashboard(scraped: dict[str, set[str]]) -> None:
    shown = {selector.metric for _, text, _ in expressions() for selector in parse(text).selectors}
    # A histogram is shown by its buckets, and counted by its count.
    rest = {name for name in scraped if not name.endswith("_sum")} - shown
    assert rest <= NOT_SHOWN


def test_variables_are_those_that_are_used(scraped: dict[str, set[str]]) -> None:
    names = {each["name"] for each in DASHBOARD["templating"]["list"]}
    text = json.dumps([DASHBOARD["panels"], DASHBOARD["annotations"]])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == names == {"datasource", "instance", "dataset"}
    for each in DASHBOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+)(?:{.*})?, (\w+)\)", each.get("definition", ""))
        if each["type"] == "query":
            assert found is not None
            assert found[2] in scraped[found[1]] | SCRAPED


def test_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))


@pytest.mark.parametrize(
    "text",
    [
        "rate(thyme_ready)",
        "thyme_ready[5m]",
        "sum(thyme_ready",
        "sum by (x) (1)",
        "thyme_ready{x=1}",
        "thyme_ready or 1",
        "histogram_quantile(0.9, sum by (route) (rate(x[5m])))",
        "rated(x[5m])",
        "thyme_ready thyme_ready",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(NotPromQL):
        parse(text)
