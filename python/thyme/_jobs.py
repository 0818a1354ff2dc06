"""Training sets that the server computes by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thyme._result import ThymeResult
from thyme._selection import Features
from thyme._session import Definition
from thyme._steps import run
from thyme._values import Time

if TYPE_CHECKING:
    from thyme._calls import Calls

Progress = Callable[[int], None]


class JobsClient:
    """The part of the client that has the server compute training sets."""

    _calls: Calls

    def start_offline(
        self,
        featureset: Definition,
        entities: Any = None,
        *,
        entity_column: str | Sequence[str] | None = None,
        timestamp_column: str | None = None,
        spine: Definition | None = None,
        time_range: Sequence[Time | None] | None = None,
        every: str | None = None,
        as_served: bool = False,
        features: Features = None,
        meta: bool = False,
        min_position: str | None = None,
        position: str | None = None,
        wait_ms: int | None = None,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> str:
        """Hands a training set to the server, which computes it by itself, also after a restart.

        Its position is that of when it begins. Labels go to the server, and stay there with the result until
        they are cancelled, somebody is erased, or a week after the end; see docs/training.md.

        Args:
            featureset: See `query_offline`, as for all that follows.
            entities: Rows, or files of this machine or an object store that it reaches.
            entity_column: The columns of the key.
            timestamp_column: The column with the times.
            spine: A row for each event of this dataset.
            time_range: The first time, and the one before which it ends.
            every: The time between two rows of each entity.
            as_served: Uses what an online read saw.
            features: The features to answer.
            meta: Also says how each value came about.
            min_position: Waits until this position is visible.
            position: Reads the state as of this position.
            wait_ms: How long to wait for a position.
            progress: Told about rows that are sent.
            memory: What the rows under way may take.

        Returns:
            The id of the job.

        Raises:
            UnsupportedError: The engine is in memory and keeps none.
            OverloadedError: There are too many jobs.
        """
        return run(
            self._calls.start_offline(
                featureset,
                entities,
                entity_column=entity_column,
                timestamp_column=timestamp_column,
                spine=spine,
                time_range=time_range,
                every=every,
                as_served=as_served,
                features=features,
                meta=meta,
                min_position=min_position,
                position=position,
                wait_ms=wait_ms,
                progress=progress,
                memory=memory,
            )
        )

    def offline_jobs(self) -> list[dict[str, Any]]:
        """The jobs that there are, the oldest first; see `offline_job`."""
        return run(self._calls.offline_jobs())

    def offline_job(self, job: str) -> dict[str, Any]:
        """How far a job is.

        Returns:
            `id`, `status` (`open`, `waiting`, `running`, `done`, `failed`), `rows`, `rows_done`, `progress`
            from 0 to 1, `error`, and more.
        """
        return run(self._calls.offline_job(job))

    def cancel_offline(self, job: str) -> None:
        """Ends a job, whatever it is at, and removes its labels and its result."""
        run(self._calls.cancel_offline(job))

    def offline_result(
        self,
        job: str,
        *,
        output: str | Path | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> ThymeResult:
        """The training set of a job, fetched as it comes.

        Args:
            job: The id.
            output: Writes the rows to this file, with a manifest beside it; see `query_offline`.
            wait: Waits until it is done; otherwise that is an error if it is not.
            progress: Told about rows that have come.
            memory: What the rows that are kept for the result may take.

        Raises:
            ThymeError: It is not done, or what it has failed with.
        """
        return run(
            self._calls.offline_result(job, output=output, wait=wait, progress=progress, memory=memory)
        )
