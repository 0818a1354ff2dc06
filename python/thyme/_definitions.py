"""What a client does with definitions: commit them, see what is committed, end old names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from thyme._plan import Plan
from thyme._session import Definition
from thyme._steps import iterate, run

if TYPE_CHECKING:
    from thyme._calls import Calls


class DefinitionsClient:
    """The part of a client that is about definitions."""

    _calls: Calls

    def plan(
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
        """What a commit of definitions would change, without doing it.

        Args:
            definitions: As `commit` takes them.
            values: Also computes the touched features before and after, for some entities at times of
                their own events, and what the commit takes.
            sample: How many entities of each featureset, or `"all"`. It implies `values`, as do all that
                follow.
            times: At how many times of its own events each entity, besides now.
            examples: How many rows that differ are given of each feature.
            inputs: The values of request features, by name.
            time_limit_s: The values are given up after this; the plan is not.

        Returns:
            A dict, which a notebook shows as tables: `base` (the commit it was planned against, for
            `commit(base=)`), `changed`, `changes` (`kind`, `subject`, `detail`, `effect`), `counts`; with
            values also `values` and `cost`, which `docs/http.md` describes.

        Raises:
            InvalidDefinitionError: With one fault for each place that is wrong.
            ConflictError: A change of meaning without a version, with the fix.
        """
        return run(
            self._calls.plan(
                definitions,
                values=values,
                sample=sample,
                times=times,
                examples=examples,
                inputs=inputs,
                time_limit_s=time_limit_s,
            )
        )

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
        wait: bool = True,
    ) -> dict[str, Any]:
        """Commits definitions; when it returns they are live, unless it is told not to wait for that.

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
            wait: Whether to wait while new pipelines are filled from the log. If not, the commit may be
                pending: `position` is None, `pending` says how far it is, and so does `status()["backfill"]`.

        Returns:
            `commit`, `changed` (whether there was anything to commit), `changes`, `counts`, `position`.

        Raises:
            InvalidDefinitionError: With one fault for each place that is wrong.
            DefinitionValueError: Something that would be kept looks like a secret; nothing is sent.
            ConflictError: A change of meaning without a version; or somebody committed since `base`, with
                what that changed as `faults`; or another commit is pending.
        """
        return run(
            self._calls.commit(
                definitions,
                dry_run=dry_run,
                wait_sources=wait_sources,
                base=base,
                message=message,
                author=author,
                source=source,
                wait=wait,
            )
        )

    def cancel_commit(self, commit: str | None = None) -> str:
        """Gives up the commit that is pending; nothing of it is live.

        Args:
            commit: Only if it is this one.

        Returns:
            Its id.

        Raises:
            NotFoundError: No commit is pending.
            ConflictError: Another one is, or it is going live.
        """
        return run(self._calls.cancel_commit(commit))

    def rollback(
        self, commit: str, *, message: str | None = None, author: str | None = None, wait: bool = True
    ) -> dict[str, Any]:
        """Makes the definitions of an earlier commit hold again, as a new commit on top.

        Args:
            commit: The commit to go back to: its id, or the beginning of it.
            message: Why, for the history.
            author: Who, for the history.
            wait: As of `commit`.

        Returns:
            What `commit` returns.

        Raises:
            ConflictError: A feature or a name that was ended since would come back; or a commit is pending.
            NotFoundError: There is no such commit.
        """
        return run(self._calls.rollback(commit, message=message, author=author, wait=wait))

    def history(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The commits, newest first.

        Args:
            limit: No more than these; None means all. They are fetched in pages.

        Yields:
            `commit`, `parent`, `time`, `position`, `author`, `message`, `counts`.
        """
        return iterate(self._calls.history(limit))

    def committed(self, commit: str = "latest") -> dict[str, Any]:
        """One commit, whole: what `history` gives, and its `definitions` and `source`.

        Args:
            commit: Its id, the beginning of it, or `"latest"`.
        """
        return run(self._calls.committed(commit))

    def diff(self, from_commit: str | None = None, to_commit: str = "latest") -> dict[str, Any]:
        """What one commit has otherwise than another.

        Args:
            from_commit: The one before; None is the parent of `to_commit`, `"none"` is nothing at all.
            to_commit: The one after; `"none"` is nothing at all.

        Returns:
            `from`, `to`, `changes`, `counts`.
        """
        return run(self._calls.diff(from_commit, to_commit))

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
        return run(self._calls.retire(reference, message=message, author=author))

    def inspect(self, definition: Definition | None = None) -> dict[str, Any]:
        """What is committed: everything, or one featureset or dataset.

        Raises:
            NotFoundError: Nothing is committed under that name.
        """
        return run(self._calls.inspect(definition))
