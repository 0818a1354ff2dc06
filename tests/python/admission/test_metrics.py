"""What `/metrics` says, read by the parser that Prometheus' own Python client brings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import thyme
from running import Server
from thyme import dataset, field
from thyme._steps import run
from thyme.client import ThymeClient
from thyme.errors import ConflictError, InvalidDataError, NotFoundError

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)


@dataset(index=True, max_lateness="10m", on_error="skip")
class Meal:
    guest: str = field(key=True)
    price: float
    at: datetime = field(timestamp=True)


@dataset
class Strict:
    guest: str = field(key=True)
    at: datetime = field(timestamp=True)


Samples = dict[str, float]


def scrape(text: str) -> Samples:
    """Every sample by its name and labels; the parser refuses what is malformed."""
    samples: Samples = {}
    names = set()
    seen = set()
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} has no HELP"
        assert family.type != "unknown", f"{family.name} has no TYPE"
        assert family.name not in names, f"{family.name} is there twice"
        names.add(family.name)
        for sample in family.samples:
            assert (sample.name, tuple(sample.labels.items())) not in seen, f"{sample} is there twice"
            seen.add((sample.name, tuple(sample.labels.items())))
            # One route may take several methods.
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items() if name != "method")
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            samples[key] = samples.get(key, 0) + sample.value
    return samples


@pytest.fixture
def client() -> Iterator[ThymeClient]:
    with thyme.local() as client:
        client.commit([Meal, Strict])
        yield client


def metrics(client: ThymeClient) -> str:
    answer = run(client._session.request("GET", "/metrics"))
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.body.decode()


def applied(client: ThymeClient, position: str) -> None:
    """Waits until the engine counts what was pushed."""
    client.lookup(Meal, "g1", min_position=position)


def meal(minutes: int) -> dict[str, object]:
    return {"guest": "g1", "price": 1.0, "at": TEN + timedelta(minutes=minutes)}


def test_the_counters_are_what_was_pushed(client: ThymeClient) -> None:
    client.log(Meal, [meal(0), meal(30), meal(1), {"guest": "secret guest", "price": "no price"}])
    position = client.log(Meal, [meal(31)], idempotency_key="k")
    client.log(Meal, [meal(31)], idempotency_key="k")
    with pytest.raises(ConflictError):
        client.log(Meal, [meal(32)], idempotency_key="k")
    with pytest.raises(InvalidDataError):
        client.log(Strict, [{"guest": 1, "at": TEN}])
    applied(client, position)
    text = metrics(client)
    samples = scrape(text)
    assert samples["thyme_events_accepted_total{dataset=Meal}"] == 4
    assert samples["thyme_events_late_total{dataset=Meal}"] == 1
    assert samples["thyme_dead_letters_total{dataset=Meal}"] == 1
    assert samples["thyme_rows_skipped_total{dataset=Meal}"] == 1
    assert samples["thyme_pushes_refused_total{dataset=Meal}"] == 0
    assert samples["thyme_pushes_refused_total{dataset=Strict}"] == 1
    assert samples["thyme_events_accepted_total{dataset=Strict}"] == 0
    assert (
        samples["thyme_newest_event_timestamp_seconds{dataset=Meal}"]
        == (TEN + timedelta(minutes=31)).timestamp()
    )
    assert samples["thyme_idempotent_replays_total"] == 1
    assert samples["thyme_idempotency_conflicts_total"] == 1
    assert samples["thyme_log_records_total"] == samples["thyme_log_applied_records_total"] == 3
    count = "thyme_http_request_duration_seconds_count{route=/api/v1/log,status="
    assert (samples[count + "2xx}"], samples[count + "4xx}"]) == (3, 2)
    assert samples["process_resident_memory_bytes"] > 1e6
    assert samples["thyme_ready"] == 1
    assert not any(secret in text for secret in ("secret guest", "g1", "no price"))


def test_families_stand_in_one_order_and_histograms_only_grow(client: ThymeClient) -> None:
    client.log(Meal, [meal(0)])
    first, second = metrics(client), metrics(client)

    def heads(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("#")]

    assert heads(first) == heads(second)
    bucket = "thyme_http_request_duration_seconds_bucket{route=/api/v1/log,status=2xx,le="
    counts = [value for name, value in scrape(second).items() if name.startswith(bucket)]
    assert counts == sorted(counts)
    assert counts[-1] == 1


def test_what_has_no_route_is_one_label_whatever_was_asked_for(client: ThymeClient) -> None:
    for path in ("/nothing", "/some/one?driver=d1"):
        with pytest.raises(NotFoundError):
            run(client._session.request("GET", path))
    text = metrics(client)
    samples = scrape(text)
    assert samples["thyme_http_request_duration_seconds_count{route=other,status=4xx}"] == 2
    assert "nothing" not in text
    assert "d1" not in text


def test_a_server_answers_without_a_key(server: Server) -> None:
    answer = httpx.get(f"{server.url}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert scrape(answer.text)["thyme_ready"] == 1
