"""Training sets that the server computes by itself are those that it answers, whatever becomes of it meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from running import Server, start_server
from thyme import _labels, dataset, feature, featureset, field, local
from thyme._config import Config
from thyme._errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidDataError,
    NotFoundError,
    ThymeError,
    UnsupportedError,
)
from thyme._frames import ARROW_STREAM, ipc_bytes
from thyme._job_calls import Upload
from thyme._local import LocalClient
from thyme._steps import run as finish
from thyme.client import AsyncThymeClient, ThymeClient
from training.definitions import DEFINITIONS, START, TrainFeatures, TrainRider, TrainTrip, labels, trips

ASKED: dict[str, Any] = {"entity_column": "rider", "timestamp_column": "at"}


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every training set take several parts."""
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 61)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LocalClient]:
    """An engine on disk, with trips."""
    with local(tmp_path / "data") as opened:
        opened.commit(DEFINITIONS)
        opened.log(TrainTrip, trips(400))
        yield opened


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "jobs").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "asked",
    [
        {**ASKED, "entities": labels(300, trips(400))},
        {**ASKED, "entities": labels(300, trips(400)), "features": [2, "score"], "meta": True},
        {"spine": TrainTrip, "features": [2, 3]},
        {"every": "9h", "time_range": ("2026-03-01", "2026-03-09"), "features": [2, 3]},
    ],
)
def test_a_job_gives_what_an_answer_gives_at_its_position(
    client: LocalClient, tmp_path: Path, asked: dict[str, Any]
) -> None:
    job = client.start_offline(TrainFeatures, **asked)
    position = client.offline_job(job)["position"]
    client.log(TrainTrip, trips(100, seed=5))  # comes after its position
    result = client.offline_result(job)
    direct = client.query_offline(TrainFeatures, position=position, **asked)
    assert result.to_dict() == direct.to_dict()
    assert result.columns == direct.columns
    assert result.metadata["as_of"]["position"] == position
    said = client.offline_job(job)
    assert (said["status"], said["rows"], said["rows_done"], said["progress"]) == (
        "done", len(result), len(result), 1.0)  # fmt: skip
    written = client.offline_result(job, output=tmp_path / "out.parquet", wait=False)
    assert written.to_dict() == direct.to_dict()
    manifest = json.loads(Path(written.metadata["manifest"]).read_text())
    assert (manifest["as_of"]["position"], manifest["output"]["rows"]) == (position, len(result))
    assert [each["id"] for each in client.offline_jobs()] == [job]
    client.cancel_offline(job)
    assert client.offline_jobs() == []
    assert files(tmp_path / "data") == []


def test_the_file_of_a_job_is_made_again_from_its_manifest(client: LocalClient, tmp_path: Path) -> None:
    rows = pa.Table.from_pylist(labels(150, trips(400)))
    output = tmp_path / "out.parquet"
    asked: dict[str, Any] = {**ASKED, "features": ["paid_2d", 7], "meta": True}
    job = client.start_offline(TrainFeatures, rows, **asked)
    client.offline_result(job, output=output)
    direct = tmp_path / "direct.parquet"
    client.query_offline(
        TrainFeatures, rows, output=direct, position=client.offline_job(job)["position"], **asked
    )
    manifests = [json.loads(Path(f"{each}.manifest.json").read_text()) for each in (output, direct)]
    for manifest in manifests:
        # What differs is the file's name and when it was asked for.
        del manifest["output"]["name"], manifest["as_of"]["time"]
    assert manifests[0] == manifests[1]
    first = output.read_bytes()
    client.cancel_offline(job)
    client.log(TrainTrip, trips(100, seed=5))
    output.unlink()
    client.rebuild(f"{output}.manifest.json", rows)
    assert output.read_bytes() == first
    rows = rows.set_column(rows.column_names.index("hour"), "hour", pa.array([23] * len(rows)))
    with pytest.raises(ConflictError, match="the rows that were given are not those"):
        client.rebuild(f"{output}.manifest.json", rows)


def test_parts_that_come_twice_count_once_and_their_order_is_kept(client: LocalClient) -> None:
    rows = labels(100, trips(400))
    bodies = [ipc_bytes(pa.Table.from_pylist(rows[start : start + 40])) for start in (0, 40, 80)]

    def send(path: str, body: bytes, **params: Any) -> dict[str, Any]:
        answer = finish(
            client._calls._session.request(
                "POST", f"/api/v1/jobs/offline{path}", params, body, content_type=ARROW_STREAM
            )
        )
        said: dict[str, Any] = json.loads(answer.body)
        return said

    job = send("", bodies[0], featureset="TrainFeatures", timestamp_column="at", more=1)
    with pytest.raises(ConflictError, match="part: expected 1, got 2"):
        send("/part", bodies[2], id=job["id"], part=2, more=1)
    for _ in range(2):
        assert send("/part", bodies[1], id=job["id"], part=1, more=1)["parts"] == 2
    assert client.offline_job(job["id"])["status"] == "open"
    with pytest.raises(ThymeError, match="is open"):
        client.offline_result(job["id"], wait=False)
    assert send("/part", bodies[2], id=job["id"], part=2)["parts"] == 3
    assert send("/part", bodies[2], id=job["id"], part=2)["parts"] == 3
    with pytest.raises(ConflictError, match="all 3 parts"):
        send("/part", bodies[2], id=job["id"], part=3)
    assert client.offline_result(job["id"])["note"] == [row["note"] for row in rows]
    assert finish(client._calls._session.fetch("/api/v1/jobs"))["jobs"] == []  # nothing is under way


def test_what_is_wrong_is_said_at_once_or_by_the_job(client: LocalClient) -> None:
    rows = labels(200, trips(400))
    with pytest.raises(InvalidDataError, match="no entity column"):
        client.start_offline(TrainFeatures, [{"who": "r1", "at": START}], timestamp_column="at")
    with pytest.raises(NotFoundError, match="TrainFeatures"):
        client.start_offline("TrainFeature", rows, **ASKED)
    assert client.offline_jobs() == []
    rows[150]["hour"] = None
    job = client.start_offline(TrainFeatures, rows, **ASKED)
    with pytest.raises(InvalidDataError, match=rf"job {job} has failed: part 2: .*hour.*\(row 28\)"):
        client.offline_result(job)
    assert client.offline_job(job)["status"] == "failed"
    for unknown in (client.offline_job, client.offline_result, client.cancel_offline):
        with pytest.raises(NotFoundError, match="no job named"):
            unknown("j1")
    with local() as memory:
        memory.commit(DEFINITIONS)
        with pytest.raises(UnsupportedError, match="keeps no jobs"):
            memory.start_offline(TrainFeatures, rows[:9], **ASKED)


def test_labels_that_break_off_leave_no_job(client: LocalClient) -> None:
    def breaking() -> Iterator[Any]:
        yield from pl.DataFrame(labels(200, trips(400))).to_arrow().to_batches()
        raise InvalidDataError("the labels end here")

    with pytest.raises(InvalidDataError, match="end here"):
        client.start_offline(TrainFeatures, breaking(), **ASKED)
    assert client.offline_jobs() == []


def test_an_erasure_removes_the_rows_of_every_job(client: LocalClient, tmp_path: Path) -> None:
    job = client.start_offline(TrainFeatures, labels(150, trips(400)), **ASKED)
    assert len(client.offline_result(job)) > 0
    assert len(files(tmp_path / "data")) > 2
    client.erase(TrainTrip, ["r1"])
    assert files(tmp_path / "data") == ["job.json"]
    with pytest.raises(GoneError, match="somebody was erased after it began"):
        client.offline_result(job)
    after = client.start_offline(TrainFeatures, labels(150, trips(400)), **ASKED)
    assert len(client.offline_result(after)) > 0


def test_another_commit_ends_a_job_that_is_not_done(client: LocalClient) -> None:
    @dataset
    class JobsOther:
        key: str = field(key=True)
        at: datetime = field(timestamp=True)

    rows = pl.DataFrame(labels(150, trips(400))).to_arrow()
    upload = Upload(client._calls._session)
    params = {"featureset": "TrainFeatures", "timestamp_column": "at"}
    for start in (0, 50):
        finish(upload.add(params, rows.slice(start, 50)))
    client.commit([*DEFINITIONS, JobsOther])
    job = finish(upload.end(params))
    with pytest.raises(ConflictError, match="the definitions have changed since it began"):
        client.offline_result(job)


def test_a_killed_server_goes_on_with_its_jobs(
    tmp_path: Path, run: Callable[..., CompletedProcess[str]]
) -> None:
    server = start_server(tmp_path / "data")
    rows = labels(3000, trips(400))
    pl.DataFrame(rows).write_parquet(tmp_path / "labels.parquet")
    try:
        with ThymeClient(server.url) as client:
            client.commit(DEFINITIONS)
            client.log(TrainTrip, trips(400))
            direct = client.query_offline(TrainFeatures, rows, **ASKED)
            job = client.start_offline(
                TrainFeatures, rows, position=direct.metadata["as_of"]["position"], **ASKED
            )
            half = Upload(client._calls._session)
            params = {"featureset": "TrainFeatures", "timestamp_column": "at"}
            for start in range(0, 2000, 1000):
                finish(half.add(params, pl.DataFrame(rows[start : start + 1000]).to_arrow()))
        server.process.kill()
        server.process.wait()
        server = start_server(tmp_path / "data")
        with ThymeClient(server.url) as client:
            # What was half sent goes on with its next part.
            half._session = client._calls._session
            sent = client.offline_result(finish(half.end(params)))
            assert sent.to_dict() == direct.to_dict()[:2000]
            client.cancel_offline(client.offline_jobs()[1]["id"])
            assert client.offline_result(job).to_dict() == direct.to_dict()
        url = ("--url", server.url)
        begun = run(*url, "query-offline", "TrainFeatures", "--input", "labels.parquet", "--background")
        assert begun.returncode == 0, begun.stderr
        other = begun.stdout.strip()
        done = run(*url, "jobs", "result", other, "-o", "out.parquet")
        assert done.returncode == 0, done.stderr
        assert pl.read_parquet(tmp_path / "out.parquet")["paid_2d"].to_list() == direct["paid_2d"]
        listed = run(*url, "jobs", "--json")
        assert [(each["id"], each["status"]) for each in json.loads(listed.stdout)] == [
            (job, "done"),
            (other, "done"),
        ]
        assert re.search(rf"{job}.*done", run(*url, "jobs").stdout)
        assert json.loads(run(*url, "jobs", "show", job).stdout)["rows"] == len(rows)
        assert run(*url, "jobs", "cancel", job).stdout.strip() == f"{job} is cancelled"
        missing = run(*url, "jobs", "result", job)
        assert missing.returncode == 1
        assert "no job named" in missing.stderr
    finally:
        server.process.kill()
        server.process.wait()


def test_a_key_for_some_featuresets_sees_the_jobs_and_sets_of_these(tmp_path: Path) -> None:
    @featureset
    class JobsOwn:
        rider: str = feature(id=1)
        trips_6h: int = feature(id=2, ref=TrainRider.trips_6h)

    server = start_server(tmp_path / "data")
    try:
        with ThymeClient(server.url) as client:
            admin = client.create_key(role="admin")["key"]
        with ThymeClient(Config(api_url=server.url, api_key=admin)) as client:
            client.commit([*DEFINITIONS, JobsOwn])
            client.log(TrainTrip, trips(100))
            own = client.create_key(role="read", featuresets=["JobsOwn"])["key"]
            rows = labels(100, trips(100))
            hidden = client.start_offline(TrainFeatures, rows, **ASKED)
            pl.DataFrame(rows).drop("hour").write_parquet(tmp_path / "in.parquet")
        with ThymeClient(Config(api_url=server.url, api_key=own)) as client:
            for refused in (client.offline_job, client.offline_result, client.cancel_offline):
                with pytest.raises(ForbiddenError, match="may not read TrainFeatures"):
                    refused(hidden)
            with pytest.raises(ForbiddenError, match="may not read TrainFeatures"):
                client.start_offline(TrainFeatures, rows, **ASKED)
            job = client.start_offline(JobsOwn, tmp_path / "in.parquet", **ASKED)
            assert [each["id"] for each in client.offline_jobs()] == [job]
            given = client.offline_result(job)
            # A manifest without the hashes of definitions, which such a key does not see.
            output = tmp_path / "out.parquet"
            result = client.query_offline(JobsOwn, tmp_path / "in.parquet", output=output, **ASKED)
            assert result.to_dict() == given.to_dict()
            first = output.read_bytes()
            assert client.rebuild(f"{output}.manifest.json").metadata["rebuilt"]["identical"]
            assert output.read_bytes() == first
            with pytest.raises(ForbiddenError, match="rows"):
                client.query_offline(JobsOwn, spine=TrainTrip)
    finally:
        server.process.kill()
        server.process.wait()


def test_coroutines_have_them_too(server: Server) -> None:
    async def through() -> tuple[list[Any], list[Any]]:
        async with AsyncThymeClient(server.url) as client:
            await client.commit(DEFINITIONS)
            asked: dict[str, Any] = {"entities": labels(100, trips(10)), **ASKED}
            job = await client.start_offline(TrainFeatures, **asked)
            position = (await client.offline_job(job))["position"]
            result = await client.offline_result(job)
            direct = await client.query_offline(TrainFeatures, position=position, **asked)
            await client.cancel_offline(job)
            assert job not in [each["id"] for each in await client.offline_jobs()]
            return result.to_dict(), direct.to_dict()

    result, direct = asyncio.run(through())
    assert result == direct
