"""Back to earlier definitions, as a commit on top of all others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evolution.rides import rides, written
from running import Server, start_server
from thyme import local
from thyme.errors import ConflictError, NotFoundError


def test_earlier_definitions_hold_again_with_every_event_since(tmp_path: Path) -> None:
    with local(tmp_path / "data") as client:
        first = client.commit(written(tmp_path, "B"))
        client.log("BRide", rides(3))
        before = client.query("BDrivers", "d", inputs={"hour": 1})
        second = client.commit(written(tmp_path, "B", "trips", taken="rides"))
        client.log("BRide", rides(2))
        back = client.rollback(first["commit"], message="too early", author="ada")
        assert back["changed"]
        assert back["commit"] not in (first["commit"], second["commit"])
        now = client.query("BDrivers", "d", inputs={"hour": 1}).to_dict()[0]
        # The name of in between goes on answering, as every former name does.
        assert now["rides"] == now["trips"] >= before.to_dict()[0]["rides"]
        newest = next(client.history(limit=1))
        assert (newest["author"], newest["message"]) == ("ada", "too early")
        assert newest["parent"] == second["commit"]
        again = client.rollback(back["commit"])
        assert (again["changed"], again["commit"]) == (False, back["commit"])
    with local(tmp_path / "data") as client:
        assert client.query("BDrivers", "d", inputs={"hour": 1}).to_dict()[0] == now


def test_what_was_added_is_served_no_more_and_its_ids_stay_ended(tmp_path: Path) -> None:
    with local(tmp_path / "data") as client:
        first = client.commit(written(tmp_path, "B"))
        client.log("BRide", rides(3))
        document = dict(client.committed()["definitions"])
        more = {
            "name": "BMore",
            "features": [
                {"id": 1, "name": "driver", "type": "str"},
                {"id": 2, "name": "n", "type": "int", "ref": {"dataset": "BStats", "field": "rides"}},
            ],
        }
        added = {**document, "featuresets": [*document["featuresets"], more]}
        client.commit(added)
        assert client.query("BMore", "d").to_dict()[0]["n"] is not None
        client.rollback(first["commit"][:8])
        with pytest.raises(NotFoundError, match="BMore"):
            client.query("BMore", "d")
        with pytest.raises(ConflictError, match="never reused"):
            client.commit(added)
        with pytest.raises(NotFoundError, match="there is no commit ffffffff"):
            client.rollback("ffffffff")


def test_a_field_that_a_raw_dataset_got_since_stays_and_the_rollback_says_so(tmp_path: Path) -> None:
    with local() as client:
        file = Path(written(tmp_path, "B"))
        first = client.commit(str(file))
        more = file.read_text().replace(
            "    fare: float\n    at", "    fare: float\n    tip: float | None\n    at", 1
        )
        file.write_text(more)
        second = client.commit(str(file))
        assert second["changed"]
        back = client.rollback(first["commit"])
        assert (back["changed"], back["commit"]) == (False, second["commit"])
        (stays,) = back["changes"]
        assert (stays["kind"], stays["subject"], stays["effect"]) == ("unchanged", "BRide.tip", "none")
        assert "it stays" in stays["detail"]


def test_what_was_retired_since_stays_so(tmp_path: Path) -> None:
    with local() as client:
        first = client.commit(written(tmp_path, "B"))
        client.commit(written(tmp_path, "B", hour="hr"))
        client.retire("BDrivers.hour")
        with pytest.raises(ConflictError, match=r"BDrivers\.hour was retired at commit [0-9a-f]{12}"):
            client.rollback(first["commit"])


@pytest.fixture
def own(tmp_path: Path) -> Server:
    """A server with a history of its own."""
    return start_server(tmp_path / "served")


def test_the_command_line_waits_rolls_back_and_cancels(own: Server, tmp_path: Path) -> None:
    def thyme(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "thyme", "--url", own.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    try:
        first = thyme("commit", written(tmp_path, "B"))
        assert first.returncode == 0, first.stderr
        assert "live at e" in first.stdout
        commit = next(line for line in first.stdout.splitlines() if line.startswith("commit ")).split()[1]
        commit = commit.rstrip(":")
        second = thyme("commit", written(tmp_path, "B", "trips", taken="rides"))
        assert second.returncode == 0, second.stderr
        back = thyme("rollback", commit, "--message", "no")
        assert back.returncode == 0, back.stderr
        assert "live at e" in back.stdout
        none = thyme("commit", "--cancel")
        assert none.returncode == 1
        assert "no commit is pending" in none.stderr
    finally:
        own.process.terminate()
        own.process.wait(timeout=20)
