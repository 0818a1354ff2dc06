"""Training sets that the server computes by itself: the calls. See `_calls`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thyme._errors import ConflictError, ThymeError, error_from_answer
from thyme._frames import ARROW_STREAM, ipc_bytes, plain_columns
from thyme._result import ThymeResult
from thyme._selection import Features
from thyme._session import Definition, Session, decode, name_of
from thyme._values import Time

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[int], None]

JOBS = "/api/v1/jobs/offline"
# How often it is asked how far a job is; it grows to the second.
_PAUSES_S = (0.02, 1.0)


class Upload:
    """Labels on their way to a job, one slice after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: pa.Table | None = None
        self._id: str | None = None
        self._parts = 0
        self._has_failed = False
        self.rows = 0

    async def add(self, params: Mapping[str, Any], part: pa.Table) -> None:
        """Takes a slice, and sends the one before: the server is told which is the last."""
        if self._held is not None:
            await self._send(params, self._held, is_last=False)
        self._held = part

    async def end(self, params: Mapping[str, Any]) -> str:
        """Sends what is left, and gives the id of the job."""
        assert self._held is not None  # there is at least one slice, if an empty one
        await self._send(params, self._held, is_last=True)
        assert self._id is not None
        return self._id

    async def give_up(self) -> None:
        """Removes a job that does not get all of its labels."""
        if self._id is not None:
            with suppress(ThymeError):
                await self._session.request("POST", f"{JOBS}/cancel", {"id": self._id}, repeatable=True)

    async def _send(self, params: Mapping[str, Any], part: pa.Table, *, is_last: bool) -> None:
        if self._has_failed:
            return
        try:
            await self._send_part(params, part, is_last=is_last)
        except ConflictError:
            if self._id is None:
                raise
            job = decode(await self._session.request("GET", JOBS, {"id": self._id}, repeatable=True))
            if job["status"] != "failed":
                raise
            # It needs no more labels; it says itself why.
            self._has_failed = True

    async def _send_part(self, params: Mapping[str, Any], part: pa.Table, *, is_last: bool) -> None:
        body = await self._session.offload(lambda: ipc_bytes(plain_columns(part)))
        more = {} if is_last else {"more": "1"}
        where = {"id": self._id, "part": self._parts} if self._id else params
        answer = await self._session.request(
            "POST",
            f"{JOBS}/part" if self._id else JOBS,
            {**where, **more},
            body,
            content_type=ARROW_STREAM,
            # A part has a number; a job that began twice would be two.
            repeatable=self._id is not None,
            unhurried=True,
        )
        self._id = decode(answer)["id"]
        self._parts += 1
        self.rows += part.num_rows


class JobCalls:
    """The calls about jobs."""

    _session: Session

    async def start_offline(
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
        """See `ThymeClient.start_offline`."""
        from thyme._training import TrainingSet

        request = TrainingSet(
            name_of(featureset),
            entities,
            entity_column=entity_column,
            timestamp_column=timestamp_column,
            as_served=as_served,
            features=features,
            meta=meta,
            spine=None if spine is None else name_of(spine),
            time_range=time_range,
            every=every,
        )
        when = self._session.when(None, min_position, position, wait_ms)
        return await request.submit(self._session, when, progress=progress, memory=memory)

    async def offline_jobs(self) -> list[dict[str, Any]]:
        """See `ThymeClient.offline_jobs`."""
        jobs: list[dict[str, Any]] = (await self._session.fetch(JOBS))["jobs"]
        return jobs

    async def offline_job(self, job: str) -> dict[str, Any]:
        """See `ThymeClient.offline_job`."""
        return await self._session.fetch(JOBS, {"id": job})

    async def cancel_offline(self, job: str) -> None:
        """See `ThymeClient.cancel_offline`."""
        await self._session.request("POST", f"{JOBS}/cancel", {"id": job})

    async def offline_result(
        self,
        job: str,
        *,
        output: str | Path | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
        memory: str | int | None = None,
    ) -> ThymeResult:
        """See `ThymeClient.offline_result`."""
        from thyme._manifest import SUFFIX, Recorder, write
        from thyme._offline import Kept, Output, memory_bytes, read_back
        from thyme._training import begun_by, manifest_of, told_of

        said = await self.offline_job(job)
        if not wait and said["status"] != "done":
            _check(said)
            raise ThymeError(
                f"job {job} is {said['status']}: {said['rows_done']} of {said['rows']} rows are computed"
            )
        first: ThymeResult | None = None
        # A job of an earlier version does not say which columns are those of its labels.
        recorder, own = Recorder(), said.get("columns")
        with (
            Output(output, recorder.accept) if output is not None else nullcontext() as written,
            Kept(memory_bytes(memory)) as kept,
            told_of(progress, f"{said['featureset']}: job {job}", said["rows"]) as told,
        ):
            async for part in self._answers(job):
                table = part.to_arrow_with_meta()
                first = first or part
                if written is not None and own:
                    await self._session.offload(recorder.add, table.select(own), table)
                await self._session.offload(kept.add if written is None else written.write, table)
                told(table.num_rows)
            table = await self._session.offload(kept.table) if written is None else None
        assert first is not None  # there is at least one part
        schema = first.to_arrow_with_meta().schema
        result = ThymeResult(
            table=table if written is None else lambda: read_back(written.place, schema),
            metadata=first.metadata,
            query_run_id=first.query_run_id,
        )
        if written is not None and written.is_regular and own:
            begun, beside = begun_by(said, written.place), written.place.beside(SUFFIX)
            made = await manifest_of(self._session, begun, recorder, said["rows_a_part"], result.metadata)
            await self._session.offload(write, beside, made)
            result.metadata["manifest"] = beside.text
        return result

    async def _answers(self, job: str) -> AsyncIterator[ThymeResult]:
        """The answers to all parts, each as soon as it is there."""
        number, pause = 0, _PAUSES_S[0]
        while True:
            said = await self.offline_job(job)
            _check(said)
            if number == said["parts_done"]:
                if said["status"] == "done":
                    return
                await self._session.offload(time.sleep, pause)
                pause = min(2 * pause, _PAUSES_S[1])
                continue
            pause = _PAUSES_S[0]
            while number < said["parts_done"]:
                params = {"id": job, "part": number}
                yield await self._session.table("GET", f"{JOBS}/result", params, unhurried=True)
                number += 1


def _check(said: Mapping[str, Any]) -> None:
    """Raises what a job has failed with."""
    if said["error"] is not None:
        error = error_from_answer(0, json.dumps(said["error"]).encode(), "")
        error.detail = f"job {said['id']} has failed: {error.detail}"
        error.args = (error.detail,)
        raise error
