"""The test context's requests; its values are those of the engine (`test_local.py`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stand_in import CATALOG, FakeServer, Request
from thyme._local import LocalClient
from thyme._transport import LocalTransport
from thyme.testing import MockContext


class Ride:
    """Stands for a dataset class."""


class DriverStats:
    """Stands for a derived dataset class."""


DOCUMENT = {
    "format": 1,
    "datasets": [
        {"name": "Ride", "max_lateness": "1d", "source": {"kind": "file", "max_lateness": "1h", "meta": {}}},
        {"name": "DriverStats"},
    ],
}


class FakeEngine:
    """The native engine's interface over the stand-in for the server."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.now: list[int | None] = []

    def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        answer = self.fake.request(
            method, target, headers=headers, body=body, repeatable=False, timeout_s=None
        )
        return answer.status, dict(answer.headers), answer.body

    def set_now(self, us: int | None) -> None:
        self.now.append(us)

    def close(self) -> None:
        self.fake.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that the engine was opened with."""
    return {}


@pytest.fixture
def context(fake: FakeServer, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> MockContext:
    def open_fake(**options: Any) -> LocalTransport:
        opened.update(options)
        return LocalTransport(FakeEngine(fake))

    monkeypatch.setattr(LocalTransport, "open", open_fake)
    monkeypatch.setattr("thyme._document.collect", lambda definitions: DOCUMENT)
    fake.replies["/api/v1/commit"] = {"commit": "c1", "position": "e1", "changes": [], "counts": {}}
    fake.replies["/api/v1/log"] = {"accepted": 1, "position": "e2", "skipped": 0}
    return MockContext()


def test_now_follows_the_events_unless_it_is_fixed(context: MockContext, opened: dict[str, Any]) -> None:
    assert opened == {"clock": "event", "now_us": None}
    MockContext(now=datetime(1970, 1, 1, 0, 0, 1, 500_000))
    assert opened["now_us"] == 1_500_000
    context.now = "1970-01-01T00:00:02Z"  # type: ignore[assignment]
    context.now = None  # type: ignore[assignment]
    engine: Any = context._transport.engine
    assert engine.now == [2_000_000, None]


def test_now_is_the_engines(context: MockContext, fake: FakeServer) -> None:
    fake.replies["/api/v1/status"] = {"now": "2026-03-15T10:00:00Z"}
    assert context.now == datetime(2026, 3, 15, 10, tzinfo=UTC)


def test_a_class_is_committed_once_when_it_is_first_used(context: MockContext, fake: FakeServer) -> None:
    assert context.add_events(Ride, [{"driver": "d1"}]) == []
    context.add_events(Ride, {"driver": "d2"})
    context.add_events("Ride", [{"driver": "d3"}])
    assert [request.path for request in fake.requests] == ["/api/v1/commit", *["/api/v1/log"] * 3]


def test_sources_are_not_read_but_their_lateness_holds(context: MockContext, fake: FakeServer) -> None:
    context.add_events(Ride, [])
    assert fake.to("/api/v1/commit")[0].json["datasets"] == [
        {"name": "Ride", "max_lateness": "1h"},
        {"name": "DriverStats"},
    ]


def test_violations_are_those_of_the_answer(context: MockContext, fake: FakeServer) -> None:
    violation = {"expectation": "expect_column_values_to_be_between", "column": "fare"}
    fake.replies["/api/v1/log"] = {"accepted": 1, "position": "e2", "violations": [violation]}
    assert context.add_events(Ride, [{"driver": "d1"}]) == [violation]


def test_aggregates_are_the_outputs_even_of_an_entity_never_seen(
    context: MockContext, fake: FakeServer
) -> None:
    def answer(request: Request) -> dict[str, Any]:
        assert request.params["missing"] == ["values"]
        return {"features": {"driver": "d9", "at": None, "rides_1h": 0, "last_ride": None}, "as_of": {}}

    fake.replies["/features"] = answer
    assert context.get_aggregates(DriverStats, "d9", at=0) == {"rides_1h": 0, "last_ride": None}


def test_reads_wait_for_what_was_added(context: MockContext, fake: FakeServer) -> None:
    fake.replies["/features"] = {"features": {"rides_1h": 1}, "as_of": {"commit": CATALOG["commit"]}}
    context.add_events(Ride, [{"driver": "d1"}])
    assert context.query("DriverFeatures", "d1", inputs={"hour": 23}) == {"rides_1h": 1}
    assert fake.to("/features")[-1].json["min_position"] == "e2"


def test_local_commits_wait_for_sources(context: MockContext, fake: FakeServer) -> None:
    client = LocalClient(context._transport)
    client.commit(DOCUMENT)
    assert fake.to("/api/v1/commit")[-1].params["wait_sources"] == ["1"]
    client.set_now(3)
    with client:
        pass
    assert fake.closed
