"""Who may do what on a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from thyme._session import Definition
from thyme._steps import run

if TYPE_CHECKING:
    from thyme._calls import Calls


class AccessClient:
    """The part of the client that is about API keys."""

    _calls: Calls

    def create_key(
        self,
        role: str | Iterable[str],
        *,
        name: str | None = None,
        featuresets: Iterable[Definition] = (),
        rate: str | None = None,
        expires: str | None = None,
    ) -> dict[str, Any]:
        """Makes an API key. Its text is in what this gives, and is never shown again.

        Args:
            role: `read`, `write`, `commit` or `admin`, or several; see docs/access.md.
            name: What it is for.
            featuresets: The only featuresets that it reads; none given means all.
            rate: How often it may ask, such as `"100/s"`, `"600/m"` or `"5000/h"`; None means as often as it
                likes.
            expires: For how long it opens anything, such as `"12h"` or `"90d"`, up to `"9999d"`; None means
                for ever.

        Returns:
            `key` (its text), `id`, `name`, `roles`, `featuresets`, `rate`, `created`, `created_by`,
            `expires`.

        Raises:
            ForbiddenError: Only a key with the role admin may.
        """
        return run(
            self._calls.create_key(role, name=name, featuresets=featuresets, rate=rate, expires=expires)
        )

    def api_keys(self) -> list[dict[str, Any]]:
        """The API keys, newest first, revoked ones too: what `create_key` gives, but not their texts.

        Returns:
            Also when and by whom each was `revoked` and `revoked_by`, and when it was last `used` since the
            server started.
        """
        return run(self._calls.api_keys())

    def revoke_key(self, id: str) -> dict[str, Any]:
        """Revokes an API key: from now on it opens nothing.

        Args:
            id: Its id, as `api_keys` has it: the eight digits in its text.

        Raises:
            NotFoundError: There is no such key.
            ConflictError: It is revoked already, or is the last with the role admin.
        """
        return run(self._calls.revoke_key(id))
