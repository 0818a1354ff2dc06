"""API keys, from the command line and from Python, with a data directory and with a server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from running import Server, free_port, start_server
from thyme import AsyncThymeClient, ThymeClient
from thyme._config import Config
from thyme._errors import ForbiddenError, InvalidDataError, RateLimitedError, UnauthorizedError
from thyme._secrets import refuse_secrets

Run = Callable[..., "CompletedProcess[str]"]

DEFINITIONS = """
from datetime import datetime
from thyme import Count, dataset, feature, featureset, field, inputs, pipeline

@dataset(index=True)
class KeyRide:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)

@dataset
class KeyStats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int

    @pipeline(version=1)
    @inputs(KeyRide)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count())

@featureset
class KeyDrivers:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=KeyStats.rides)

@featureset
class KeyOthers:
    driver: str = feature(id=1)
    rides: int = feature(id=2, ref=KeyStats.rides)
"""


@pytest.fixture
def guarded(run: Run, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server whose first key was made before it was started, and that key."""
    data = str(tmp_path / "guarded")
    made = run("keys", "create", "--role", "admin", "--name", "ops", "--data", data)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"thyme_[0-9a-f]{8}_[0-9a-f]{64}", key)
    assert made.stderr == f"key {key[6:14]} has the role admin; it is shown only now:\n"
    server = start_server(tmp_path / "guarded")
    yield server, key
    server.process.terminate()
    server.process.wait(timeout=20)


def test_keys_are_made_listed_and_revoked(run: Run, guarded: tuple[Server, str], tmp_path: Path) -> None:
    server, admin = guarded
    (tmp_path / "keyed.py").write_text(DEFINITIONS)
    ops = {"THYME_API_URL": server.url, "THYME_API_KEY": admin}
    refused = run("status", THYME_API_URL=server.url)
    assert refused.returncode == 1
    assert "this server needs an API key" in refused.stderr
    assert run("commit", "keyed.py", **ops).returncode == 0
    made = run(
        "keys", "create", "--role", "read", "--featureset", "KeyDrivers", "--rate", "200/h", "--name", "shop",
        "--expires", "90d", "--json", **ops,
    )  # fmt: skip
    shop = json.loads(made.stdout)
    assert (shop["roles"], shop["featuresets"], shop["rate"]) == (["read"], ["KeyDrivers"], "200/h")
    as_shop = {"THYME_API_URL": server.url, "THYME_API_KEY": shop["key"]}
    other = run("query-offline", "KeyOthers", "-e", "a", "--at", "2026-03-15", "-f", "json", **as_shop)
    assert other.returncode == 1
    assert "may not read KeyOthers: it is for KeyDrivers" in other.stderr
    assert datetime.fromisoformat(shop["expires"]) - datetime.fromisoformat(shop["created"]) == timedelta(
        days=90
    )
    listed = run("keys", "list", **ops)
    assert shop["id"] in listed.stdout
    assert shop["key"] not in listed.stdout
    assert json.loads(run("keys", "list", "--json", **ops).stdout)["keys"][0]["name"] == "shop"
    assert run("keys", "revoke", shop["id"], **ops).stdout == f"revoked key {shop['id']}\n"
    gone = run("status", **as_shop)
    assert gone.returncode == 1
    assert f"the API key {shop['id']} was revoked" in gone.stderr
    in_use = run("keys", "list", "--data", str(server.data))
    assert in_use.returncode == 1
    assert "is used by another thyme process" in in_use.stderr


def test_both_clients_send_their_key_and_raise_what_is_refused(guarded: tuple[Server, str]) -> None:
    server, admin = guarded
    with ThymeClient(Config(api_url=server.url, api_key=admin)) as ops:
        with pytest.raises(InvalidDataError, match="expected a list"):
            ops.create_key("read", featuresets="KeyDrivers")
        writer = ops.create_key("write", name="producer")
        slow = ops.create_key(["read", "write"], rate="1/h")
        assert [key["name"] for key in ops.api_keys()] == [None, "producer", "ops"]
    with ThymeClient(server.url, api_key=writer["key"]) as client:
        client.status()
        with pytest.raises(ForbiddenError, match=r"has the role write, and GET /api/v1/events needs read"):
            client.events()

    async def ask() -> None:
        async with AsyncThymeClient(Config(api_url=server.url, api_key=slow["key"], tries=1)) as client:
            await client.status()
            with pytest.raises(RateLimitedError, match="may ask 1/h"):
                await client.status()
        async with AsyncThymeClient(server.url, api_key="made up") as client:
            with pytest.raises(UnauthorizedError, match="is not known here"):
                await client.api_keys()

    asyncio.run(ask())


def test_beyond_this_machine_a_server_starts_only_with_a_key(run: Run, tmp_path: Path) -> None:
    data = str(tmp_path / "open")
    listen = f"0.0.0.0:{free_port()}"
    refused = run("serve", "--data", data, "--listen", listen)
    assert refused.returncode == 1
    assert "thyme keys create --role admin --data DIR" in refused.stderr
    nowhere = run("keys", "list", "--data", data + "-mistyped")
    assert (nowhere.returncode, "there is no data directory" in nowhere.stderr) == (1, True)
    assert not Path(data + "-mistyped").exists()
    key = run("keys", "create", "--role", "admin", "--data", data).stdout.strip()
    process = subprocess.Popen(
        [sys.executable, "-m", "thyme", "serve", "--data", data, "--listen", listen],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{listen.rpartition(':')[2]}"
        with ThymeClient(Config(api_url=url, api_key=key, tries=30)) as client:
            assert [each["id"] for each in client.api_keys()] == [key[6:14]]
        with ThymeClient(Config(api_url=url)) as nobody, pytest.raises(UnauthorizedError):
            nobody.status()
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_a_commit_that_holds_a_key_is_refused() -> None:
    key = f"thyme_0123abcd_{'0f' * 32}"
    with pytest.raises(ValueError, match="a Thyme API key") as refused:
        refuse_secrets({}, {"features.py": f'CLIENT = connect("{key}")\n'}, travel=True)
    assert key not in str(refused.value)
