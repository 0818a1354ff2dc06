"""Requests in the terms of the API: errors raised, answers decoded, names and types known."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from thyme._catalog import Catalog
from thyme._errors import InvalidDataError, ThymeError, error_from_answer
from thyme._exchange import Answer
from thyme._frames import ARROW_STREAM, table_from_ipc, tables_from_ipc
from thyme._result import ThymeResult
from thyme._steps import AsyncTransport
from thyme._values import Time, entity_id, from_answer, request_time, to_json

# A featureset or dataset: its class, or the name it was committed under.
Definition = type | str

T = TypeVar("T")

JSON = "application/json"
_PACKAGE = Path(__file__).parent
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

    It is written once, as coroutines; whether they ever wait is the transport's matter (`_steps`).

    Attributes:
        transport: Carries the requests.
        timeout_s: How long a read waits for its answer, all tries together; None means as long as it takes.
        makes_keys: Whether a push without an idempotency key gets one of its own.
        written: The position of what was last written through here.
        reads_own_writes: Whether every read waits for `written`.
    """

    def __init__(
        self, transport: AsyncTransport, timeout_s: float | None, *, makes_keys: bool = False
    ) -> None:
        self.transport = transport
        self.timeout_s = timeout_s
        self.makes_keys = makes_keys
        self.written: str | None = None
        self.reads_own_writes = False
        self._catalog: Catalog | None = None
        self._commits_seen: set[str] = set()

    async def request(
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
        answer = await self.transport.request(
            method,
            f"{path}?{urlencode(given, doseq=True, quote_via=quote)}" if given else path,
            headers=sent,
            body=body,
            repeatable=repeatable,
            timeout_s=None if unhurried else self.timeout_s,
        )
        if not 200 <= answer.status < 300:
            error = error_from_answer(answer.status, answer.body, self.transport.origin)
            if answer.tries > 1:
                error.detail += f" (tried {answer.tries} times)"
            raise error
        return answer

    async def fetch(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of a GET."""
        return decode(await self.request("GET", path, params, repeatable=True))

    async def pages(
        self, path: str, params: Mapping[str, Any], name: str, limit: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        """The entries of a listing, newest first, fetched page by page."""
        left, before = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            answer = await self.fetch(path, {**params, "limit": size, "before": before})
            entries = answer[name]
            for entry in entries:
                yield entry
            left = None if left is None else left - len(entries)
            before = answer.get("next")
            if before is None:
                return

    async def query(self, name: str, body: Mapping[str, Any]) -> ThymeResult:
        """One row of features from `POST /features`."""
        answer = await self.request("POST", "/features", body=to_json(body), repeatable=True)
        content = decode(answer)
        types = await self.types(name, content)
        metadata = {key: value for key, value in content.items() if key not in ("features", "non_finite")}
        warn(content)
        return ThymeResult(
            rows=[from_answer(content.get("features") or {}, types, content.get("non_finite"))],
            types=types,
            metadata=metadata,
            query_run_id=answer.headers.get("x-query-run-id"),
        )

    async def table(
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
        answer = await self.request(
            method,
            path,
            params,
            body,
            content_type=content_type,
            accept=ARROW_STREAM,
            repeatable=True,
            unhurried=unhurried,
        )
        return _result(table_from_ipc(answer.body), answer)

    async def tables(self, path: str, body: bytes) -> list[ThymeResult]:
        """The results of a read that answers in several Arrow streams."""
        answer = await self.request("POST", path, body=body, accept=ARROW_STREAM, repeatable=True)
        return [_result(table, answer) for table in tables_from_ipc(answer.body)]

    async def push(self, name: str, body: bytes, content_type: str, key: str | None) -> dict[str, Any]:
        """One push; with an idempotency key it is repeated if the connection breaks.

        A key is made where none is given and the connection may break: without one, nobody could tell
        whether a push whose answer was lost has been stored.
        """
        if key is None and self.makes_keys:
            key = uuid4().hex
        answer = decode(
            await self.request(
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

    async def offload(self, call: Callable[..., T], *arguments: Any) -> T:
        """What `call` gives; a call that takes its time (files, large tables) holds nobody else up."""
        return await self.transport.offload(call, *arguments)

    async def each(self, items: Iterable[T]) -> AsyncIterator[T]:
        """The items (none of them None), each got by `offload`."""
        source = iter(items)
        while (item := await self.offload(next, source, None)) is not None:
            yield item

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

    async def refresh(self) -> Catalog:
        """Reads the catalog."""
        self._catalog = Catalog(await self.fetch("/api/v1/featuresets"))
        if self._catalog.commit:
            self._commits_seen.add(self._catalog.commit)
        return self._catalog

    async def _known(self) -> Catalog:
        """The catalog, read if it never was."""
        known = self._catalog
        return await self.transport.shared("catalog", self.refresh) if known is None else known

    def forget(self) -> None:
        """Makes the next use of the catalog read it again."""
        self._catalog = None

    async def catalog(self, name: str) -> Catalog:
        """The catalog, read again if it does not have `name`."""
        catalog = await self._known()
        return catalog if catalog.featureset(name) or catalog.dataset(name) else await self.refresh()

    async def types(self, name: str, answer: Mapping[str, Any]) -> dict[str, str]:
        """The types of the values in an answer, from a catalog at least as new as the commit it names."""
        commit = (answer.get("as_of") or {}).get("commit")
        catalog = await self._known()
        if commit is not None and commit != catalog.commit and commit not in self._commits_seen:
            catalog = await self.transport.shared(f"catalog of {commit}", self.refresh)
            # After, not before: whoever meets this commit meanwhile must not go by the old catalog.
            self._commits_seen.add(commit)
        return catalog.types(name)

    async def entity(self, name: str, given: Any) -> Any:
        """An entity id as a request carries it."""
        if isinstance(given, (tuple, list, Mapping)):
            types = (await self.catalog(name)).key_types(name)
            return entity_id(given, list(types) if types else None)
        return entity_id(given, None)

    async def entity_params(self, name: str, given: Any) -> dict[str, Any]:
        """An entity id as parameters of `GET /features`."""
        key = await self.entity(name, given)
        if not isinstance(key, Mapping):
            return {"entity_id": _text(key)}
        texts = {field: _text(value) for field, value in key.items()}
        if _LOOKUP_PARAMS.isdisjoint(texts):
            return texts
        return {"entity_id": ",".join(f"{field}={text}" for field, text in texts.items())}


def _result(table: Any, answer: Answer) -> ThymeResult:
    """A table of an answer, with what its schema says of it."""
    metadata = {key.decode(): _metadata(value) for key, value in (table.schema.metadata or {}).items()}
    warn(metadata)
    return ThymeResult(
        table=table.replace_schema_metadata(None),
        metadata=metadata,
        query_run_id=answer.headers.get("x-query-run-id"),
    )


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
    texts = answer.get("warnings")
    if texts:
        level = _stacklevel()
        for text in texts:
            warnings.warn(str(text), ThymeWarning, stacklevel=level)


def _stacklevel() -> int:
    """What makes a warning of the caller of this function's caller point at the line outside this package."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level


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
