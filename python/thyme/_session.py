"""Requests in the terms of the API: errors raised, answers decoded, names and types known."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from thyme._catalog import Catalog
from thyme._errors import InvalidDataError, ThymeError, error_from_answer
from thyme._frames import ARROW_STREAM, table_from_ipc
from thyme._result import ThymeResult
from thyme._transport import Answer, Transport
from thyme._values import Time, entity_id, from_answer, request_time, to_json

# A featureset or dataset: its class, or the name it was committed under.
Definition = type | str

JSON = "application/json"
# Entries of one page of a listing.
PAGE = 1000
# Parameters of `GET /features` that a key field cannot be given beside.
_LOOKUP_PARAMS = {
    "featureset",
    "entity_type",
    "entity_id",
    "timestamp",
    "ts",
    "position",
    "min_position",
    "wait_ms",
    "missing",
}


class ThymeWarning(UserWarning):
    """Something the server wants the caller to know about an answer."""


class Session:
    """A transport, and what is known of the server behind it.

    Attributes:
        transport: Carries the requests.
        timeout_s: How long a read waits for its answer; None means as long as it takes.
        written: The position of what was last written through here.
        reads_own_writes: Whether every read waits for `written`.
    """

    def __init__(self, transport: Transport, timeout_s: float | None) -> None:
        self.transport = transport
        self.timeout_s = timeout_s
        self.written: str | None = None
        self.reads_own_writes = False
        self._catalog: Catalog | None = None
        self._commits_seen: set[str] = set()

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        accept: str | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        unhurried: bool = False,
    ) -> Answer:
        """Sends one request.

        Args:
            method: `GET` or `POST`.
            path: The path.
            params: The query string; those that are None are left out.
            body: The body.
            content_type: What the body is.
            accept: What the answer should be.
            headers: More headers.
            repeatable: Whether sending it twice does no more than sending it once.
            unhurried: Waits for the answer as long as it takes.

        Raises:
            ThymeError: The answer is not 2xx.
        """
        sent = dict(headers or {})
        if body:
            sent["Content-Type"] = content_type
        if accept:
            sent["Accept"] = accept
        given = {name: value for name, value in (params or {}).items() if value is not None}
        answer = self.transport.request(
            method,
            f"{path}?{urlencode(given, doseq=True, quote_via=quote)}" if given else path,
            headers=sent,
            body=body,
            repeatable=repeatable,
            timeout_s=None if unhurried else self.timeout_s,
        )
        if not 200 <= answer.status < 300:
            raise error_from_answer(answer.status, answer.body, self.transport.origin)
        return answer

    def fetch(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of a GET."""
        return decode(self.request("GET", path, params, repeatable=True))

    def pages(
        self, path: str, params: Mapping[str, Any], name: str, limit: int | None
    ) -> Iterator[dict[str, Any]]:
        """The entries of a listing, newest first, fetched page by page."""
        left, before = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            answer = self.fetch(path, {**params, "limit": size, "before": before})
            entries = answer[name]
            yield from entries
            left = None if left is None else left - len(entries)
            before = answer.get("next")
            if before is None:
                return

    def query(self, name: str, body: Mapping[str, Any]) -> ThymeResult:
        """One row of features from `POST /features`."""
        answer = self.request("POST", "/features", body=to_json(body), repeatable=True)
        content = decode(answer)
        types = self.types(name, content)
        metadata = {key: value for key, value in content.items() if key not in ("features", "non_finite")}
        warn(content)
        return ThymeResult(
            rows=[from_answer(content.get("features") or {}, types, content.get("non_finite"))],
            types=types,
            metadata=metadata,
            query_run_id=answer.headers.get("x-query-run-id"),
        )

    def table(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        unhurried: bool = False,
    ) -> ThymeResult:
        """The rows of a read that answers in Arrow."""
        answer = self.request(
            method,
            path,
            params,
            body,
            content_type=content_type,
            accept=ARROW_STREAM,
            repeatable=True,
            unhurried=unhurried,
        )
        table = table_from_ipc(answer.body)
        metadata = {key.decode(): _metadata(value) for key, value in (table.schema.metadata or {}).items()}
        warn(metadata)
        return ThymeResult(
            table=table.replace_schema_metadata(None),
            metadata=metadata,
            query_run_id=answer.headers.get("x-query-run-id"),
        )

    def push(self, name: str, body: bytes, content_type: str, key: str | None) -> dict[str, Any]:
        """One push; with an idempotency key it is repeated if the connection breaks."""
        answer = decode(
            self.request(
                "POST",
                "/api/v1/log",
                None if content_type == JSON else {"dataset": name},
                body,
                content_type=content_type,
                headers=None if key is None else {"Idempotency-Key": key},
                repeatable=key is not None,
            )
        )
        self.wrote(answer)
        warn(answer)
        return answer

    def wrote(self, answer: Mapping[str, Any]) -> None:
        """Notes the position of a write."""
        self.written = answer.get("position") or self.written

    def when(
        self, at: Time | None, min_position: str | None, position: str | None, wait_ms: int | None = None
    ) -> dict[str, Any]:
        """The fields of a read that say at which time and position."""
        if min_position is None and position is None and self.reads_own_writes:
            min_position = self.written
        moment = None if at is None else request_time(at)
        given = {
            "timestamp": moment,
            "min_position": min_position,
            "position": position,
            "wait_ms": wait_ms,
        }
        return {name: value for name, value in given.items() if value is not None}

    def refresh(self) -> Catalog:
        """Reads the catalog."""
        self._catalog = Catalog(self.fetch("/api/v1/featuresets"))
        if self._catalog.commit:
            self._commits_seen.add(self._catalog.commit)
        return self._catalog

    def forget(self) -> None:
        """Makes the next use of the catalog read it again."""
        self._catalog = None

    def catalog(self, name: str) -> Catalog:
        """The catalog, read again if it does not have `name`."""
        catalog = self._catalog or self.refresh()
        return catalog if catalog.featureset(name) or catalog.dataset(name) else self.refresh()

    def types(self, name: str, answer: Mapping[str, Any]) -> dict[str, str]:
        """The types of the values in an answer, from a catalog at least as new as the commit it names."""
        commit = (answer.get("as_of") or {}).get("commit")
        catalog = self._catalog or self.refresh()
        if commit is not None and commit != catalog.commit and commit not in self._commits_seen:
            self._commits_seen.add(commit)
            catalog = self.refresh()
        return catalog.types(name)

    def entity(self, name: str, given: Any) -> Any:
        """An entity id as a request carries it."""
        if isinstance(given, (tuple, list, Mapping)):
            types = self.catalog(name).key_types(name)
            return entity_id(given, list(types) if types else None)
        return entity_id(given, None)

    def entity_params(self, name: str, given: Any) -> dict[str, Any]:
        """An entity id as parameters of `GET /features`."""
        key = self.entity(name, given)
        if not isinstance(key, Mapping):
            return {"entity_id": _text(key)}
        texts = {field: _text(value) for field, value in key.items()}
        if _LOOKUP_PARAMS.isdisjoint(texts):
            return texts
        return {"entity_id": ",".join(f"{field}={text}" for field, text in texts.items())}


def decode(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ThymeError: It is none.
    """
    try:
        content = json.loads(answer.body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ThymeError(
            "the answer is not what a Thyme server gives; is the URL right?", status=answer.status
        )
    return content


def name_of(definition: Definition) -> str:
    """The name that a class is committed under, or the name itself."""
    if isinstance(definition, str):
        return definition
    if not isinstance(definition, type):
        raise InvalidDataError(f"{definition!r} is neither a featureset or dataset class nor a name")
    return definition.__name__


def warn(answer: Mapping[str, Any]) -> None:
    """Passes the server's warnings on."""
    for text in answer.get("warnings") or ():
        warnings.warn(str(text), ThymeWarning, stacklevel=4)


def _metadata(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value.decode(errors="replace")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (list, tuple, Mapping)):
        raise InvalidDataError(f"{value!r} cannot be an entity id")
    return str(value) if isinstance(value, (str, int, float)) else str(request_time(value))
