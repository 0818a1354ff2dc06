"""What a client does with definitions: commit them, see what is committed, end old names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thyme._audit import owner_and_name
from thyme._errors import NotFoundError
from thyme._session import Definition, Session, decode, name_of, warn
from thyme._values import to_json


class DefinitionsClient:
    """The part of a client that is about definitions."""

    _session: Session

    def commit(
        self, definitions: Any, *, dry_run: bool = False, wait_sources: bool = False
    ) -> dict[str, Any]:
        """Commits definitions; when it returns they are live.

        Args:
            definitions: A module, a class, a list of classes, a reference such as `"features.py:Ride"`, or
                a definition document.
            dry_run: Validates only.
            wait_sources: Also waits until each new source has read what was there.

        Returns:
            `commit`, `changes`, `counts`, `position`.

        Raises:
            InvalidDefinitionError: With one fault for each place that is wrong.
        """
        params = {name: "1" for name, on in (("dry_run", dry_run), ("wait_sources", wait_sources)) if on}
        body = to_json(_document(definitions))
        answer = decode(self._session.request("POST", "/api/v1/commit", params, body, unhurried=True))
        if not dry_run:
            self._session.forget()
            self._session.wrote(answer)
        warn(answer)
        return answer

    def retire(self, reference: Any) -> dict[str, Any]:
        """Ends an old name of a feature: from then on it answers no more. It is a commit of its own.

        Args:
            reference: `"DriverFeatures.old_name"`.

        Returns:
            `commit`, `changes`, `position`.

        Raises:
            NotFoundError: No feature has, or had, this old name.
            ConflictError: It is the feature's present name, or an extractor takes the feature by it.
        """
        owner, name = owner_and_name(reference)
        body = to_json({"reference": f"{owner}.{name}"})
        answer = decode(self._session.request("POST", "/api/v1/retire", body=body, unhurried=True))
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


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    return f"; did you mean {', '.join(near)}?" if near else ""
