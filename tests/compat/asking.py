"""Asks a server what `expected.json` has the answers to: through the API, so that the texts are the values."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from thyme._steps import run

JSON = {"Content-Type": "application/json"}
VALUES = ("features", "non_finite", "results")


def ask(client: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """The values of an answer, and the position it is as of."""
    if "entity_type" in asked:
        answer = request(client, "GET", f"/features?{urlencode(asked)}")
    elif "queries" in asked:
        answer = request(client, "POST", "/features/offline", asked)
    else:
        answer = request(client, "POST", "/features", asked)
    kept = {name: answer[name] for name in VALUES if name in answer}
    return kept | {"position": answer["as_of"]["position"]}


def facts(client: Any) -> dict[str, Any]:
    """What is known besides values: the commit, the counters of each dataset, dead letters, definitions."""
    status = client.status()
    counters = ("name", "kind", "version", "events", "late", "dead_letters", "entities", "newest")
    letters = ("position", "dataset", "origin", "reason", "raw")
    return {
        "commit": status["commit"],
        "position": status["position"],
        "datasets": [{name: each[name] for name in counters} for each in status["datasets"]],
        "dead_letters": [
            {name: letter[name] for name in letters}
            for dataset in ("Trip", "Refund")
            for letter in client.dead_letters(dataset)
        ],
    }


def request(
    client: Any,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A request as it is, around the conveniences of the client."""
    sent = b"" if body is None else json.dumps(body).encode()
    answer = run(
        client._session.transport.request(
            method, path, headers=JSON | (headers or {}), body=sent, repeatable=True, timeout_s=None
        )
    )
    assert answer.status == 200, answer.body
    content: dict[str, Any] = json.loads(answer.body)
    return content
