"""Backup, restore and the doctor, with a real server under load."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import thyme
from crash.lives import Lives, counted

Run = Callable[..., subprocess.CompletedProcess[str]]
AT = 1_773_568_800
WRITERS = 3


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[list[Lives]]:
    started: list[Lives] = []
    yield started
    for each in started:
        each.end()


def start(started: list[Lives], data: Path) -> Lives:
    life = Lives(data)
    started.append(life)
    life.start()
    life.wait_ready()
    return life


def ailments(run: Run, data: str, *options: str) -> list[str]:
    """The parts that the doctor finds fault with. Not the disk's: how full it is is this machine's affair."""
    done = run("doctor", "--data", data, *options, "--json")
    answer = json.loads(done.stdout)
    said = {"intact": 0, "damaged": 1, "attention": 2}[answer["health"]]
    assert done.returncode == said, done.stdout
    faulty = [found["part"] for found in answer["findings"] if found["health"] != "intact"]
    return [part for part in faulty if part != "disk"]


class Pusher(threading.Thread):
    """Pushes numbered events until it is told to stop."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(name=name)
        self.url = url
        self.stop = threading.Event()
        self.positions: list[str] = []
        self.faults: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            while not self.stop.is_set():
                number = len(self.positions)
                rows = [{"id": f"{self.name}-{number}-{i}", "writer": self.name, "at": AT} for i in range(3)]
                answer = http.post("/api/v1/log", json={"dataset": "Hit", "events": rows})
                if answer.status_code == 200:
                    self.positions.append(answer.json()["position"])
                else:
                    self.faults.append(answer.text)


def record(position: str) -> int:
    return int(position.removeprefix("e").split(".")[0])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def at(life: Lives, position: str) -> dict[str, Any]:
    """What is served at a position, and the features of one writer at its time."""
    values = {}
    for dataset, key in (("ByWriter", "w0"), ("ByWriter", "w1"), ("ByWriter", "w2"), ("LineByWriter", "l")):
        answer = life.get(
            "/features", entity_type=dataset, entity_id=key, timestamp=str(AT + 60), position=position
        )
        assert answer.status_code == 200, answer.text
        values[dataset, key] = answer.json()["features"]
    return values


def test_a_backup_made_under_load_restores_the_same_bits_and_goes_on(
    lives: list[Lives], tmp_path: Path, run: Run
) -> None:
    lines = tmp_path / "lines.jsonl"
    source = {"kind": "file", "options": {"path": str(lines)}}
    document = {
        "format": 1,
        "datasets": counted("Hit", {"ByWriter": "writer"})
        + counted("Line", {"LineByWriter": "writer"}, source),
    }

    def write_lines(first: int, last: int) -> None:
        with lines.open("a", encoding="utf-8") as file:
            for i in range(first, last):
                file.write(json.dumps({"id": f"l-{i}", "writer": "l", "at": AT}) + "\n")

    write_lines(0, 50)
    life = start(lives, tmp_path / "data")
    life.commit(document, wait_sources="1")
    pushers = [Pusher(life.url, f"w{i}") for i in range(WRITERS)]
    for pusher in pushers:
        pusher.start()
    backup = str(tmp_path / "backup")
    made = []
    try:
        for round_number in range(2):  # the second writes only what is new
            wait_for(lambda n=round_number: all(len(p.positions) > 10 * (n + 1) for p in pushers))
            done = run("--url", life.url, "backup", backup, "--json")
            assert done.returncode == 0, done.stderr
            made.append(json.loads(done.stdout))
            assert record(made[-1]["position"]) > 3
            # Pushing goes on while and after it.
            after = [len(p.positions) for p in pushers]
            wait_for(lambda a=after: all(len(p.positions) > n for p, n in zip(pushers, a, strict=True)))
    finally:
        for pusher in pushers:
            pusher.stop.set()
        for pusher in pushers:
            pusher.join()
    assert [fault for p in pushers for fault in p.faults] == []
    position = made[-1]["position"]
    assert record(position) > record(made[0]["position"])
    expected = at(life, position)
    assert expected["LineByWriter", "l"]["n"] == 50
    assert life.get("/api/v1/status").json()["backup"] is None
    assert ailments(run, backup) == []

    restored = run("restore", backup, "--data", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stderr
    assert position in restored.stdout
    again = run("restore", backup, "--data", str(tmp_path / "restored"))
    assert again.returncode == 1
    assert "is not empty" in again.stderr

    second = start(lives, tmp_path / "restored")
    assert second.get("/api/v1/status").json()["position"] == position
    assert at(second, position) == expected
    # The source goes on from its cursor, and new events count.
    write_lines(50, 60)
    wait_for(
        lambda: second.get("/api/v1/status").json()["datasets"] and second.counts("LineByWriter") == {"l": 60}
    )
    before = second.counts("ByWriter")["w0"]
    late = Pusher(second.url, "w0")
    late.start()
    wait_for(lambda: len(late.positions) > 2)
    late.stop.set()
    late.join()
    assert second.counts("ByWriter")["w0"] == before + 3 * len(late.positions)
    # What was pushed before and after the backup is what the position says.
    for pusher in pushers:
        pushed = sum(record(p) <= record(position) for p in pusher.positions)
        assert expected["ByWriter", pusher.name]["n"] == 3 * pushed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a store and a log."""
    with thyme.local(tmp_path / "data") as client:
        client.commit({"format": 1, "datasets": counted("Hit", {"ByWriter": "writer"})})
        for i in range(20):
            client.log("Hit", [{"id": str(i), "writer": "w", "at": AT}])
    return tmp_path / "data"


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def count(data: Path) -> int:
    with thyme.local(data) as client:
        row = client.lookup("ByWriter", "w", AT + 60)
        assert row is not None
        number: int = row["n"]
        return number


def test_an_offline_backup_changes_nothing_and_restores(data: Path, tmp_path: Path, run: Run) -> None:
    secret = data / "log" / "erase.key"  # whatever stands beside the log
    secret.write_bytes(bytes(range(32)))
    secret.chmod(0o600)
    before = files(data)
    backup = tmp_path / "backup"
    assert run("backup", str(backup), "--data", str(data)).returncode == 0
    assert files(data) == before
    # Nothing changed since: only the copy of the store is written again.
    again = json.loads(run("backup", str(backup), "--data", str(data), "--json").stdout)
    assert again["bytes_written"] < again["bytes"]
    assert run("restore", str(backup), "--data", str(tmp_path / "new")).returncode == 0
    restored = tmp_path / "new" / "log" / "erase.key"
    kept = [restored, *backup.glob("log/erase.key-*")]
    assert [(p.read_bytes(), p.stat().st_mode & 0o777) for p in kept] == [(bytes(range(32)), 0o600)] * 2
    assert count(tmp_path / "new") == count(data) == 20


def test_what_is_not_a_whole_backup_is_refused_by_name(data: Path, tmp_path: Path, run: Run) -> None:
    backup = tmp_path / "backup"
    assert run("backup", str(backup), "--data", str(data)).returncode == 0
    segment = next((backup / "log").glob("*.log"))

    def refused(harm: Callable[[Path], object]) -> str:
        broken = tmp_path / "broken"
        shutil.copytree(backup, broken)
        harm(broken)
        before = sorted(path.name for path in tmp_path.iterdir())
        done = run("restore", str(broken), "--data", str(tmp_path / "target"))
        assert done.returncode == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before  # nothing is left of it
        assert run("doctor", "--data", str(broken)).returncode in (1, 3)
        shutil.rmtree(broken)
        return done.stderr

    def flip(path: Path, place: int) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    assert "no complete backup" in refused(lambda b: (b / "MANIFEST.json").unlink())
    assert segment.name in refused(lambda b: (b / "log" / segment.name).unlink())
    assert segment.name in refused(lambda b: flip(b / "log" / segment.name, 100))
    assert "does not match its checksum" in refused(lambda b: flip(next(b.glob("store-*.dump")), -20))
    assert "MANIFEST.json is damaged" in refused(
        lambda b: (b / "MANIFEST.json").write_text(
            (b / "MANIFEST.json").read_text().replace('"record": 21', '"record": 20')
        )
    )
    newer = refused(
        lambda b: (b / "MANIFEST.json").write_text(
            (b / "MANIFEST.json").read_text().replace('"format": 1', '"format": 2', 1)
        )
    )
    assert "has format 2, this Thyme reads format 1" in newer


def test_a_backup_goes_only_where_it_belongs(data: Path, tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other"
    with thyme.local(other) as client:
        client.commit({"format": 1, "datasets": counted("Hit", {"ByWriter": "writer"})})
    backup = tmp_path / "backup"
    assert run("backup", str(backup), "--data", str(data)).returncode == 0
    taken = files(backup)
    for source, target, sentence in (
        (other, backup, "a backup of another log"),
        (data, tmp_path, "holds no backup"),
        (data, data / "backup", "inside the data directory"),
        (tmp_path / "nowhere", backup, "is no data directory"),
    ):
        done = run("backup", str(target), "--data", str(source))
        assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    assert files(backup) == taken
    done = run("serve", "--data", str(backup), "--listen", "127.0.0.1:0")
    assert (done.returncode, "is a backup" in done.stderr) == (1, True)
    assert files(backup) == taken


def test_one_directory_is_used_by_one_process(data: Path, tmp_path: Path, run: Run) -> None:
    with thyme.local(data):
        for command in (
            ("serve", "--data", str(data), "--listen", "127.0.0.1:0"),
            ("backup", str(tmp_path / "backup"), "--data", str(data)),
            ("doctor", "--data", str(data)),
        ):
            done = run(*command)
            assert done.returncode == (3 if command[0] == "doctor" else 1)
            assert "is used by another thyme process (process " in done.stderr


def test_the_doctor_says_what_to_do(data: Path, run: Run) -> None:
    assert ailments(run, str(data), "--deep") == []
    journal = data / "store" / "0.jnl"
    content = bytearray(journal.read_bytes())
    content[200] ^= 8
    journal.write_bytes(content)
    done = run("doctor", "--data", str(data))
    assert done.returncode == 1
    assert str(journal) in done.stdout
    assert "--fix-store" in done.stdout
    assert run("doctor", "--data", str(data), "--fix-store").returncode == 0
    assert count(data) == 20
    assert ailments(run, str(data)) == ["directory"]  # the old store still takes space
    segment = data / "log" / "00000000000000000001.log"
    content = bytearray(segment.read_bytes())
    content[500] ^= 8
    segment.write_bytes(content)
    done = run("doctor", "--data", str(data))
    assert done.returncode == 1
    assert f"{segment} is damaged at byte" in done.stdout
