"""A training set is made again from its manifest, byte for byte, or it is said why it cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from running import Server
from thyme import Count, Sum, _labels, dataset, feature, featureset, field, inputs, local, pipeline
from thyme._content import RowsHash
from thyme._errors import ConflictError, GoneError, InvalidDataError
from thyme._exchange import Answer
from thyme._local import LocalClient
from thyme._session import ThymeWarning
from thyme._transport import LocalTransport
from thyme.client import ThymeClient
from training.definitions import DEFINITIONS, START, TrainFeatures, TrainTrip, labels, trips
from training.object_store import object_store
from training.test_spines import STOPS, SpineFeatures, SpineStop, stops


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every training set take several requests."""
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 61)


@pytest.fixture
def client() -> Iterator[LocalClient]:
    """An engine with trips."""
    with local() as opened:
        opened.commit(DEFINITIONS)
        opened.log(TrainTrip, trips(400))
        yield opened


def go_on(client: Any) -> None:
    """More data: later events, events that would change every row, and a rider nobody knew."""
    client.log(TrainTrip, trips(200, seed=9))
    client.log(TrainTrip, [{"rider": "a", "paid": 1e9, "tip": 1e9, "at": START - timedelta(hours=1)}])


def manifest_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output.parent / f"{output.name}.manifest.json").read_text())
    return content


ASKED: dict[str, dict[str, Any]] = {
    "labels": {"entity_column": "rider", "timestamp_column": "at"},
    "meta": {"timestamp_column": "at", "features": ["paid_2d", 7], "meta": True},
    "every": {
        "every": "7h",
        "time_range": (START, START + timedelta(days=8)),
        "features": [2, 3],
    },
    "spine": {"spine": TrainTrip, "time_range": ("2026-03-03", None), "features": [2, 3, 5]},
}


@pytest.mark.parametrize("kind", ["parquet", "csv", "arrow", "jsonl", "json"])
@pytest.mark.parametrize("asked", ASKED)
def test_the_same_bytes_come_again_after_more_data_has_come_in(
    client: LocalClient, tmp_path: Path, asked: str, kind: str
) -> None:
    output = tmp_path / f"out.{kind}"
    given: list[Any] = []
    if asked in ("labels", "meta"):
        for i in range(2):
            pl.DataFrame(labels(100, trips(400), seed=i)).write_parquet(tmp_path / f"in-{i}.parquet")
        given = [tmp_path / "in-*.parquet"]
    result = client.query_offline(TrainFeatures, *given, output=output, **ASKED[asked])
    first = output.read_bytes()
    output.unlink()
    assert result.metadata["manifest"] == f"{output}.manifest.json"
    go_on(client)
    now = tmp_path / f"now.{kind}"
    client.query_offline(TrainFeatures, *given, output=now, **ASKED[asked])
    assert now.read_bytes() != first
    (tmp_path / "in-2.parquet").write_bytes(b"a file that the pattern names only now")
    again = client.rebuild(f"{output}.manifest.json", memory="2MiB")
    assert again.metadata["rebuilt"]["identical"] is True
    assert output.read_bytes() == first
    assert len(again) == manifest_of(output)["output"]["rows"] == len(result)


def test_a_manifest_names_what_the_set_was_made_of(client: LocalClient, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = labels(90, trips(400))
    path = tmp_path / "data" / "labels.csv"
    pl.DataFrame(rows).write_csv(path)
    output = tmp_path / "out.parquet"
    result = client.query_offline(TrainFeatures, path, timestamp_column="at", output=output)
    said = manifest_of(output)
    assert said["as_of"] == result.metadata["as_of"]
    assert said["definitions"]["commit"] == said["as_of"]["commit"]
    assert sorted(said["definitions"]["sha256"]) == ["TrainFeatures", "TrainRider", "TrainTrip"]
    assert said["labels"]["kind"] == "files"
    assert said["labels"]["rows"] == said["output"]["rows"] == len(rows)
    assert said["output"]["columns"]["trips_6h"] == "int64"
    assert said["output"]["bytes"] == output.stat().st_size
    assert set(said["versions"]) == {"thyme", "python", "pyarrow", "polars"}
    assert said["arguments"]["timestamp_column"] == "at"


def test_a_folder_of_labels_and_output_may_move(
    client: LocalClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    pl.DataFrame(labels(90, trips(400))).write_parquet(before / "in.parquet")
    monkeypatch.chdir(tmp_path)
    client.query_offline(
        TrainFeatures, "before/in.parquet", timestamp_column="at", output="before/out.parquet"
    )
    first = Path("before/out.parquet").read_bytes()
    before.rename(after)
    (after / "out.parquet").unlink()
    client.rebuild(after / "out.parquet.manifest.json")
    assert (after / "out.parquet").read_bytes() == first
    monkeypatch.chdir(after)
    client.rebuild("out.parquet.manifest.json", output="elsewhere.parquet")
    assert Path("elsewhere.parquet").read_bytes() == first


def test_rows_from_no_file_have_to_be_given_again(client: LocalClient, tmp_path: Path) -> None:
    rows = labels(150, trips(400))
    output = tmp_path / "out.csv"
    manifest = f"{output}.manifest.json"
    client.query_offline(TrainFeatures, pl.DataFrame(rows), timestamp_column="at", output=output)
    first = output.read_bytes()
    assert manifest_of(output)["labels"]["kind"] == "rows"
    go_on(client)
    with pytest.raises(InvalidDataError, match="give them again"):
        client.rebuild(manifest)
    output.unlink()
    client.rebuild(manifest, pa.Table.from_pylist(rows).cast(pl.DataFrame(rows).to_arrow().schema))
    assert output.read_bytes() == first
    output.unlink()
    rows[-1]["hour"] = (rows[-1]["hour"] + 1) % 24
    with pytest.raises(ConflictError, match="the rows that were given are not those"):
        client.rebuild(manifest, pl.DataFrame(rows))
    assert [path.name for path in tmp_path.iterdir()] == [f"{output.name}.manifest.json"]


def made(client: Any, folder: Path, **more: Any) -> tuple[Path, bytes]:
    """A training set of a file of labels."""
    path, output = folder / "labels.parquet", folder / "out.parquet"
    pl.DataFrame(labels(150, trips(400))).write_parquet(path)
    client.query_offline(TrainFeatures, path, timestamp_column="at", output=output, **more)
    return folder / "out.parquet.manifest.json", output.read_bytes()


def test_changed_labels_are_named(client: LocalClient, tmp_path: Path) -> None:
    manifest, first = made(client, tmp_path)
    pl.DataFrame(labels(150, trips(400), seed=8)).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(ConflictError, match=r'the labels have changed: "[^"]*labels\.parquet"'):
        client.rebuild(manifest)
    (tmp_path / "labels.parquet").unlink()
    with pytest.raises(ConflictError, match=r"the labels are not there any more.*labels\.parquet"):
        client.rebuild(manifest)
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_an_erasure_is_named_if_it_shows_and_only_then(client: LocalClient, tmp_path: Path) -> None:
    client.log(TrainTrip, [{"rider": "nobody asks", "paid": 1.0, "tip": None, "at": START}])
    manifest, first = made(client, tmp_path)
    client.erase(TrainTrip, ["nobody asks"])
    with pytest.warns(ThymeWarning, match="erasures"):
        again = client.rebuild(manifest)
    assert again.metadata["rebuilt"]["identical"]
    client.erase(TrainTrip, ["r1"])
    with pytest.warns(ThymeWarning, match="erasures"), pytest.raises(ConflictError, match="2 erasures"):
        client.rebuild(manifest)
    assert (tmp_path / "out.parquet").read_bytes() == first


def spent(version: int, paid: float) -> list[type]:
    """A dataset, a pipeline that leaves out what is not worth it, and a featureset."""

    @dataset
    class ManiTrip:
        rider: str = field(key=True)
        paid: float
        at: datetime = field(timestamp=True)

    @dataset(version=version)
    class ManiRider:
        rider: str = field(key=True)
        at: datetime = field(timestamp=True)
        n: int
        total: float

        @pipeline(version=1)
        @inputs(ManiTrip)
        def compute(cls, trips):  # type: ignore[no-untyped-def]
            from thyme import col

            kept = trips.filter(col("paid") > paid)
            return kept.groupby("rider").aggregate(n=Count(), total=Sum(of="paid", window="30d"))

    @featureset
    class ManiFeatures:
        rider: str = feature(id=1)
        n: int = feature(id=2, ref=ManiRider.n)
        total: float = feature(id=3, ref=ManiRider.total)

    return [ManiTrip, ManiRider, ManiFeatures]


def test_changed_definitions_are_named_and_others_do_not_matter(tmp_path: Path) -> None:
    @dataset
    class ManiOther:
        key: str = field(key=True)
        at: datetime = field(timestamp=True)

    rows = [{"rider": f"r{i % 9}", "at": START + timedelta(days=i)} for i in range(100)]
    trip, _, features = spent(1, 0.0)
    output = tmp_path / "out.parquet"
    with local() as client:
        client.commit(spent(1, 0.0))
        client.log(trip, [{**row, "paid": float(i % 7)} for i, row in enumerate(rows)])
        pl.DataFrame(rows).write_parquet(tmp_path / "in.parquet")
        client.query_offline(features, tmp_path / "in.parquet", timestamp_column="at", output=output)
        client.commit([*spent(1, 0.0), ManiOther])
        assert client.rebuild(f"{output}.manifest.json").metadata["rebuilt"]["identical"]
        client.commit(spent(2, 3.0))
        with pytest.raises(
            ConflictError, match="definitions have changed since commit .*: ManiFeatures|ManiR"
        ):
            client.rebuild(f"{output}.manifest.json")


def test_other_versions_that_write_other_bytes_are_named(client: LocalClient, tmp_path: Path) -> None:
    manifest, first = made(client, tmp_path)
    said = json.loads(manifest.read_text())
    said["versions"]["pyarrow"] = "9.0.0"
    said["output"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(said))
    with pytest.warns(
        ThymeWarning, match=r"same rows again, and other bytes: .*pyarrow [0-9.]+, then 9\.0\.0"
    ):
        again = client.rebuild(manifest)
    assert again.metadata["rebuilt"]["identical"] is False
    said["output"]["rows_sha256"] = "0" * 64
    manifest.write_text(json.dumps(said))
    with pytest.raises(ConflictError, match=r"then 9\.0\.0"):
        client.rebuild(manifest)
    said["versions"] = {}
    manifest.write_text(json.dumps(said))
    with pytest.raises(ConflictError, match="gives other values at e"):
        client.rebuild(manifest)
    assert (tmp_path / "out.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a manifest"),
        ("[1]", "is not a manifest"),
        ('{"thyme_manifest": 2}', "of format 2, this version of Thyme reads 1"),
        ('{"thyme_manifest": 1}', 'damaged: it has no "featureset"'),
    ],
)
def test_what_is_no_manifest_is_said(client: LocalClient, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidDataError, match=said):
        client.rebuild(tmp_path / "x.json")


def test_no_secret_is_in_a_manifest_of_an_object_store(
    client: LocalClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    pl.DataFrame(labels(90, trips(400))).write_parquet(tmp_path / "in.parquet")
    with object_store() as (options, objects):
        objects["bucket/in.parquet"] = (tmp_path / "in.parquet").read_bytes()
        store = "s3://" + "someone:hidden" + "@bucket"
        client.query_offline(
            TrainFeatures,
            f"{store}/in.parquet?{options}",
            timestamp_column="at",
            output=f"{store}/sets/out.parquet?{options}",
        )
        text = objects["bucket/sets/out.parquet.manifest.json"].decode()
        assert "hidden" not in text
        assert "someone" not in text
        first = objects.pop("bucket/sets/out.parquet")
        go_on(client)
        client.rebuild(f"{store}/sets/out.parquet.manifest.json?{options}")
        assert objects["bucket/sets/out.parquet"] == first


def test_as_served_comes_again_and_the_command_does_it(
    server: Server, run: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    events = stops(200, now - timedelta(hours=39))
    with ThymeClient(server.url) as client:
        client.commit(STOPS)
        for start in range(0, 200, 20):
            client.log(SpineStop, events[start : start + 20])
        moments = [datetime.now(UTC) - timedelta(milliseconds=i) for i in range(150)]
        rows = [
            {"zone": "b", "line": i % 3, "at": at, "hour": 3} for i, at in enumerate([*moments, *moments])
        ]
        rows += [{"zone": "b", "line": 1, "at": now + timedelta(days=9), "hour": 3}]  # not served yet
        pl.DataFrame(rows).write_parquet(tmp_path / "in.parquet")
        output = tmp_path / "out.parquet"
        client.query_offline(
            SpineFeatures, tmp_path / "in.parquet", timestamp_column="at", as_served=True, output=output
        )
        first = output.read_bytes()
        output.unlink()
        client.log(SpineStop, events)
    url = ("--url", server.url)
    done = run(*url, "rebuild", "out.parquet.manifest.json")
    assert done.returncode == 0, done.stderr
    assert re.search(r"out\.parquet: 301 rows, the same bytes as before \(sha256 [0-9a-f]{12}\)", done.stdout)
    assert output.read_bytes() == first
    done = run(*url, "rebuild", "out.parquet.manifest.json", "-o", "b.parquet", "--json")
    assert json.loads(done.stdout)["identical"] is True
    assert (tmp_path / "b.parquet").read_bytes() == first
    (tmp_path / "in.parquet").unlink()
    failed = run(*url, "rebuild", "out.parquet.manifest.json")
    assert failed.returncode == 1
    assert "the labels are not there any more" in failed.stderr


def test_rows_have_one_hash_however_their_buffers_lie() -> None:
    def hashed(table: pa.Table) -> str:
        digest = RowsHash()
        digest.add(table)
        return digest.hexdigest()

    rows = [
        {"a": i if i % 3 else None, "b": "é" * (i % 4) if i % 5 else None, "c": i % 2 == 0 if i % 7 else None,
         "d": [i, None] if i % 4 else None, "e": {"x": i, "y": None} if i % 6 else None, "f": i / 7}
        for i in range(40)
    ]  # fmt: skip
    plain = pa.Table.from_pylist(rows)
    wanted = hashed(plain)
    padded = pa.Table.from_pylist([*rows[30:], *rows, *rows[:7]]).slice(10, 40)
    chunked = pa.concat_tables([plain.slice(0, 3), plain.slice(3, 14), plain.slice(17)])
    encoded = plain.set_column(1, "b", plain["b"].dictionary_encode())
    assert hashed(padded) == hashed(chunked) == hashed(encoded) == wanted
    assert hashed(pa.Table.from_pandas(pd.DataFrame({"f": plain["f"].to_numpy()}))) == hashed(
        plain.select(["f"])
    )
    for i in (0, 1, 17, 39):
        for name in rows[i]:
            changed = [dict(row) for row in rows]
            changed[i][name] = None if rows[i][name] is not None else rows[i + 1 if i < 39 else 0][name]
            if changed[i] != rows[i]:
                assert hashed(pa.Table.from_pylist(changed, schema=plain.schema)) != wanted, (i, name)
    assert hashed(plain.rename_columns(["z", "b", "c", "d", "e", "f"])) != wanted


def test_what_retention_has_removed_is_named(
    client: LocalClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, first = made(client, tmp_path)
    request = LocalTransport.request

    def gone(self: LocalTransport, method: str, target: str, **more: Any) -> Answer:
        if not target.startswith("/features/offline"):
            return request(self, method, target, **more)
        detail = "TrainRider needs events that have been removed"
        return Answer(410, {}, json.dumps({"error": "gone", "detail": detail}).encode())

    monkeypatch.setattr(LocalTransport, "request", gone)
    with pytest.raises(GoneError, match=r'out\.parquet" cannot be made again: .*TrainRider needs') as caught:
        client.rebuild(manifest)
    assert "cannot be made again" in str(caught.value)
    assert (tmp_path / "out.parquet").read_bytes() == first
