"""Aggregates: what each of them costs by itself, on a timeline of one entity, without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import Figure
from server import ROOT, BenchError

if TYPE_CHECKING:
    from figures import Bench

ROWS = {"full": 100_000, "quick": 20_000}
UNITS = {
    "ingest_ns": "ns/event",
    "read_1h_ns": "ns",
    "read_1d_ns": "ns",
    "training_rows_per_s": "rows/s",
}


def aggregates(bench: Bench) -> Iterator[Figure]:
    """Of each aggregate: an event's way into the timeline and its summaries, reads, rows of a training set.

    The timeline has a row a second. Reads are of windows of an hour and of a day; labels are five seconds
    apart, with a window of an hour. Of each the best of three rounds.
    """
    for each in _measured(ROWS[bench.size.name]):
        name = each["aggregate"].replace(" ", "_")
        for key, unit in UNITS.items():
            floor = each["rows_alone_ns"] if key == "ingest_ns" else None
            yield Figure(
                f"{name}_{key}",
                each[key],
                unit,
                more_is_better=unit == "rows/s",
                floor=floor,
                floor_is=None if floor is None else "the rows without the aggregate",
            )


def _measured(rows: int) -> Iterator[dict[str, Any]]:
    # Together with the server, so that what both stand on is built once.
    command = ["cargo", "build", "--release", "--quiet", "-p", "thyme-timeline", "-p", "thyme-server"]
    done = subprocess.run([*command, "--example", "aggregates"], cwd=ROOT, stdout=sys.stderr)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = target / "release" / "examples" / "aggregates"
    with subprocess.Popen([binary, str(rows)], stdout=subprocess.PIPE, text=True) as process:
        yield from map(json.loads, process.stdout or ())
    if process.returncode:
        raise BenchError(f"{binary} failed")
