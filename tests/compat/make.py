"""Makes a data directory that every later Thyme must open: `python tests/compat/make.py NAME`.

NAME is a folder beside this file that must not exist yet. A directory is never made again: what is checked in
was written by the Thyme of its day, and the answers in `expected.json` are what that Thyme said. It is an
archive because a data directory has empty folders, which a repository does not keep.

The directory has two lives in it. The first ends in order, so its state is in the store. The second, with a
commit that is filled from the log, is killed: what it wrote is in the log alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "python")]

from asking import ask, facts, request  # noqa: E402
from trips import FIRST_COMMIT, SECOND_COMMIT, Belongings, RiderStats, StopStats, Trip  # noqa: E402

import thyme  # noqa: E402

T0 = 1_773_568_800  # 2026-03-15T10:00:00Z
RIDERS = ["ann", "bo", "", "zoë \N{BICYCLE}"]
KEYED = {"rider": "ann", "stop": 9, "fare": 0.1, "paid": True, "at": T0 + 30_000}
REPEATED = {"dataset": "Trip", "events": [KEYED]}


def trips(seed: int, count: int) -> list[dict[str, Any]]:
    """Rows out of order, some late, with the floats that sums and comparisons find hard."""
    draw = random.Random(seed)
    fares = [0.1, 12.5, -0.0, 1e16, -1e16, 1e30, 5e-324, 21.75, "NaN", "Infinity"]
    rows = []
    for i in range(count):
        row: dict[str, Any] = {
            "rider": draw.choice(RIDERS),
            "stop": draw.choice([0, -7, 1 << 62]),
            "fare": draw.choice(fares[:8] if draw.random() < 0.97 else fares),
            "paid": draw.random() < 0.6,
            "at": T0 + i * 40 - draw.choice([0, 0, 0, 30, 500, 9_000]),
        }
        if draw.random() < 0.5:
            row |= {"tip": draw.uniform(-1, 9), "seats": draw.randint(-3, 9)}
        if draw.random() < 0.4:
            row |= {"note": draw.choice(["", "late", "né", "x" * 40]), "booked": row["at"] - 3600}
        if draw.random() < 0.6:
            row |= belongings(draw)
        rows.append(row)
    return rows


def belongings(draw: random.Random) -> dict[str, Any]:
    """Values of every type that is no plain one, any of them null at times."""
    values = {
        "day": draw.choice(["0001-01-01", "2026-03-15", "2024-02-29", "9999-12-31"]),
        "toll": draw.choice(["0.10", "-3.05", "123456789012345678901234567890.12", 7, 0.5]),
        "token": draw.choice(["", "AP8=", "dGh5bWU="]),
        "legs": draw.choice([[], [1], [3, None, -(1 << 62)]]),
        "marks": draw.choice([{}, {"a": 0.1, "": -0.0}, {"né": "NaN", "b": None}]),
        "taste": draw.choice([[0.1, 0.2, 0.3], [-0.0, 1e16, 5e-324], ["Infinity", 0.0, 1.0]]),
        "extra": draw.choice([{"b": [1, {"a": None}], "a": "é"}, [], {"n": 1.0, "m": 12345678901234567890}]),
    }
    return {name: value for name, value in values.items() if draw.random() < 0.8}


def first_life(place: Path) -> None:
    """Ends in order: all of it is in the store."""
    (place / "files").mkdir(parents=True)
    os.chdir(place)
    lines = ["rider,amount,at"]
    lines += [f"{RIDERS[i % 3]},{'' if i % 5 == 0 else i * 1.1},{T0 + i * 1000}" for i in range(12)]
    Path("files/refunds-1.csv").write_text("\n".join([*lines, "bo,not a number,1", ""]), encoding="utf-8")
    with thyme.local("data") as client:
        client.commit(FIRST_COMMIT)
        client.log(Trip, trips(1, 3))
        client.log(Trip, trips(2, 150))
        client.log(Trip, [row | {"rider": "hot"} for row in trips(6, 400)])  # more than one chunk
        request(client, "POST", "/api/v1/log", REPEATED, {"Idempotency-Key": "once"})
        client.log(Trip, [{"rider": "bo", "stop": "not an int"}, trips(3, 1)[0]])


def second_life(place: Path) -> None:
    """Ends with SIGKILL: all of it is in the log, and nothing of it in the store."""
    os.chdir(place)
    client = thyme.local("data")
    client.commit(SECOND_COMMIT)
    client.log(Trip, trips(4, 60))
    client.log(Trip, trips(5, 1))
    os.kill(os.getpid(), signal.SIGKILL)


def questions(client: Any) -> list[dict[str, Any]]:
    """Reads at several times and positions, of everything that is derived."""
    last = int(client.status()["position"].removeprefix("e"))
    asked: list[dict[str, Any]] = []
    moments = [T0 - 10_000, T0, T0 + 3_000, T0 + 5_990, T0 + 86_400, T0 + 40 * 86_400]
    for moment in moments:
        for position in (None, f"e{last - 1}", f"e{last // 2}"):
            place = {"timestamp": moment} | ({"position": position} if position else {})
            for rider in [*RIDERS, "hot", "nobody"]:
                asked.append({"featureset": "RiderFeatures", "entity_id": rider, **place})
    rows = [{"entity_id": rider, "timestamp": moment} for rider in [*RIDERS, "hot"] for moment in moments]
    asked.append({"featureset": "RiderFeatures", "queries": rows})
    for moment in moments[2:4]:
        for dataset, keys in (
            (RiderStats, ["rider"]),
            (Belongings, ["rider"]),
            (StopStats, ["rider", "stop"]),
            (Trip, ["rider", "stop"]),
        ):
            name = dataset.__name__
            for key in (
                client.scan(StopStats if len(keys) == 2 else RiderStats, moment).select(keys).to_dicts()
            ):
                entity = (
                    ",".join(f"{field}={key[field]}" for field in keys) if len(keys) > 1 else key["rider"]
                )
                asked.append({"entity_type": name, "entity_id": entity, "timestamp": str(moment)})
    return asked


def main(name: str) -> None:
    """Makes the folder `name`."""
    folder = HERE / name
    if folder.exists():
        sys.exit(f"{folder} exists; a directory that is checked in is never made again")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "place")
        first_life(place)
        life = subprocess.run([sys.executable, __file__, "--second-life", str(place)], check=False)
        if life.returncode != -signal.SIGKILL:
            sys.exit("the second life was to be killed")
        folder.mkdir()
        with tarfile.open(folder / "data.tar.xz", "w:xz") as archive:
            archive.add(place, ".")
        os.chdir(place)
        with thyme.local("data") as client:
            answers = [{"asked": asked, "answer": ask(client, asked)} for asked in questions(client)]
            once = request(client, "POST", "/api/v1/log", REPEATED, {"Idempotency-Key": "once"})
            expected = {
                "facts": facts(client),
                "answers": answers,
                "repeat": {"body": REPEATED, "answer": once},
            }
        os.chdir(HERE)
    text = json.dumps(expected, ensure_ascii=False).replace('{"asked"', '\n{"asked"')
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--second-life":
        second_life(Path(sys.argv[2]))
    main(sys.argv[1])
