"""`/openapi.json` is what the server does: everything that it describes is asked, right and wrong, and compared."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from running import Server, start_server

DEFINITIONS: dict[str, Any] = {
    "format": 1,
    "datasets": [
        {
            "name": "Ride",
            "index": True,
            "max_lateness": "1h",
            "on_error": "skip",
            "fields": [
                {"name": "k", "type": "str", "role": "key"},
                {"name": "x", "type": "float", "optional": True},
                {"name": "at", "type": "datetime", "role": "timestamp"},
            ],
        },
        {
            "name": "Stats",
            "fields": [
                {"name": "k", "type": "str", "role": "key"},
                {"name": "at", "type": "datetime", "role": "timestamp"},
                {"name": "c", "type": "int"},
                {"name": "s", "type": "float"},
            ],
            "pipelines": [
                {
                    "name": "p",
                    "inputs": ["Ride"],
                    "operators": [
                        {"op": "groupby", "keys": ["k"]},
                        {
                            "op": "aggregate",
                            "aggregates": [
                                {"name": "c", "function": "count"},
                                {"name": "s", "function": "sum", "of": "x", "window": "1d"},
                            ],
                        },
                    ],
                }
            ],
        },
    ],
    "featuresets": [
        {
            "name": "F",
            "features": [
                {"id": 1, "name": "k", "type": "str"},
                {"id": 2, "name": "c", "type": "int", "ref": {"dataset": "Stats", "field": "c"}},
                {"id": 3, "name": "s", "type": "float", "ref": {"dataset": "Stats", "field": "s"}},
                {"id": 4, "name": "hour", "type": "int", "request": True, "default": 12},
            ],
        }
    ],
}
EVENTS = [
    {"k": "a", "x": 1.5, "at": "2026-03-15T10:00:00Z"},
    {"k": "a", "x": "Infinity", "at": "2026-03-15T11:00:00Z"},
    {"k": "b", "x": 2.0, "at": "2026-03-15T09:00:00Z"},
    {"k": "b", "x": "not a number", "at": "2026-03-15T11:00:00Z"},
]
KEY: dict[str, str] = {}
# Longer than anything takes that should happen at all, on a machine that is busy with other things.
DEADLINE_S = 60


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, with events that are late and a dead letter: it is sent all kinds of things."""
    server: Server = start_server(tmp_path_factory.mktemp("openapi") / "data")
    before: dict[str, Any] = json.loads(
        json.dumps(DEFINITIONS).replace(
            '"name": "s", "type": "float", "ref"', '"name": "old", "type": "float", "ref"'
        )
    )
    assert before != DEFINITIONS
    log = {"dataset": "Ride", "events": EVENTS}
    for path, body in (("commit", before), ("commit", DEFINITIONS), ("log", log)):
        answer = httpx.post(f"{server.url}/api/v1/{path}", json=body, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
    # Without one everybody may do everything, and anybody's first key would end that.
    made = httpx.post(f"{server.url}/api/v1/keys", json={"role": "admin"}, timeout=DEADLINE_S)
    KEY["Authorization"] = f"Bearer {made.json()['key']}"
    yield server.url
    server.process.terminate()
    server.process.wait(timeout=DEADLINE_S)


def sensible(path: str, values: dict[str, Any], *, is_body: bool) -> None:
    """Names what is there, so that requests get further than to "there is no dataset called so"."""
    known: dict[str, Any] = {
        "featureset": "F", "dataset": "Ride", "entity_type": "Ride", "entity_id": "a", "feature": "s", "field": "x",
        "position": "e1", "min_position": "e2", "entity_ids": ["a", "b", "nobody"], "features": [1, "c", "s"],
        "inputs": {"hour": 23}, "wait_ms": 5, "events": EVENTS[:3], "reference": "F.old", "sample": 20,
        "queries": [{"entity_id": "a", "timestamp": "2026-03-15T11:30:00Z"}], "commit": "latest", "to": "latest",
        "featuresets": ["F"], "id": "a",
        "from": "none", "timestamp": "2026-03-15T11:30:00Z",
    }  # fmt: skip
    if "dataset" in values and "field" in values:
        # A feature, or a field; not both.
        del values["dataset"], values["field"]
    if "entity_id" in values and "limit" in values:
        values.update(featureset="F", feature="s")
    if path == "/features" and not is_body:
        # None of these is required by itself; without a key and a name there is nothing to answer.
        values.setdefault("entity_id", "a")
        if "entity_type" not in values:
            values.setdefault("featureset", "F")
    for name in known.keys() & values.keys():
        values[name] = known[name]
    if path.endswith("/multi"):
        asked = {
            "featureset": "F",
            "entity_ids": ["a", "nobody"],
            "features": [1, "c"],
            "inputs": {"hour": 23},
        }
        values["queries"] = [asked, {"featureset": "F", "entity_ids": []}]
    if path == "/api/v1/keys" and values.get("role") != "read":
        values.pop("featuresets", None)
    values.pop("ts", None)
    if not is_body and isinstance(values.get("features"), list):
        values["features"] = "c,s"
    if not is_body and "inputs" in values:
        values["inputs"] = '{"hour": 23}'


def labels(timestamp: str = "2026-03-15T11:30:00Z") -> bytes:
    """Labels as an Arrow IPC stream."""
    table = pa.table({"k": ["a", "nobody"], "at": [timestamp] * 2})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def with_a_job(url: str, case: Any) -> None:
    """Names a job that there is, with a part that is computed and one that is to come."""
    jobs = "/api/v1/jobs/offline"
    client = httpx.Client(base_url=url, headers=KEY, timeout=DEADLINE_S)
    for job in client.get(jobs).json()["jobs"]:
        client.post(f"{jobs}/cancel", params={"id": job["id"]})
    if case.method == "POST" and not case.path.endswith("/cancel"):
        case.body = labels()
    if case.method == "POST" and case.path.endswith("/offline"):
        case.query["timestamp_column"] = "at"
    for name in ("features", "entity_column", "as_served", "meta"):
        case.query.pop(name, None)
    if "id" not in case.query:
        return
    asked = {"featureset": "F", "timestamp_column": "at", "more": "1"}
    stream = {"Content-Type": "application/vnd.apache.arrow.stream"}
    made = client.post(jobs, params=asked, content=labels(), headers=stream).json()
    case.query["id"] = made["id"]
    if "part" in case.query:
        case.query["part"] = 1 if case.path.endswith("/part") else 0
    while case.path.endswith("/result") and not made["parts_done"]:
        assert made["error"] is None, made
        made = client.get(jobs, params={"id": made["id"]}).json()


def test_the_server_answers_as_its_description_says(url: str, tmp_path: Path) -> None:
    client = httpx.Client(base_url=url, headers=KEY, timeout=DEADLINE_S)
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    answered: Counter[str] = Counter()
    operations = [operation.ok() for operation in schema.get_all_operations()]
    asked = client.get("/features", params={"featureset": "F", "entity_id": "a"})
    query_run = asked.headers["x-query-run-id"]

    def ask(case: schemathesis.Case, *checks: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("directory"), str):
            # No directory of the machine but this one.
            case.body["directory"] = str(tmp_path / "backup")
        if case.path == "/api/v1/keys/revoke" and isinstance(case.body, dict) and case.body.get("id") == "a":
            made = client.post("/api/v1/keys", json={"role": "read"})
            case.body["id"] = made.json()["id"]
        answer = case.call(base_url=url, headers=KEY, timeout=DEADLINE_S)
        if answer.status_code == 431:
            # A head that is too large is refused before anything of it is read.
            return
        case.validate_response(
            answer,
            checks=[status_code_conformance, content_type_conformance, response_schema_conformance, *checks],
        )
        # A shape that fits, and no fault of the server's own.
        assert answer.status_code != 500, answer.text
        answered[case.operation.label] += answer.status_code == 200

    for operation in operations:
        few = settings(
            max_examples=12,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )

        @few
        @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def right(case: schemathesis.Case) -> None:
            if "{id}" in case.path:
                case.path_parameters["id"] = query_run
            if case.query:
                sensible(case.path, case.query, is_body=False)
            if isinstance(case.body, dict) and case.path != "/api/v1/commit":
                sensible(case.path, case.body, is_body=True)
            if case.path.startswith("/api/v1/jobs/offline"):
                with_a_job(url, case)
            ask(case)

        @few
        @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def wrong(case: schemathesis.Case) -> None:
            for values in (case.query, case.body):
                for name in ("position", "min_position") if isinstance(values, dict) else ():
                    # Nobody waits for one of the future.
                    if isinstance(values.get(name), str) and re.fullmatch(r"e\d+(\.\d+)?", values[name]):
                        values[name] = "e1"
            ask(case, negative_data_rejection)

        right()
        if operation.body or operation.query:
            wrong()
    never = {operation.label for operation in operations} - {
        label for label, times in answered.items() if times
    }
    # No commit is pending there.
    assert never == {"POST /api/v1/commit/cancel"}, answered
