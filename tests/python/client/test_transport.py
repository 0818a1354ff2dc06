"""Requests over HTTP and in process: retries, errors, the key."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from running import free_port
from stand_in import CATALOG, FakeServer
from thyme._config import Config
from thyme._errors import (
    ConnectionFailed,
    InternalError,
    InvalidDataError,
    OverloadedError,
    ThymeError,
    TooLargeError,
    UnavailableError,
)
from thyme._transport import HttpTransport, LocalTransport
from thyme.client import ThymeClient

KEY = "secret-key-1"


def http_client(
    handle: Callable[[httpx.Request], httpx.Response], config: Config | None = None
) -> ThymeClient:
    transport = HttpTransport(config or Config(api_key=KEY), httpx.MockTransport(handle))
    return ThymeClient(config, transport=transport)


def test_requests_over_http_are_those_of_the_api(fake: FakeServer) -> None:
    config = Config(api_url="http://api:1", query_url="http://query:2", api_key=KEY)
    client = ThymeClient(transport=HttpTransport(config, fake.http()))
    fake.replies["/features"] = {"features": {"rides_1h": 1}, "as_of": {"commit": "c1"}}
    assert client.query("DriverFeatures", "d1")["rides_1h"] == 1
    assert [request.headers["host"] for request in fake.requests] == ["query:2", "api:1"]
    assert {request.headers["authorization"] for request in fake.requests} == {f"Bearer {KEY}"}


def test_without_a_key_no_header_is_sent() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200, json=CATALOG)

    http_client(handle, Config()).inspect()


class Flaky:
    """Breaks the first connections."""

    def __init__(self, failures: int, error: type[httpx.TransportError] = httpx.RemoteProtocolError) -> None:
        self.left = failures
        self.error = error
        self.requests: list[httpx.Request] = []

    @property
    def tries(self) -> int:
        return len(self.requests)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.left:
            self.left -= 1
            raise self.error("Server disconnected without sending a response.")
        return httpx.Response(200, json={**CATALOG, "accepted": 1, "position": "e1"})


def test_a_read_is_tried_again_when_the_connection_breaks() -> None:
    handle = Flaky(2)
    assert http_client(handle).inspect()["commit"] == "c1"
    assert handle.tries == 3


class Busy:
    """Says "not now" at first."""

    def __init__(self, refusals: int, status: int, retry_after: str, code: str = "unavailable") -> None:
        self.code = code
        self.left = refusals
        self.status = status
        self.headers = {"Retry-After": retry_after}
        self.tries = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tries += 1
        if self.left:
            self.left -= 1
            body = {"error": self.code, "detail": "not now"}
            return httpx.Response(self.status, headers=self.headers, json=body)
        return httpx.Response(200, json={**CATALOG, "accepted": 1, "position": "e1"})


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("thyme._transport.time.sleep", slept.append)
    handle = Busy(2, status, "3")
    assert http_client(handle).inspect()["commit"] == "c1"
    assert (handle.tries, len(slept)) == (3, 2)
    assert all(3.0 <= pause <= 4.5 for pause in slept)
    handle = Busy(2, status, "3")
    assert http_client(handle).log("Ride", [{"driver": "d1"}], idempotency_key="k") == "e1"
    assert handle.tries == 3
    slept.clear()
    for refusals, pause in ((1, "3600"), (1, "Wed, 21 Oct 2026 07:28:00 GMT"), (9, "0")):
        with pytest.raises(UnavailableError, match="not now"):
            http_client(Busy(refusals, status, pause)).inspect()
    assert slept == [0.0] * 3
    with pytest.raises(UnavailableError, match=re.escape("not now (tried 4 times)")):
        http_client(Busy(9, status, "0")).inspect()
    # Without a key it may have been stored; and who asks for the state wants it now.
    for ask in (lambda c: c.log("Ride", [{"driver": "d1"}]), lambda c: c.status()):
        handle = Busy(1, status, "1")
        with pytest.raises(UnavailableError) as caught:
            ask(http_client(handle, Config(push_keys=False)))
        assert handle.tries == 1
        assert str(caught.value) == "not now"


def test_a_server_that_takes_no_more_is_asked_again_for_a_push_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("thyme._transport.time.sleep", slept.append)
    handle = Busy(5, 429, "1", "overloaded")
    assert http_client(handle).log("Ride", [{"driver": "d1"}]) == "e1"
    assert handle.tries == 6
    assert len(slept) == 5
    assert all(1.0 <= pause <= 1.5 for pause in slept)
    with pytest.raises(OverloadedError, match="not now"):
        http_client(Busy(10**6, 429, "1", "overloaded")).log("Ride", [{"driver": "d1"}])


def test_a_push_has_a_key_of_its_own_and_is_tried_again_under_it() -> None:
    handle = Flaky(1)
    http_client(handle).log("Ride", [{"driver": "d1"}])
    first, second = (request.headers["idempotency-key"] for request in handle.requests)
    assert first == second
    http_client(handle).log("Ride", [{"driver": "d1"}])
    assert handle.requests[-1].headers["idempotency-key"] != first
    handle = Flaky(1)
    http_client(handle).log("Ride", [{"driver": "d1"}], idempotency_key="k")
    assert [request.headers["idempotency-key"] for request in handle.requests] == ["k", "k"]


def test_a_push_without_a_key_is_tried_once() -> None:
    handle = Flaky(1)
    with pytest.raises(ConnectionFailed) as caught:
        http_client(handle, Config(push_keys=False)).log("Ride", [{"driver": "d1"}])
    assert handle.tries == 1
    assert "idempotency-key" not in handle.requests[0].headers
    assert "broke before the answer came" in str(caught.value)
    assert "tried" not in str(caught.value)


@pytest.mark.parametrize("push_keys", [True, False])
def test_what_never_reached_the_server_is_sent_again(
    push_keys: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thyme._transport.time.sleep", lambda pause: None)
    handle = Flaky(2, httpx.ConnectError)
    assert http_client(handle, Config(push_keys=push_keys)).log("Ride", [{"driver": "d1"}]) == "e1"
    assert handle.tries == 3
    handle = Flaky(9, httpx.ConnectError)
    with pytest.raises(ConnectionFailed, match=re.escape("is `thyme serve` running? (tried 2 times)")):
        http_client(handle, Config(tries=2)).inspect()
    assert handle.tries == 2


def test_an_engine_in_this_process_needs_no_keys() -> None:
    engine = FakeEngine()
    client = ThymeClient(Config(push_keys=True), transport=LocalTransport(engine))
    with pytest.raises(UnavailableError):
        client.log("Ride", [{"driver": "d1"}])
    assert "Idempotency-Key" not in engine.calls[0][2]


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionFailed) as caught:
        ThymeClient(Config(api_url=url)).status()
    assert str(caught.value) == f"could not reach {url}: is `thyme serve` running?"
    assert isinstance(caught.value, ConnectionError)


def test_a_slow_server_is_not_asked_again() -> None:
    handle = Flaky(1, httpx.ReadTimeout)  # type: ignore[arg-type]
    with pytest.raises(ConnectionFailed, match="did not answer within"):
        http_client(handle, Config(timeout_s=1.5)).status()
    assert handle.tries == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (502, b"<html>Bad Gateway</html>", UnavailableError, "HTTP status 502"),
        (500, b"", InternalError, "is it a Thyme server"),
        (418, b"[1]", ThymeError, "HTTP status 418"),
        (200, b"<html>hello</html>", ThymeError, "is the URL right"),
    ],
)
def test_answers_of_something_else_are_said_to_be(
    status: int, body: bytes, kind: type[ThymeError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        http_client(lambda request: httpx.Response(status, content=body)).status()


def test_the_key_is_in_no_text() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    config = Config(api_key=KEY)
    client = http_client(handle, config)
    with pytest.raises(ConnectionFailed) as caught:
        client.status()
    texts = [repr(config), str(config), repr(client), repr(client._session.transport), repr(caught.value)]
    assert not any(KEY in text for text in texts)


class FakeEngine:
    """Stands for the native engine."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []
        self.now: int | None = None
        self.closed = False

    def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        self.calls.append((method, target, headers, body))
        return 503, {"Retry-After": "1"}, b'{"error": "unavailable", "detail": "not now"}'

    def set_now(self, us: int | None) -> None:
        self.now = us

    def close(self) -> None:
        self.closed = True


def test_in_process_requests_are_the_same() -> None:
    engine = FakeEngine()
    client = ThymeClient(transport=LocalTransport(engine))
    with pytest.raises(UnavailableError, match="not now"):
        client.query("DriverFeatures", "d1")
    assert engine.calls == [
        (
            "POST",
            "/features",
            {"Content-Type": "application/json"},
            b'{"featureset":"DriverFeatures","entity_id":"d1"}',
        )
    ]


def test_a_closed_engine_says_so() -> None:
    engine = FakeEngine()
    client = ThymeClient(transport=LocalTransport(engine))
    with client:
        pass
    assert engine.closed
    with pytest.raises(UnavailableError, match="closed"):
        client.status()


def test_a_closed_http_client_says_so() -> None:
    client = ThymeClient(Config())
    client.close()
    with pytest.raises(ConnectionFailed, match="closed"):
        client.status()


def test_a_key_too_long_for_an_address_is_named_and_nothing_is_sent() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/featuresets"
        return httpx.Response(200, json=CATALOG)

    for key in ("k" * 70_000, "\u00e9" * 12_000):
        with pytest.raises(
            TooLargeError, match=r"/features: .* entity_id has \d\d,000 bytes \(.{20}\.\.\.\)"
        ):
            http_client(handle).lookup("Ride", key)


def test_an_address_that_is_none_is_no_matter_of_httpx() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.InvalidURL("Invalid port: ':9x'")

    with pytest.raises(InvalidDataError, match="cannot be asked: Invalid port"):
        http_client(handle).inspect()
