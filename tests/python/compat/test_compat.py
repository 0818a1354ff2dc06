"""Directories of earlier formats open as they are, and give what they gave then."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

import thyme
from thyme.errors import ConflictError

COMPAT = Path(__file__).resolve().parents[2] / "compat"
sys.path.insert(0, str(COMPAT))

from asking import ask, facts, request  # noqa: E402

FORMATS = sorted(folder.name for folder in COMPAT.iterdir() if (folder / "data.tar.xz").is_file())


@pytest.fixture(params=FORMATS)
def expected(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a directory must give; a copy of it is `data` in the working directory."""
    folder = COMPAT / request.param
    with tarfile.open(folder / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    content: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return content


def assert_gives_what_it_gave(client: thyme.ThymeClient, expected: dict[str, Any]) -> None:
    deadline = time.monotonic() + 60
    while not all(source["caught_up"] for source in client.status()["sources"]):
        assert time.monotonic() < deadline, client.status()["sources"]
        time.sleep(0.02)
    assert facts(client) == expected["facts"]
    wrong = [
        (each["asked"], each["answer"], answer)
        for each in expected["answers"]
        if (answer := ask(client, each["asked"])) != each["answer"]
    ]
    assert wrong == []


def test_there_is_a_directory_to_open() -> None:
    assert FORMATS


def test_an_earlier_directory_gives_what_it_gave(expected: dict[str, Any]) -> None:
    assert len(expected["answers"]) > 100
    with thyme.local("data") as client:
        assert_gives_what_it_gave(client, expected)
    with thyme.local("data") as client:  # written by this Thyme meanwhile
        assert_gives_what_it_gave(client, expected)


def test_an_earlier_log_alone_gives_what_it_gave(expected: dict[str, Any]) -> None:
    shutil.rmtree("data/store")
    with thyme.local("data") as client:
        assert_gives_what_it_gave(client, expected)


def test_an_earlier_directory_goes_on(expected: dict[str, Any]) -> None:
    body, key = expected["repeat"]["body"], {"Idempotency-Key": "once"}
    other = {**body, "events": [{**body["events"][0], "fare": 2.0}]}
    with thyme.local("data") as client:
        assert request(client, "POST", "/api/v1/log", body, key) == expected["repeat"]["answer"]
        with pytest.raises(ConflictError):
            client.log("Trip", other["events"], idempotency_key="once")
        rider = client.lookup("RiderStats", "ann", 4_000_000_000)
        assert rider is not None
        client.log("Trip", other["events"])
    with thyme.local("data") as client:
        after = client.lookup("RiderStats", "ann", 4_000_000_000)
        assert after is not None
        assert after["trips"] == rider["trips"] + 1
