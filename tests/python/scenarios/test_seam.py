"""History comes from files and the present by pushes, which overlap: each event counts once, at every position."""

from __future__ import annotations

import io
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest

from scenarios.definitions import PLAIN, Spec
from scenarios.load import DRIVERS, FARES
from scenarios.oracle import Output
from scenarios.world import WHOLE, World, by

EVENTS = 900
WAIT_SECONDS = 60
Row = dict[str, Any]

LONG = Spec(
    outputs={
        **PLAIN.outputs,
        "rides": Output("Count", None, 30),
        "fares": Output("Sum", "fare", 45),
    },
    features=PLAIN.features,
)


def history(choose: random.Random) -> list[Row]:
    """Events of the last minute and the next seconds, each with its id, by about their times."""
    start = time.time_ns() // 1000 - 60_000_000
    return [
        {
            "ride": f"r{number}",
            "driver": choose.choice(DRIVERS),
            "fare": choose.choice(FARES),
            "tip": choose.choice([None, choose.randrange(9)]),
            "at": start + number * 70_000 + choose.randrange(-500_000, 500_000),
        }
        for number in range(EVENTS)
    ]


def write(file: Path, rows: list[Row]) -> None:
    frame = pl.DataFrame(rows, schema_overrides={"tip": pl.Int64})
    new = file.with_suffix(".new")
    frame.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))).write_parquet(new)
    new.rename(file)


def copies(world: World, count: int) -> list[tuple[int, int, bool, Row]]:
    """All rows of the log with their places and whether they are duplicates, once there are so many."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        ride = next(each for each in world.client.status()["datasets"] if each["name"] == "Ride")
        if ride["events"] >= count or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    found: list[tuple[int, int, bool, Row]] = []
    parameters = {"dataset": "Ride"}
    while True:
        answer = httpx.get(f"{world.lives.url}/api/v1/rows", params=parameters, trust_env=False)
        assert answer.status_code == 200, answer.text
        with pa.ipc.open_stream(io.BytesIO(answer.content)) as stream:
            said = json.loads(stream.schema.metadata[b"thyme"])
            table = stream.read_all()
        table = table.set_column(table.column_names.index("at"), "at", table["at"].cast(pa.int64()))
        for row in table.to_pylist():
            fields = {name: row[name] for name in ("ride", "driver", "fare", "tip", "at")}
            found.append((row["thyme:record"], row["thyme:row"], row["thyme:duplicate"], fields))
        if said["next"] is None:
            return sorted(found, key=lambda each: each[:2])
        parameters |= {"next": said["next"], "until": said["until"]}


@pytest.mark.parametrize("seed", [1, 2])
def test_history_then_pushes_count_each_event_once_wherever_the_seam_is(world: World, seed: int) -> None:
    choose = random.Random(seed)
    events = history(choose)
    seam = sorted(choose.randrange(EVENTS // 4, EVENTS * 3 // 4) for _ in range(4))
    first, second, pushed = events[: seam[1]], events[seam[0] : seam[3]], events[seam[2] - EVENTS // 8 :]
    choose.shuffle(pushed)
    pushes = world.folder / "pushes.jsonl"
    groups = [pushed[at : at + 4] for at in range(0, len(pushed), 4)]
    pushes.write_text("\n".join(json.dumps(group) for group in groups))

    folder = world.folder / "history"
    folder.mkdir()
    write(folder / "1.parquet", first)
    file = LONG.written(
        world.folder / "definitions",
        imports="from thyme import source\nfrom thyme.connectors import FileSource",
        source=f"@source(FileSource(path={str(folder / '*.parquet')!r}))",
        fields="    ride: str = field(event_id=True)\n",
    )
    world.noted(world.client.commit(file, wait_sources=True), LONG)
    world.begin(WHOLE, by(2, 3), by("fares", "tips"), by(4, 5, batch=True), pushes=pushes)
    write(folder / "2.parquet", second)
    world.linger(len(groups))
    sent = [*first, *second, *pushed]
    found = copies(world, len(sent))
    world.linger()
    _, reads = world.end()

    def counted(rows: list[Row]) -> Counter[tuple[tuple[str, Any], ...]]:
        return Counter(tuple(sorted(row.items())) for row in rows)

    assert counted([row for *_, row in found]) == counted(sent)
    seen: set[str] = set()
    for record, number, is_duplicate, row in found:
        assert is_duplicate == (row["ride"] in seen)
        if not is_duplicate:
            world.oracle.place(row, record, number)
        seen.add(row["ride"])
    assert len(seen) == len({row["ride"] for row in sent}) < len(sent)
    verdict = world.judge(reads)
    assert verdict.answers > 100
