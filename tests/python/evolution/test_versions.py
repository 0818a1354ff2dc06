"""Versions of a derived dataset side by side, until the old one is retired."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evolution.rides import rides
from running import Server
from thyme import local
from thyme.client import ThymeClient
from thyme.errors import ConflictError, NotFoundError

TEXT = """
from datetime import datetime

from thyme import Count, Sum, dataset, feature, featureset, field, inputs, pipeline, col


@dataset
class {p}Ride:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset(version={version})
class {p}Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int

    @pipeline(version=1)
    @inputs({p}Ride)
    def compute(cls, rides):
        return rides{where}.groupby("driver").aggregate(rides=Count())


@featureset
class {p}Drivers:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref={ref})
"""

LARGE = '.filter(col("fare") >= 3)'


def written(path: Path, p: str, version: int, ref: str | None = None) -> str:
    """Version 1 counts all rides, version 2 the large ones, version 3 the large ones again."""
    file = path / "versions.py"
    where = LARGE if version > 1 else ""
    file.write_text(TEXT.format(p=p, version=version, where=where, ref=ref or f"{p}Stats.rides"))
    return str(file)


def test_versions_answer_side_by_side_until_the_old_one_is_retired(tmp_path: Path) -> None:
    with local(tmp_path / "data") as client:
        client.commit(written(tmp_path, "V", 1))
        client.log("VRide", rides(4))
        assert client.lookup("VStats", "d") == client.lookup("VStats@1", "d") == {"rides": 4}
        changes = client.commit(written(tmp_path, "V", 2))["changes"]
        kept = next(each for each in changes if each["subject"] == "VStats@1")
        assert (kept["kind"], kept["effect"]) == ("added", "in_place")
        client.log("VRide", [{"driver": "d", "fare": 1.0, "at": "2026-03-15T11:00:00Z"}])
        assert client.commit(written(tmp_path, "V", 2))["changed"] is False
    with local(tmp_path / "data") as client:
        # The old one goes on counting, too.
        assert client.lookup("VStats@1", "d") == {"rides": 5}
        assert client.lookup("VStats", "d") == client.lookup("VStats@2", "d") == {"rides": 2}
        assert client.query("VDrivers", "d")["rides"] == 2
        # A featureset may go back to the old one, and forth: it is the same feature.
        client.commit(written(tmp_path, "V", 2, '"VStats@1.rides"'))
        assert client.query("VDrivers", "d")["rides"] == 5
        labels = {"driver": ["d"], "at": ["2026-03-16T00:00:00Z"]}
        assert client.query_offline("VDrivers", labels, timestamp_column="at")["rides"] == 5
        assert client.verify(sample=20)["different"] == 0
        assert client.explain("VDrivers.rides", "d")["recomputed"]["same"]
        with pytest.raises(ConflictError, match=r"VStats@1 cannot be retired: VDrivers\.rides reads it"):
            client.retire("VStats@1")
        client.commit(written(tmp_path, "V", 2, '"VStats@2.rides"'))
        assert client.query("VDrivers", "d")["rides"] == 2
        with pytest.raises(ConflictError, match="VStats@2 is the present version of VStats"):
            client.retire("VStats@2")
        (gone,) = client.retire("VStats@1")["changes"]
        assert (gone["kind"], gone["subject"], gone["effect"]) == ("removed", "VStats@1", "ends")
        with pytest.raises(NotFoundError, match='no dataset named "VStats@1"'):
            client.lookup("VStats@1", "d")
        # What is pinned stays with its version when a newer one comes.
        client.commit(written(tmp_path, "V", 3, '"VStats@2.rides"'))
        assert client.query("VDrivers", "d")["rides"] == client.lookup("VStats@2", "d")["rides"] == 2  # type: ignore[index]
    with local(tmp_path / "data") as client:
        assert [each["name"] for each in client.status()["datasets"]] == ["VRide", "VStats", "VStats@2"]
        assert client.lookup("VStats@2", "d") == {"rides": 2}


def test_a_rollback_to_a_version_that_goes_on_beside_a_newer_one_fills_nothing(tmp_path: Path) -> None:
    def effects(changes: list[dict[str, str]]) -> dict[str, str]:
        return {each["subject"]: each["effect"] for each in changes if each["kind"] != "unchanged"}

    with local(tmp_path / "data") as client:
        first = client.commit(written(tmp_path, "B", 1))
        client.log("BRide", rides(4))
        second = client.commit(written(tmp_path, "B", 2))
        assert effects(second["changes"]) == {
            "BStats": "backfill",
            "BStats.compute": "backfill",
            "BStats@1": "in_place",
        }
        client.log("BRide", rides(3))
        back = client.rollback(first["commit"], wait=False)
        assert effects(back["changes"]) == {
            "BStats": "in_place",
            "BStats.compute": "in_place",
            "BStats@1": "ends",
        }
        assert back.get("pending") is None
        client.log("BRide", rides(2))
        assert client.lookup("BStats", "d") == {"rides": 9}
        assert client.verify(sample=20)["different"] == 0
    with local(tmp_path / "data") as client:
        assert client.lookup("BStats", "d") == client.lookup("BStats@1", "d") == {"rides": 9}
        # What was dropped has to be filled again.
        again = client.rollback(second["commit"])
        assert effects(again["changes"])["BStats"] == "backfill"
        assert effects(again["changes"])["BStats@1"] == "in_place"
        client.log("BRide", rides(4))
        assert (client.lookup("BStats", "d"), client.lookup("BStats@1", "d")) == ({"rides": 5}, {"rides": 13})
        assert client.verify(sample=20)["different"] == 0


def test_what_is_filled_since_its_input_is_another_is_in_the_plan(tmp_path: Path) -> None:
    with local() as client:
        client.commit(written(tmp_path, "I", 1))
        client.log("IRide", rides(4))
        file = Path(written(tmp_path, "I", 1))
        file.write_text(file.read_text().replace("@dataset\nclass IRide", "@dataset(version=2)\nclass IRide"))
        changes = {each["subject"]: each for each in client.plan(str(file))["changes"]}
        assert changes["IRide"]["effect"] == "backfill"
        refilled = changes["IStats.compute"]
        assert (refilled["kind"], refilled["effect"]) == ("changed", "backfill")
        assert refilled["detail"] == "what it reads is another"


def test_the_command_line_reads_and_retires_a_version(
    run: Callable[..., subprocess.CompletedProcess[str]], server: Server, tmp_path: Path
) -> None:
    client = ThymeClient(server.url)
    url = {"THYME_API_URL": server.url}
    client.commit(written(tmp_path, "VCli", 1))
    position = client.log("VCliRide", rides(4))
    client.commit(written(tmp_path, "VCli", 2))
    looked = run("lookup", "VCliStats@1", "-e", "d", "-f", "json", "--min-position", position, **url)
    assert '"rides": 4' in looked.stdout, looked.stderr
    retired = run("retire", "VCliStats@1", **url)
    assert "- removed VCliStats@1  retired; its events stay in the log" in retired.stdout, retired.stderr
    assert run("lookup", "VCliStats@1", "-e", "d", **url).returncode == 1
