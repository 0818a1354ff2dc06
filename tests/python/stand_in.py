"""A stand-in for the server: canned answers, and the requests it got."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pyarrow as pa

from thyme._frames import ipc_bytes
from thyme._transport import Answer

CATALOG = {
    "commit": "c1",
    "datasets": [
        {
            "name": "Ride",
            "version": 1,
            "kind": "raw",
            "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "fare", "type": "float", "role": "value"},
                {"name": "seats", "type": "int", "role": "value", "optional": True},
                {"name": "at", "type": "datetime", "role": "timestamp"},
            ],
        },
        {
            "name": "DriverStats",
            "version": 1,
            "kind": "derived",
            "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "at", "type": "datetime", "role": "timestamp"},
                {"name": "rides_1h", "type": "int", "role": "value"},
                {"name": "last_ride", "type": "datetime", "role": "value"},
            ],
        },
        {
            "name": "Route",
            "version": 1,
            "kind": "derived",
            "fields": [
                {"name": "origin", "type": "str", "role": "key"},
                {"name": "stops", "type": "int", "role": "key"},
                {"name": "at", "type": "datetime", "role": "timestamp"},
                {"name": "flights", "type": "int", "role": "value"},
            ],
        },
    ],
    "featuresets": [
        {
            "name": "DriverFeatures",
            "entity": ["driver"],
            "entity_types": {"driver": "str"},
            "features": [
                {"id": 1, "name": "driver", "type": "str", "source": "entity"},
                {"id": 2, "name": "rides_1h", "type": "int", "source": "DriverStats.rides_1h"},
                {"id": 3, "name": "fare", "type": "float", "source": "DriverStats.fare"},
                {"id": 4, "name": "last_ride", "type": "datetime", "source": "DriverStats.last_ride"},
                {"id": 5, "name": "hour", "type": "int", "source": "request"},
            ],
        },
        {
            "name": "RouteFeatures",
            "entity": ["origin", "stops"],
            "entity_types": {"origin": "str", "stops": "int"},
            "features": [{"id": 1, "name": "flights", "type": "int", "source": "Route.flights"}],
        },
    ],
}


class Request(NamedTuple):
    """A request as the stand-in got it."""

    method: str
    path: str
    params: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def table(self) -> pa.Table:
        with pa.ipc.open_stream(self.body) as reader:
            return reader.read_all()


Reply = Any  # a dict (JSON), a table (Arrow), an `Answer`, or a function of the request that gives one


@dataclass
class FakeServer:
    """Gives canned answers and keeps the requests; it is a `Transport`, and `http()` is one for httpx."""

    origin: str = "http://fake:8080"
    replies: dict[str, Reply] = field(
        default_factory=lambda: {
            "/api/v1/featuresets": CATALOG,
            "/api/v1/history": {"definitions": CATALOG},
            "/api/v1/status": {"commit": "c1"},
        }
    )
    requests: list[Request] = field(default_factory=list)
    closed: bool = False

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        parts = urlsplit(target)
        names = {name.lower(): value for name, value in headers.items()}
        request = Request(method, parts.path, parse_qs(parts.query), names, body)
        self.requests.append(request)
        reply = self.replies.get(parts.path)
        if reply is None:
            reply = refusal(404, "not_found", f"no such endpoint: {parts.path}")
        if callable(reply):
            reply = reply(request)
        if isinstance(reply, pa.Table):
            reply = Answer(200, {}, ipc_bytes(reply))
        return reply if isinstance(reply, Answer) else Answer(200, {}, json.dumps(reply).encode())

    def close(self) -> None:
        self.closed = True

    def to(self, path: str) -> list[Request]:
        """The requests to one endpoint."""
        return [request for request in self.requests if request.path == path]

    def http(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            target = request.url.raw_path.decode()
            answer = self.request(
                request.method,
                target,
                headers=dict(request.headers),
                body=request.content,
                repeatable=False,
                timeout_s=None,
            )
            return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

        return httpx.MockTransport(handle)


def refusal(status: int, code: str, detail: str, faults: list[dict[str, Any]] | None = None) -> Answer:
    """An error as the server answers it."""
    content: dict[str, Any] = {"error": code, "detail": detail}
    if faults:
        content["faults"] = faults
    return Answer(status, {}, json.dumps(content).encode())


def with_metadata(table: pa.Table, **metadata: Any) -> pa.Table:
    """A table whose schema carries `as_of` and the like, as answers do."""
    return table.replace_schema_metadata({name: json.dumps(value) for name, value in metadata.items()})
