"""What a client does with definitions: the calls. See `_calls`."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thyme._audit import owner_and_name
from thyme._errors import NotFoundError
from thyme._plan import Plan, with_inputs
from thyme._secrets import refuse_secrets
from thyme._session import Definition, Session, decode, name_of, warn
from thyme._values import to_json

# What of the files goes into the history.
SOURCE_BYTES_MAX = 1 << 20


class DefinitionCalls:
    """The calls that are about definitions."""

    _session: Session
    # Whether what is committed keeps its sources.
    _keeps_sources = True

    def _document(self, definitions: Any) -> Any:
        document = definitions
        if not isinstance(definitions, Mapping):
            from thyme._document import collect, load

            document = collect(load(definitions) if isinstance(definitions, str) else definitions)
        return document if self._keeps_sources else without_sources(document)

    async def plan(
        self,
        definitions: Any,
        *,
        values: bool = False,
        sample: int | str | None = None,
        times: int | None = None,
        examples: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        time_limit_s: int | None = None,
    ) -> Plan:
        """See `ThymeClient.plan`."""
        given = {
            "sample": sample,
            "times": times,
            "examples": examples,
            "inputs": None if inputs is None else dict(inputs),
            "time_limit_s": time_limit_s,
        }
        asked = {name: value for name, value in given.items() if value is not None}
        document = self._document(definitions)
        has_values = values or bool(asked)
        body = to_json({"values": asked, **document} if has_values else document)
        answer = await self._session.request(
            "POST", "/api/v1/plan", body=body, repeatable=True, unhurried=has_values
        )
        planned = Plan(decode(answer))
        if inputs and isinstance(planned.get("values"), dict):
            # The lines are about what is live, which may take other inputs than what is planned.
            with_inputs(planned, inputs, (await self._session.refresh()).request_features)
        return planned

    async def commit(
        self,
        definitions: Any,
        *,
        dry_run: bool = False,
        wait_sources: bool = False,
        base: str | None = None,
        message: str | None = None,
        author: str | None = None,
        source: bool = True,
        wait: bool = True,
    ) -> dict[str, Any]:
        """See `ThymeClient.commit`."""
        params = {name: "1" for name, on in (("dry_run", dry_run), ("wait_sources", wait_sources)) if on}
        if not wait:
            params["wait"] = "false"
        document = self._document(definitions)
        files = sources_of(document)
        refuse_secrets(document, files, travel=source)
        if not dry_run:
            said = {"base": base, "message": message, "author": author or default_author()}
            params.update({name: value for name, value in said.items() if value})
            if source:
                document = {"source": files, **document}
        body = to_json(document)
        answer = decode(await self._session.request("POST", "/api/v1/commit", params, body, unhurried=True))
        if not dry_run:
            self._session.forget()
            self._session.wrote(answer)
        warn(answer)
        return answer

    def history(self, limit: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """See `ThymeClient.history`."""
        return self._session.pages("/api/v1/history", {}, "commits", limit)

    async def committed(self, commit: str = "latest") -> dict[str, Any]:
        """See `ThymeClient.committed`."""
        return await self._session.fetch("/api/v1/history", {"commit": commit})

    async def diff(self, from_commit: str | None = None, to_commit: str = "latest") -> dict[str, Any]:
        """See `ThymeClient.diff`."""
        return await self._session.fetch("/api/v1/diff", {"from": from_commit, "to": to_commit})

    async def retire(
        self, reference: Any, *, message: str | None = None, author: str | None = None
    ) -> dict[str, Any]:
        """See `ThymeClient.retire`."""
        if not (isinstance(reference, str) and "@" in reference):
            reference = ".".join(owner_and_name(reference))
        body = to_json({"reference": reference})
        said = {"message": message, "author": author or default_author()}
        params = {name: value for name, value in said.items() if value}
        answer = decode(await self._session.request("POST", "/api/v1/retire", params, body, unhurried=True))
        self._session.forget()
        self._session.wrote(answer)
        return answer

    async def rollback(
        self, commit: str, *, message: str | None = None, author: str | None = None, wait: bool = True
    ) -> dict[str, Any]:
        """See `ThymeClient.rollback`."""
        said = {"message": message, "author": author or default_author()}
        params = {name: value for name, value in said.items() if value}
        body = to_json({"commit": commit, "wait": wait})
        answer = decode(await self._session.request("POST", "/api/v1/rollback", params, body, unhurried=True))
        self._session.forget()
        self._session.wrote(answer)
        return answer

    async def cancel_commit(self, commit: str | None = None) -> str:
        """See `ThymeClient.cancel_commit`."""
        body = to_json({} if commit is None else {"commit": commit})
        answer = decode(await self._session.request("POST", "/api/v1/commit/cancel", body=body))
        self._session.forget()
        cancelled: str = answer["cancelled"]
        return cancelled

    async def inspect(self, definition: Definition | None = None) -> dict[str, Any]:
        """See `ThymeClient.inspect`."""
        catalog = await self._session.refresh()
        if definition is None:
            return catalog.content
        name = name_of(definition)
        found = catalog.featureset(name) or catalog.dataset(name)
        if found is None:
            hint = _did_you_mean(name, catalog.names) if catalog.names else "; nothing is committed yet"
            raise NotFoundError(f'no featureset or dataset named "{name}"{hint}')
        return found


# What a source may say about lateness holds for pushes as well, once there is no source.
_STREAM_SETTINGS = ("max_lateness", "max_future_skew")


def without_sources(document: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions with datasets that are pushed to, late and early as their sources were."""
    datasets = []
    for dataset in document.get("datasets") or ():
        source: Mapping[str, Any] = dataset.get("source") or next(iter(dataset.get("sources") or ()), {})
        settings = {name: source[name] for name in _STREAM_SETTINGS if source.get(name) is not None}
        datasets.append({**{k: v for k, v in dataset.items() if k not in ("source", "sources")}, **settings})
    return {**document, "datasets": datasets}


def default_author() -> str | None:
    """Who commits, if nothing else is said."""
    given = os.environ.get("THYME_AUTHOR")
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None  # a container's user may have no name


def sources_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The Python files that definitions are in, by the names that the document has for them."""
    places = [
        each.get("at") or {} for kind in ("datasets", "featuresets") for each in document.get(kind) or ()
    ]
    found: dict[str, str] = {}
    size = 0
    for name in dict.fromkeys(place.get("file") or "" for place in places):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8") if name.endswith(".py") and path.is_file() else None
        except (OSError, UnicodeDecodeError):
            text = None  # it is for the history alone
        size += len((text or "").encode())
        if text is not None and size <= SOURCE_BYTES_MAX:
            found[name] = text
    return found


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    return f"; did you mean {', '.join(near)}?" if near else ""
