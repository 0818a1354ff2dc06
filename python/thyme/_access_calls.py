"""Who may do what on a server: the calls. See `_calls`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thyme._errors import InvalidDataError
from thyme._session import Definition, Session, decode, name_of
from thyme._values import to_json


class AccessCalls:
    """The calls that are about API keys."""

    _session: Session

    async def create_key(
        self,
        role: str | Iterable[str],
        *,
        name: str | None = None,
        featuresets: Iterable[Definition] = (),
        rate: str | None = None,
        expires: str | None = None,
    ) -> dict[str, Any]:
        """See `ThymeClient.create_key`."""
        body = to_json(wanted_key(role, name, featuresets, rate, expires))
        return decode(await self._session.request("POST", "/api/v1/keys", body=body))

    async def api_keys(self) -> list[dict[str, Any]]:
        """See `ThymeClient.api_keys`."""
        keys: list[dict[str, Any]] = (await self._session.fetch("/api/v1/keys"))["keys"]
        return keys

    async def revoke_key(self, id: str) -> dict[str, Any]:
        """See `ThymeClient.revoke_key`."""
        return decode(await self._session.request("POST", "/api/v1/keys/revoke", body=to_json({"id": id})))


def wanted_key(
    role: str | Iterable[str],
    name: str | None,
    featuresets: Iterable[Definition],
    rate: str | None,
    expires: str | None,
) -> dict[str, Any]:
    """The body of a request for a key."""
    if isinstance(featuresets, (str, type)):
        raise InvalidDataError(f"featuresets: expected a list, such as [{name_of(featuresets)!r}]")
    body: dict[str, Any] = {"role": role if isinstance(role, str) else list(role)}
    if name is not None:
        body["name"] = name
    names = [name_of(each) for each in featuresets]
    if names:
        body["featuresets"] = names
    if rate is not None:
        body["rate"] = rate
    if expires is not None:
        body["expires"] = expires
    return body
