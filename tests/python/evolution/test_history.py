"""The history of commits: whole, comparable, and never overtaken unseen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolution.rides import rides, written
from running import Server, start_server
from thyme import local
from thyme._steps import run
from thyme.errors import ConflictError, NotFoundError

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server with a history of its own."""
    server = start_server(tmp_path / "served")
    yield server
    server.process.terminate()
    server.process.wait(timeout=20)


def test_every_commit_is_kept_whole_over_restarts(tmp_path: Path) -> None:
    with local(tmp_path / "data") as client:
        assert list(client.history()) == []
        first = client.commit(written(tmp_path, "R"), message="the first", author="ada")
        again = client.commit(written(tmp_path, "R"), message="nothing new")
        assert (again["commit"], again["changed"]) == (first["commit"], False)
        client.log("RRide", rides(2))
        second = client.commit(written(tmp_path, "R", "rides_ever", taken="rides"), author="bob")
        ids = [first["commit"], second["commit"]]
    with local(tmp_path / "data") as client:
        listed = list(client.history())
        assert [each["commit"] for each in listed] == ids[::-1]
        assert [(each["author"], each["message"]) for each in listed] == [("bob", None), ("ada", "the first")]
        assert [each["parent"] for each in listed] == [ids[0], ""]
        assert all(len(each["commit"]) == 12 and each["time"].endswith("Z") for each in listed)
        assert listed[0]["counts"]["features"] == 7
        assert [each["commit"] for each in client.history(limit=1)] == [ids[1]]
        whole = client.committed(ids[0][:6])
        (source,) = whole["source"].values()
        assert "class RDrivers:" in source
        features = whole["definitions"]["featuresets"][0]["features"]
        assert [each["name"] for each in features] == ["driver", "rides", "fare", "hour", "score"]
        newest = client.committed()["definitions"]["featuresets"][0]["features"]
        assert (newest[1]["name"], newest[1]["former_names"]) == ("rides_ever", ["rides"])
        with pytest.raises(NotFoundError, match=f"there is no commit ffffff; the newest of 2 is {ids[1]}"):
            client.committed("ffffff")


def test_two_commits_are_compared_either_way(tmp_path: Path) -> None:
    with local() as client:
        first = client.commit(written(tmp_path, "R"))["commit"]
        second = client.commit(written(tmp_path, "R", "rides_ever", taken="rides"))["commit"]
        retired = client.commit(written(tmp_path, "R", "rides_ever", version=2))["commit"]
        client.retire("RDrivers.rides")
        changed = client.diff(first, second)
        assert (changed["from"], changed["to"]) == (first, second)
        renamed = {"kind": "changed", "subject": "RDrivers.rides_ever", "detail": "name: rides -> rides_ever"}
        assert {**renamed, "effect": "in_place"} in changed["changes"]
        back = [each["subject"] for each in client.diff(second, first)["changes"]]
        assert "RDrivers.rides" in back
        assert client.diff(first, first)["changes"] == []
        (last,) = client.diff()["changes"]
        assert (last["kind"], last["subject"]) == ("removed", "RDrivers.rides")
        assert client.diff(retired)["changes"] == [last]
        everything = client.diff("none", first)
        assert everything["counts"]["added"] == len(everything["changes"]) > 5


def test_a_commit_over_another_base_is_refused_with_what_changed(tmp_path: Path) -> None:
    with local() as client:
        planned = client.plan(written(tmp_path, "R"))
        assert (planned["base"], planned["changed"]) == ("none", True)
        first = client.commit(written(tmp_path, "R"), base=planned["base"])["commit"]
        mine = client.plan(written(tmp_path, "R", hour="hour_of_day"))
        assert mine["base"] == first
        theirs = client.commit(written(tmp_path, "R", "rides_ever", taken="rides"), author="eve")["commit"]
        with pytest.raises(ConflictError) as refused:
            client.commit(written(tmp_path, "R", hour="hour_of_day"), base=mine["base"])
        assert refused.value.detail.startswith(
            f"this was planned against {first}, and {theirs} was committed since by eve"
        )
        faults = [fault["message"] for fault in refused.value.faults]
        assert "changed RDrivers.rides_ever: name: rides -> rides_ever" in faults
        assert client.status()["commit"] == theirs
        # The same file again changes nothing, whatever it was planned against.
        same = client.commit(written(tmp_path, "R", "rides_ever", taken="rides"), base=first)
        assert (same["commit"], same["changed"]) == (theirs, False)


def test_the_same_definitions_from_another_file_are_the_same_commit(tmp_path: Path) -> None:
    with local() as client:
        base = client.commit({"format": 1})["commit"]
        first = client.commit(written(tmp_path, "R"), base=base)["commit"]
        moved = tmp_path / "elsewhere.py"
        moved.write_text("# A line before all others.\n" + Path(written(tmp_path, "R")).read_text())
        again = client.commit(str(moved), base=base)
        assert (again["commit"], again["changed"]) == (first, False)
    with local() as client:
        # Nor does it count for what a commit is called.
        assert client.commit({"format": 1})["commit"] == base
        assert client.commit(str(moved))["commit"] == first


def test_a_commit_that_is_none_is_named_and_nothing_can_be_compared_with(tmp_path: Path) -> None:
    with local() as client:
        first = client.commit(written(tmp_path, "R"))["commit"]
        changed = written(tmp_path, "R", hour="h")
        with pytest.raises(ConflictError, match=r"^base: there is no commit abcdef; the newest of 1 is"):
            client.commit(changed, base="abcdef")
        with pytest.raises(ConflictError, match=f"see what it changed with `thyme diff none {first}`"):
            client.commit(changed, base="none")
        for wrong in ("", "abc"):
            with pytest.raises(NotFoundError, match="its first 4 characters or more, got"):
                client.diff(wrong, "latest")
        gone = client.diff(first, "none")
        assert (gone["from"], gone["to"]) == (first, "none")
        assert {each["kind"] for each in gone["changes"]} == {"removed"}
        assert {each["subject"] for each in gone["changes"]} >= {"RRide", "RStats", "RDrivers"}


def test_the_command_line_plans_commits_lists_and_compares(run: Run, own: Server, tmp_path: Path) -> None:
    url = {"THYME_API_URL": own.url, "THYME_AUTHOR": "ci"}
    file = written(tmp_path, "R")
    planned = run("plan", file, **url)
    assert planned.returncode == 2, planned.stderr
    assert "+ added RStats.compute  version 1  [filled from the log]" in planned.stdout
    assert f"thyme commit {file} --base none" in planned.stdout
    assert run("commit", file, "--base", "none", "--message", "begin", **url).returncode == 0
    nothing = run("plan", file, **url)
    assert (nothing.returncode, nothing.stdout) == (0, "nothing changes\n")
    assert "nothing changed" in run("commit", file, **url).stdout
    stale = json.loads(run("plan", file, "--json", **url).stdout)["base"]
    renamed = written(tmp_path, "R", "rides_ever", taken="rides")
    assert run("commit", renamed, **url).returncode == 0
    late = run("commit", written(tmp_path, "R", hour="h"), "--base", stale, **url)
    assert late.returncode == 1
    assert f"this was planned against {stale}" in late.stderr
    bad = Path(file).read_text().replace("Count()", 'Count(window="1h")')
    Path(file).write_text(bad)
    refused = run("plan", file, **url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "changes what it computes without a new version" in refused.stderr
    listed = json.loads(run("history", "--json", **url).stdout)
    assert [(each["author"], each["message"]) for each in listed] == [("ci", None), ("ci", "begin")]
    assert "begin" in run("history", **url).stdout
    text = run("diff", **url).stdout
    assert text.startswith(f"{listed[1]['commit']} -> {listed[0]['commit']}\n")
    assert "~ changed RDrivers.rides_ever  name: rides -> rides_ever" in text
    assert json.loads(run("diff", "none", "latest", "--json", **url).stdout)["counts"]["added"] > 5
    assert json.loads(run("history", listed[1]["commit"], **url).stdout)["message"] == "begin"


def test_hundreds_of_commits_are_listed_in_pages_and_found_again(tmp_path: Path) -> None:
    def document(index: int) -> dict[str, object]:
        features = [{"id": 1, "name": "k", "type": "str", "meta": {"description": str(index)}}]
        return {"format": 1, "featuresets": [{"name": "F", "features": features}]}

    with local(tmp_path / "data") as client:
        ids = [client.commit(document(i), message=str(i))["commit"] for i in range(120)]
    with local(tmp_path / "data") as client:
        assert [each["commit"] for each in client.history()] == ids[::-1]
        page = run(client._session.fetch("/api/v1/history", {"limit": 50, "before": ids[70]}))
        assert [each["message"] for each in page["commits"]] == [str(i) for i in range(69, 19, -1)]
        assert (page["count"], page["next"]) == (120, ids[20])
        assert client.committed(ids[3])["message"] == "3"
