"""Query runs through the client and the command line, and what an extractor may do to a replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from running import Server
from thyme import AsyncThymeClient, ThymeClient
from thyme._errors import NotFoundError

Run = Callable[..., "CompletedProcess[str]"]

DEFINITIONS = """
import time
from datetime import datetime
from thyme import Count, dataset, extractor, extractor_inputs, extractor_outputs, feature, featureset, field, inputs, pipeline

@dataset(index=True)
class RunRide:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)

@dataset
class RunStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int

    @pipeline(version=1)
    @inputs(RunRide)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count())

@featureset
class RunDrivers:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=RunStats.rides)

@featureset
class RunMoody:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=RunStats.rides)
    mood: int = feature(id=3)

    @extractor
    @extractor_inputs("rides")
    @extractor_outputs("mood")
    def moody(cls, ts, rides):
        return rides + time.time_ns()
"""


@pytest.fixture(scope="module")
def asked(server: Server, tmp_path_factory: pytest.TempPathFactory) -> ThymeClient:
    """A server with a few events, and its client."""
    path = tmp_path_factory.mktemp("runs") / "runs_defined.py"
    path.write_text(DEFINITIONS)
    client = ThymeClient(server.url)
    client.commit(str(path))
    client.log("RunRide", [{"driver": "d", "at": "2026-03-15T10:00:00Z"}] * 2)
    return client


def test_a_result_names_its_run_which_is_computed_again(asked: ThymeClient, run: Run) -> None:
    result = asked.query("RunDrivers", "d")
    assert result.query_run_id is not None
    asked.log("RunRide", [{"driver": "d", "at": "2026-03-15T11:00:00Z"}])
    kept = asked.query_run(result.query_run_id)
    assert kept["queries"][0]["values"] == [["d", result["rides"]]]
    assert asked.replay(result.query_run_id)["identical"] is True
    assert asked.query_runs(featureset="RunDrivers", entity_id="d", limit=1)[0]["id"] == result.query_run_id
    url = {"THYME_API_URL": str(asked.config.api_url)}
    listed = run("query-runs", "list", "--featureset", "RunDrivers", "-e", "d", **url)
    assert result.query_run_id in listed.stdout, listed.stderr
    assert json.loads(run("query-runs", "show", result.query_run_id, **url).stdout) == kept
    again = run("query-runs", "replay", result.query_run_id, **url)
    assert (again.returncode, again.stdout.endswith(": identical\n")) == (0, True), again
    nothing = run("query-runs", "show", "q1", **url)
    assert (nothing.returncode, "there is no query run" in nothing.stderr) == (1, True)


def test_a_lookup_leaves_a_run_too(asked: ThymeClient, run: Run) -> None:
    row = asked.lookup("RunStats", "d", timestamp="2026-03-15T10:30:00Z")
    found = asked.query_runs(dataset="RunStats", limit=1)[0]
    part = found["queries"][0]
    assert (part["featureset"], part["dataset"], part["entities"]) == (None, "RunStats", ["d"])
    assert dict(zip(part["features"], part["values"][0], strict=True)) == dict(row)
    url = {"THYME_API_URL": str(asked.config.api_url)}
    listed = run("query-runs", "list", "--dataset", "RunStats", **url)
    assert found["id"] in listed.stdout, listed.stderr
    again = run("query-runs", "replay", found["id"], **url)
    assert (again.returncode, again.stdout.startswith("RunStats at 2026-03-15T10:30:00Z")) == (0, True), again


def test_a_plan_says_who_asked_for_what_it_touches(asked: ThymeClient, run: Run, tmp_path: Path) -> None:
    for _ in range(3):
        asked.query("RunDrivers", "d")
    path = tmp_path / "changed.py"
    path.write_text(DEFINITIONS.replace("ref=RunStats.rides)", "ref=RunStats.rides, default=7)", 1))
    url = {"THYME_API_URL": str(asked.config.api_url)}
    planned = run("plan", str(path), "--json", **url)
    assert planned.returncode == 2, planned.stderr
    cost = json.loads(planned.stdout)["cost"]
    assert cost["featuresets"] == ["RunDrivers"]
    (caller,) = cost["callers"]
    assert (caller["featureset"], caller["caller"]) == ("RunDrivers", "anonymous")
    assert caller["queries"] >= 3
    said = run("plan", str(path), **url).stdout
    assert f"anonymous asked RunDrivers in the last 30 days: {caller['queries']} queries, last " in said


def test_an_extractor_that_depends_on_more_than_its_inputs_is_found_out(asked: ThymeClient, run: Run) -> None:
    moody = asked.query("RunMoody", "d")
    assert moody.query_run_id is not None
    replayed = asked.replay(moody.query_run_id)
    (part,) = replayed["queries"]
    assert (replayed["identical"], part["prevented"]["reason"]) == (False, "extractor")
    (difference,) = part["differences"]
    assert (difference["feature"], difference["recorded"]) == ("mood", moody["mood"])
    told = run("query-runs", "replay", moody.query_run_id, THYME_API_URL=str(asked.config.api_url))
    assert told.returncode == 1
    assert "not identical (extractor)" in told.stdout
    assert "mood" in told.stdout


def test_the_async_client_has_the_same(asked: ThymeClient) -> None:
    async def ask() -> None:
        async with AsyncThymeClient(asked.config) as client:
            result = await client.query_batch("RunDrivers", ["d", "e"])
            assert result.query_run_id is not None
            assert (await client.replay(result.query_run_id))["identical"] is True
            assert (await client.query_runs(caller="anonymous", limit=1))[0]["id"] == result.query_run_id
            with pytest.raises(NotFoundError):
                await client.query_run("../keys")

    asyncio.run(ask())
