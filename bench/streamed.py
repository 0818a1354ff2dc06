"""A training set of very many labels, from file to file in one process: its pace and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from report import Figure, say
from server import ROOT, BenchError

if TYPE_CHECKING:
    from figures import Bench
    from orders import Orders

FEW, MANY, A_PART = 1_000_000, 100_000_000, 5_000_000
QUICK_FEW, QUICK_MANY = 20_000, 100_000
GOAL_MIB = 1536


def streamed(bench: Bench) -> Iterator[Figure]:
    """What 100 million labels take beside one million of them, over the largest workload."""
    few, many = (QUICK_FEW, QUICK_MANY) if bench.size.name == "quick" else (FEW, MANY)
    name = bench.size.ingests[-1][0]
    events, work = bench.file(name), bench.workload(name)
    files = [_labels(work, bench.scratch / f"labels-{count}.parquet", count) for count in (few, many)]
    command = [
        sys.executable,
        __file__,
        str(events),
        *map(str, files),
        str(bench.scratch / "streamed.parquet"),
    ]
    paths = os.pathsep.join([str(ROOT / "python"), str(ROOT / "bench")])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        raise BenchError("the process with thyme.local() failed")
    first, last = (json.loads(line) for line in done.stdout.splitlines())
    for asked, found in ((few, first), (many, last)):
        if found["rows"] != asked:
            raise BenchError(f"{asked} labels gave {found['rows']} rows")
    yield Figure(
        "streamed_labels",
        round(many / last["seconds"]),
        "labels/s",
        more_is_better=True,
        detail={
            "labels": many,
            "events": work.rows,
            "seconds": last["seconds"],
            f"seconds_of_{few}": first["seconds"],
        },
    )
    yield Figure(
        "streamed_peak",
        last["peak_mib"],
        "MiB",
        goal=GOAL_MIB,
        detail={f"peak_of_{few}_mib": first["peak_mib"], "holding_the_state_mib": first["before_mib"]},
    )


def _labels(work: Orders, path: Path, count: int) -> Path:
    writer, left, seed = None, count, 7
    say(f"writing {count:,} labels")
    while left > 0:
        part = work.labels(min(left, A_PART), seed)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
        left, seed = left - part.num_rows, seed + 1
    if writer:
        writer.close()
    return path


def _peak_mib(*, now: bool = False) -> float:
    name = "VmRSS:" if now else "VmHWM:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith(name))


def _child(events: str, few: str, many: str, out: str) -> None:
    """Prints, for each file of labels, what its training set took: a line of JSON."""
    from orders import definitions

    import thyme

    features = definitions(Path(events))
    with thyme.local(clock="event") as client:
        client.commit(features)
        while (status := client.status())["position"] != status["applied"]:
            time.sleep(0.05)
        for labels in (few, many):
            before, start = _peak_mib(now=True), time.perf_counter()
            client.query_offline(
                features[-1], labels, timestamp_column="label_at", output=out, progress=False
            )
            seconds, rows = time.perf_counter() - start, pq.ParquetFile(out).metadata.num_rows
            found = {
                "seconds": round(seconds, 3),
                "rows": rows,
                "before_mib": before,
                "peak_mib": _peak_mib(),
            }
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _child(*sys.argv[1:5])
