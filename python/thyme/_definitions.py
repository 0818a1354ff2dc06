"""What a client does with definitions: commit them, see what is committed, end old names."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thyme._audit import owner_and_name
from thyme._errors import NotFoundError
from thyme._session import Definition, Session, decode, name_of, warn
from thyme._values import to_json

# What of the files goes into the history.
SOURCE_BYTES_MAX = 1 << 20


class DefinitionsClient:
    """The part of a client that is about definitions."""

    _session: Session

    def plan(self, definitions: Any) -> dict[str, Any]:
        """What a commit of definitions would change, without doing it.

        Args:
            definitions: As `commit` takes them.

        Returns:
            `base` (the commit it was planned against, for `commit(base=)`), `changed`, `changes` (`kind`,
            `subject`, `detail`, `effect`), `counts`.

        Raises:
            InvalidDefinitionError: With one fault for each place that is wrong.
            ConflictError: A change of meaning without a version, with the fix.
        """
        body = to_json(_document(definitions))
        return decode(self._session.request("POST", "/api/v1/plan", body=body, repeatable=True))

    def commit(
        self,
        definitions: Any,
        *,
        dry_run: bool = False,
        wait_sources: bool = False,
        base: str | None = None,
        message: str | None = None,
        author: str | None = None,
        source: bool = True,
    ) -> dict[str, Any]:
        """Commits definitions; when it returns they are live.

        Args:
            definitions: A module, a class, a list of classes, a reference such as `"features.py:Ride"`, or
                a definition document.
            dry_run: Validates only.
            wait_sources: Also waits until each new source has read what was there.
            base: The commit that this was planned against, as `plan` gave it; if another came first, nothing
                is committed.
            message: Why, for the history.
            author: Who, for the history; None is `THYME_AUTHOR`, or the user of this machine.
            source: Whether the Python files go into the history with it.

        Returns:
            `commit`, `changed` (whether there was anything to commit), `changes`, `counts`, `position`.

        Raises:
            InvalidDefinitionError: With one fault for each place that is wrong.
            ConflictError: A change of meaning without a version; or somebody committed since `base`, with
                what that changed as `faults`.
        """
        params = {name: "1" for name, on in (("dry_run", dry_run), ("wait_sources", wait_sources)) if on}
        document = _document(definitions)
        if not dry_run:
            said = {"base": base, "message": message, "author": author or default_author()}
            params.update({name: value for name, value in said.items() if value})
            if source:
                document = {"source": sources_of(document), **document}
        body = to_json(document)
        answer = decode(self._session.request("POST", "/api/v1/commit", params, body, unhurried=True))
        if not dry_run:
            self._session.forget()
            self._session.wrote(answer)
        warn(answer)
        return answer

    def history(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The commits, newest first.

        Args:
            limit: No more than these; None means all. They are fetched in pages.

        Yields:
            `commit`, `parent`, `time`, `position`, `author`, `message`, `counts`.
        """
        return self._session.pages("/api/v1/history", {}, "commits", limit)

    def committed(self, commit: str = "latest") -> dict[str, Any]:
        """One commit, whole: what `history` gives, and its `definitions` and `source`.

        Args:
            commit: Its id, the beginning of it, or `"latest"`.
        """
        return self._session.fetch("/api/v1/history", {"commit": commit})

    def diff(self, from_commit: str | None = None, to_commit: str = "latest") -> dict[str, Any]:
        """What one commit has otherwise than another.

        Args:
            from_commit: The one before; None is the parent of `to_commit`, `"none"` is nothing at all.
            to_commit: The one after.

        Returns:
            `from`, `to`, `changes`, `counts`.
        """
        return self._session.fetch("/api/v1/diff", {"from": from_commit, "to": to_commit})

    def retire(
        self, reference: Any, *, message: str | None = None, author: str | None = None
    ) -> dict[str, Any]:
        """Ends an old name of a feature, or a superseded version of a dataset: it answers no more.

        It is a commit of its own.

        Args:
            reference: `"DriverFeatures.old_name"`, or `"DriverStats@1"`.
            message: Why, for the history.
            author: Who, for the history.

        Returns:
            `commit`, `changes`, `position`.

        Raises:
            NotFoundError: No feature has, or had, this old name.
            ConflictError: It is the feature's present name, or an extractor takes the feature by it.
        """
        if not (isinstance(reference, str) and "@" in reference):
            reference = ".".join(owner_and_name(reference))
        body = to_json({"reference": reference})
        said = {"message": message, "author": author or default_author()}
        params = {name: value for name, value in said.items() if value}
        answer = decode(self._session.request("POST", "/api/v1/retire", params, body, unhurried=True))
        self._session.forget()
        self._session.wrote(answer)
        return answer

    def inspect(self, definition: Definition | None = None) -> dict[str, Any]:
        """What is committed: everything, or one featureset or dataset.

        Raises:
            NotFoundError: Nothing is committed under that name.
        """
        catalog = self._session.refresh()
        if definition is None:
            return catalog.content
        name = name_of(definition)
        found = catalog.featureset(name) or catalog.dataset(name)
        if found is None:
            hint = _did_you_mean(name, catalog.names) if catalog.names else "; nothing is committed yet"
            raise NotFoundError(f'no featureset or dataset named "{name}"{hint}')
        return found


def _document(definitions: Any) -> Any:
    if isinstance(definitions, Mapping):
        return definitions
    from thyme._document import collect, load

    return collect(load(definitions) if isinstance(definitions, str) else definitions)


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
