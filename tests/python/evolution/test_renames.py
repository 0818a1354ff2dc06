"""Renames: the feature is its id, old names answer until they are retired."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from evolution.rides import rides, written
from running import Server, start_server
from thyme import local
from thyme.client import ThymeClient
from thyme.errors import ConflictError, InvalidDataError, NotFoundError

LABELS = {"driver": ["d"], "at": ["2026-03-16T00:00:00Z"], "hour": [3]}
PREFIXES = iter(f"Evo{i}" for i in range(100))


@pytest.fixture(params=["local", "server"])
def door(request: pytest.FixtureRequest) -> Iterator[tuple[ThymeClient, str]]:
    """A client, and a prefix of names that nobody else uses."""
    if request.param == "local":
        with local() as client:
            yield client, "R"
    else:
        server: Server = request.getfixturevalue("server")
        yield ThymeClient(server.url), next(PREFIXES)


def test_an_old_name_answers_in_every_kind_of_read(door: tuple[ThymeClient, str], tmp_path: Path) -> None:
    client, p = door
    client.commit(written(tmp_path, p))
    position = client.log(f"{p}Ride", rides(4))
    client.commit(written(tmp_path, p, "rides_ever", "hour_of_day", taken="rides"))
    drivers, at = f"{p}Drivers", {"min_position": position}

    # Consumers of all features find what they found, and the new names.
    whole = client.query(drivers, "d", {"hour": 5}, **at)
    assert (whole["rides"], whole["rides_ever"], whole["score"]) == (4, 4, 45.0)
    assert whole.metadata["meta"] == {
        "deprecated": {
            "rides": {"id": 2, "name": "rides_ever", "status": "renamed"},
            "hour": {"id": 4, "name": "hour_of_day", "status": "renamed"},
        }
    }
    batch = client.query_batch(drivers, ["d", "x"], {"hour_of_day": 5}, **at)
    assert (batch["rides"], batch["rides_ever"]) == ([4, 0], [4, 0])
    assert "rides" in batch.metadata["meta"]["deprecated"]
    # An array has the places that it had before the rename.
    assert batch.columns[:6] == ["entity_id", "driver", "rides_ever", "fare", "hour_of_day", "score"]
    assert batch.to_numpy().shape == (2, 6)
    trained = client.query_offline(drivers, LABELS, timestamp_column="at", **at)
    assert (trained["rides"], trained["rides_ever"], trained["score"]) == (4, 4, 43.0)

    # Whoever asks for one by its old name gets it under that name, and is told.
    with pytest.warns(
        UserWarning, match=rf"{drivers}\.rides was renamed to rides_ever; the old name answers"
    ):
        chosen = client.query(drivers, "d", features=["rides", 3], **at)
    assert dict(chosen) == {"rides": 4, "fare": 9.0}
    assert chosen.metadata["meta"]["ids"] == {"rides": 2, "fare": 3}

    # Ids answer under the present names, in the order asked; nothing else is needed for them.
    by_id = client.query_batch(drivers, ["d"], features=[3, 2], **at)
    assert by_id.columns == ["entity_id", "fare", "rides_ever"]
    served = client.query_offline(drivers, LABELS, timestamp_column="at", features=["fare", 2], **at)
    assert served.columns == ["driver", "at", "hour", "fare", "rides_ever"]

    explained = client.explain(f"{drivers}.rides", "d")
    assert (explained["name"], explained["value"]) == (f"{drivers}.rides_ever", 4)
    assert "rides is called rides_ever now" in explained["notes"]
    report = client.verify(drivers, sample=10)
    assert report["different"] == 0
    assert f"{drivers}.rides_ever" in {each["name"] for each in report["features"]}

    # An extractor of another featureset, committed before the rename, still gets its input.
    assert client.query(f"{p}Others", "d", **at)["twice"] == 8


def test_every_one_of_several_names_answers_and_who_asks_is_counted(
    door: tuple[ThymeClient, str], tmp_path: Path
) -> None:
    client, p = door
    drivers = f"{p}Drivers"
    for name in ("a", "b", "c"):
        client.commit(written(tmp_path, p, name, taken="a"))
    at = client.log(f"{p}Ride", rides(2))
    for name in ("a", "b", "b"):
        with pytest.warns(UserWarning, match=f"{name} was renamed to c"):
            assert client.query(drivers, "d", features=[name], min_position=at)[name] == 2
    client.query(drivers, "d", {"hour": 1})
    client.explain(f"{drivers}.a", "d")
    old = {each["name"]: each for each in client.status()["old_names"] if each["featureset"] == drivers}
    assert {
        name: (each["now"], each["id"], each["asked"], each["included"]) for name, each in old.items()
    } == {
        "a": ("c", 2, 2, 1),
        "b": ("c", 2, 2, 1),
    }
    assert old["b"]["callers"] == {"anonymous": 2}
    feature = next(each for each in client.inspect(drivers)["features"] if each["id"] == 2)
    assert (feature["name"], feature["former_names"]) == ("c", ["a", "b"])


def test_who_asks_by_an_old_name_is_known_after_a_restart(tmp_path: Path) -> None:
    def counted(client: ThymeClient) -> tuple[int, int, dict[str, int]]:
        (old,) = client.status()["old_names"]
        return old["asked"], old["included"], old["callers"]

    for restarts in range(3):
        with local(tmp_path / "data") as client:
            if not restarts:
                client.commit(written(tmp_path, "R"))
                client.commit(written(tmp_path, "R", "rides_ever", version=2))
            else:
                assert counted(client) == (2 * restarts, restarts, {"anonymous": 2 * restarts})
            for _ in range(2):
                with pytest.warns(UserWarning, match="was renamed to rides_ever"):
                    client.query("RDrivers", "d", features=["rides"])
            client.query("RDrivers", "d", {"hour": 1})


def test_a_removed_feature_is_explained_by_its_name_as_by_its_id(
    door: tuple[ThymeClient, str], tmp_path: Path
) -> None:
    client, p = door
    drivers = f"{p}Drivers"
    client.commit(written(tmp_path, p))
    file = Path(written(tmp_path, p))
    removed = file.read_text().replace(f"    fare: float = feature(id=3, ref={p}Stats.fare)\n", "")
    file.write_text(removed)
    commit = client.commit(str(file))["commit"]
    told = (
        f"{drivers}.fare was a name of the feature with the id 3, which is removed: .* since commit {commit}"
    )
    with pytest.raises(NotFoundError, match=told):
        client.query(drivers, "d", features=["fare"])
    with pytest.raises(NotFoundError, match=told):
        client.explain(f"{drivers}.fare", "d")
    with pytest.raises(NotFoundError, match="the id 3 any more: it was removed"):
        client.query(drivers, "d", features=[3])
    assert client.commit(str(file))["changed"] is False
    # The name is free for another feature.
    file.write_text(
        removed.replace("feature(id=5)", f"feature(id=5)\n    fare: float = feature(id=9, ref={p}Stats.fare)")
    )
    client.commit(str(file))
    assert client.query(drivers, "d", features=["fare"])["fare"] is not None


def test_a_dict_of_inputs_has_the_names_that_the_extractor_was_committed_with(
    door: tuple[ThymeClient, str], tmp_path: Path
) -> None:
    client, p = door
    file = tmp_path / "features.py"

    def text(name: str, taken: str, found: str, version: int) -> str:
        from evolution.rides import OTHERS, TEXT

        more = f"""

@featureset
class {p}Others:
    driver: str = feature(id=1)
    {name}: int = feature(id=2, ref={p}Stats.rides)
    twice: int = feature(id=3)

    @extractor(version={version})
    @extractor_inputs("{taken}")
    @extractor_outputs("twice")
    def doubled(cls, ts, inputs):
        return inputs["{found}"] * 2
"""
        base = TEXT.split(OTHERS)[0].format(p=p, rides="rides", hour="hour", taken="rides", version=1)
        return base + more

    def commit(*names: str, version: int = 1) -> None:
        file.write_text(text(*names, version))
        client.commit(str(file))

    commit("n", "n", "n")
    at = {"min_position": client.log(f"{p}Ride", rides(2))}
    assert client.query(f"{p}Others", "d", **at)["twice"] == 4
    with pytest.raises(
        ConflictError, match=r"names in its dict of inputs: n -> cnt; bump @extractor\(version=2"
    ):
        commit("cnt", "cnt", "n")
    assert client.query(f"{p}Others", "d", **at)["twice"] == 4
    commit("cnt", "cnt", "cnt", version=2)
    assert client.query(f"{p}Others", "d", **at)["twice"] == 4


def test_a_retired_name_says_what_became_of_it(door: tuple[ThymeClient, str], tmp_path: Path) -> None:
    client, p = door
    drivers = f"{p}Drivers"
    client.commit(written(tmp_path, p))
    at = client.log(f"{p}Ride", rides(2))
    client.commit(written(tmp_path, p, "rides_ever", taken="rides"))
    with pytest.raises(ConflictError, match=rf"extractor {p}Others.doubled takes the feature by this name"):
        client.retire(f"{drivers}.rides")
    # Its code says another name then, which is another code.
    client.commit(written(tmp_path, p, "rides_ever", version=2))
    with pytest.raises(ConflictError, match="is the present name of the feature with the id 2"):
        client.retire(f"{drivers}.rides_ever")
    retired = client.retire(f"{drivers}.rides")
    assert [(each["kind"], each["subject"]) for each in retired["changes"]] == [
        ("removed", f"{drivers}.rides")
    ]
    told = rf"{drivers}\.rides was renamed to rides_ever, and the old name was retired at commit {retired['commit']}"
    for ask in (
        lambda: client.query(drivers, "d", features=["rides"]),
        lambda: client.query_batch(drivers, ["d"], features=["rides"]),
        lambda: client.query_offline(drivers, LABELS, timestamp_column="at", features=["rides"]),
        lambda: client.explain(f"{drivers}.rides", "d"),
    ):
        with pytest.raises(NotFoundError, match=told):
            ask()
    assert "rides" not in client.query(drivers, "d", {"hour": 1})
    assert client.query(drivers, "d", features=[2], min_position=at)["rides_ever"] == 2
    assert client.retire(f"{drivers}.rides")["commit"] == retired["commit"]
    with pytest.raises(NotFoundError, match="is no old name of a feature|no feature of .* has an old name"):
        client.retire(f"{drivers}.nothing")


def test_a_wrong_selection_is_refused(door: tuple[ThymeClient, str], tmp_path: Path) -> None:
    client, p = door
    drivers = f"{p}Drivers"
    client.commit(written(tmp_path, p))
    for features, message in (
        ([99], f"{drivers} has no feature with the id 99; it has 1 driver, 2 rides"),
        (["ride"], 'no feature named "ride"; did you mean rides'),
        ([], "expected 1 to 10000 names or ids, got 0"),
        (["rides", 2], f"{drivers}.rides is asked for twice"),
        ([2.5], "takes ids, names and features"),
    ):
        with pytest.raises((InvalidDataError, NotFoundError), match=message):
            client.query(drivers, "d", features=features)
    # Inputs that nothing asked for needs are not in the way; others are what they always were.
    assert dict(client.query(drivers, "d", {"hour": 1}, features=["rides"])) == {"rides": 0}
    with pytest.raises(InvalidDataError, match="has no request feature minute|takes no inputs"):
        client.query(drivers, "d", {"minute": 1}, features=["rides"])


def test_ids_are_never_given_again_over_restarts_and_a_restored_backup(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    def document(features: list[tuple[int, str]]) -> dict[str, object]:
        listed = [{"id": i, "name": name, "type": "str"} for i, name in features]
        return {"format": 1, "featuresets": [{"name": "F", "features": listed}]}

    data, backup, restored = (str(tmp_path / name) for name in ("data", "backup", "restored"))
    with local(data) as client:
        client.commit(document([(1, "a"), (7, "gone")]))
        client.commit(document([(1, "b")]))
        retired = client.retire("F.a")["commit"]
    assert run("backup", backup, "--data", data).returncode == 0
    assert run("restore", backup, "--data", restored).returncode == 0
    for directory in (data, restored):
        with local(directory) as client:
            with pytest.raises(ConflictError, match="has the id 7, which a removed feature had"):
                client.commit(document([(1, "b"), (7, "new")]))
            with pytest.raises(NotFoundError, match=f"F.a was renamed to b, .* retired at commit {retired}"):
                client.query("F", "x", features=["a"])
            assert client.inspect("F")["retired_ids"] == [7]


def test_the_command_line_asks_by_id_and_retires(
    run: Callable[..., subprocess.CompletedProcess[str]], server: Server, tmp_path: Path
) -> None:
    url, p = {"THYME_API_URL": server.url}, "EvoCli"
    client = ThymeClient(server.url)
    client.commit(written(tmp_path, p))
    client.log(f"{p}Ride", rides(3))
    assert (
        "~ changed EvoCliDrivers.rides_ever  name: rides -> rides_ever"
        in run("commit", written(tmp_path, p, "rides_ever", taken="rides"), **url).stdout
    )
    asked = run(
        "query", "EvoCliDrivers", "-e", "d", "--feature", "2", "--feature", "rides", "-f", "json", **url
    )
    assert json.loads(asked.stdout) == [{"entity_id": "d", "rides_ever": 3, "rides": 3}]
    assert "EvoCliDrivers.rides was renamed to rides_ever" in asked.stderr
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"driver": "d", "at": "2026-03-16T00:00:00Z"}\n')
    trained = run(
        "query-offline", "EvoCliDrivers", "--input", str(labels), "--feature", "2", "-f", "json", **url
    )
    assert json.loads(trained.stdout)[0]["rides_ever"] == 3
    assert "rides_ever" in run("status", **url).stdout
    assert "old_names" in run("inspect", "EvoCliDrivers", **url).stdout
    refused = run("retire", "EvoCliDrivers.rides", **url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the extractor EvoCliOthers.doubled takes the feature by this name" in refused.stderr
    client.commit(written(tmp_path, "EvoTwo"))
    client.commit(written(tmp_path, "EvoTwo", "b", "h", taken="rides"))
    retired = run("retire", "EvoTwoDrivers.hour", **url)
    assert "- removed EvoTwoDrivers.hour  retired; the feature with the id 4 answers as h" in retired.stdout
    gone = run("query", "EvoTwoDrivers", "-e", "d", "--feature", "hour", **url)
    assert gone.returncode == 1
    assert "EvoTwoDrivers.hour was renamed to h" in gone.stderr


def test_callers_are_told_apart_without_their_keys(tmp_path: Path) -> None:
    settings = tmp_path / "thyme.yaml"
    settings.write_text("api_keys: [secret-a, secret-b]\n")
    server = start_server(tmp_path / "data", "--config", str(settings))
    try:
        ask = {"featureset": "KDrivers", "entity_id": "d", "features": ["rides"]}
        clients = [ThymeClient(_config(server.url, key)) for key in ("secret-a", "secret-b")]
        clients[0].commit(written(tmp_path, "K"))
        clients[0].commit(written(tmp_path, "K", "rides_ever", taken="rides"))
        for key, times in (("secret-a", 2), ("secret-b", 1)):
            for _ in range(times):
                answer = httpx.post(
                    f"{server.url}/features",
                    json=ask,
                    headers={"Authorization": f"Bearer {key}"},
                    trust_env=False,
                )
                assert answer.status_code == 200
        (old,) = [each for each in clients[0].status()["old_names"] if each["name"] == "rides"]
        assert sorted(old["callers"].values()) == [1, 2]
        assert all(caller.startswith("key ") and "secret" not in caller for caller in old["callers"])
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert 'thyme_old_name_asks_total{featureset="KDrivers",name="rides"} 3' in metrics
    finally:
        server.process.terminate()
        server.process.wait(timeout=20)


def _config(url: str, key: str) -> object:
    from thyme._config import Config

    return Config.load(api_url=url, api_key=key)
