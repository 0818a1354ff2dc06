"""What was asked of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thyme._session import Definition
from thyme._steps import run
from thyme._values import Time

if TYPE_CHECKING:
    from thyme._calls import Calls


class RunsClient:
    """The part of the client that is about query runs."""

    _calls: Calls

    def query_runs(
        self,
        *,
        featureset: Definition | None = None,
        dataset: Definition | None = None,
        entity_id: Any = None,
        caller: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """The queries that were answered, newest first; see docs/query-runs.md.

        Args:
            featureset: Only those that asked for this featureset.
            dataset: Only lookups of this dataset's rows.
            entity_id: Only those that asked for this entity; a dict for a composite key.
            caller: Only those of this caller: `"key 3f9a01c2"`, the id alone, or `"anonymous"`.
            since: Only those answered at this time or later.
            until: Only those answered at this time or earlier.
            limit: The newest of them, no more than these; None means 50.

        Returns:
            `id`, `time`, `endpoint`, `caller`, `took_us`, and `queries`: of each featureset (or the
            `dataset` of a row that was looked up) its `features`,
            `entities`, `inputs`, `values`, `sha256`, and `as_of`.
        """
        return run(
            self._calls.query_runs(
                featureset=featureset,
                dataset=dataset,
                entity_id=entity_id,
                caller=caller,
                since=since,
                until=until,
                limit=limit,
            )
        )

    def query_run(self, id: str) -> dict[str, Any]:
        """One query that was answered.

        Args:
            id: `ThymeResult.query_run_id`.

        Raises:
            NotFoundError: It is not there, or no more.
        """
        return run(self._calls.query_run(id))

    def replay(self, id: str) -> dict[str, Any]:
        """Computes a query again at the `(T, S)` of its run, and compares the bits.

        Args:
            id: `ThymeResult.query_run_id`.

        Returns:
            `identical`, and of each of its `queries` also what `prevented` that (`reason` and `detail`) and
            the `differences`.

        Raises:
            NotFoundError: It is not there, or no more.
        """
        return run(self._calls.replay(id))
