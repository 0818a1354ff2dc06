"""Thyme beside what people write by hand for the same training set, with the ratios in one run.

    python bench/compare.py [--quick] [--rounds N] [--only thyme --only numpy ...]

Every one reads the same two Parquet files (events and labels), computes the same six features, and writes a
Parquet file, in a process of its own. The results are compared. See `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from orders import generate
from report import machine, say

PEERS = ("thyme", "numpy", "polars", "duckdb")
# (events, users, labels)
FULL, QUICK = (10_000_000, 200_000, 1_000_000), (300_000, 10_000, 50_000)
SEED = 7
# A sum of floats in any order is this close to the exact one.
CLOSE = 1e-9


class Run(NamedTuple):
    """One run of one of them."""

    seconds: float
    peak_mib: float
    said: dict[str, Any]


def run(peer: str, events: Path, labels: Path, out: Path) -> Run:
    """Runs one in a process of its own."""
    here = Path(__file__).resolve().parent
    script = here / "peers" / f"by_{peer}.py"
    paths = [str(here.parent / "python"), str(here), os.environ.get("PYTHONPATH", "")]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(script), str(events), str(labels), str(out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"compare: {script.name} failed")
    found = json.loads(said) if said.strip() else {}
    # What Thyme did beyond the one file is told apart.
    return Run(seconds - found.get("held_s", 0.0), usage.ru_maxrss / 1024, found)


def check(peer: str, out: Path, wanted: pa.Table) -> None:
    """Refuses a result that is not Thyme's: counts and the greatest as they are, sums within rounding."""
    found = pq.read_table(out)
    for name in wanted.column_names:
        ours, theirs = wanted[name], found[name]
        if pa.types.is_floating(ours.type) and name != "max_7d":
            a, b = (np.nan_to_num(each.to_numpy(), nan=-1.0) for each in (ours, theirs.cast(ours.type)))
            same = bool(np.allclose(a, b, rtol=CLOSE, atol=1e-6))
        else:
            same = ours.cast(ours.type).to_pylist() == theirs.cast(ours.type).to_pylist()
        if not same:
            raise SystemExit(f"compare: {peer} has another {name}")


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often all of them run, in turn")
    parser.add_argument("--only", choices=PEERS, action="append", help="only this and Thyme; may be repeated")
    parser.add_argument("--scratch", type=Path, help="where to write; the default is a temporary directory")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if peer == "thyme" or peer in (options.only or PEERS)]
    if "duckdb" in peers and importlib.util.find_spec("duckdb") is None:
        say("duckdb is not installed (pip install duckdb): left out")
        peers.remove("duckdb")
    rows, users, asked = QUICK if options.quick else FULL
    scratch = Path(tempfile.mkdtemp(prefix="thyme-peers-", dir=options.scratch))
    try:
        say(f"{rows:,} events of {users:,} users, {asked:,} labels")
        orders = generate(rows, users, int(time.time()) * 1_000_000)
        events, labels = orders.write(scratch / "events.parquet"), scratch / "labels.parquet"
        pq.write_table(orders.labels(asked, SEED), labels)
        del orders
        runs: dict[str, list[Run]] = {peer: [] for peer in peers}
        wanted: pa.Table | None = None
        for number in range(options.rounds):
            for peer in peers:
                out = scratch / f"{peer}.parquet"
                done = run(peer, events, labels, out)
                runs[peer].append(done)
                if number == 0:
                    wanted = pq.read_table(out) if wanted is None else wanted
                    check(peer, out, wanted)
                say(f"round {number + 1} {peer:<7} {done.seconds:8.2f} s {done.peak_mib:8,.0f} MiB")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.stdout.write(json.dumps({"machine": machine(), "peers": summary(runs)}, indent=1) + "\n")


def summary(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """The median of each, and of its ratios to Thyme's run of the same round."""
    ours = runs["thyme"]
    found: dict[str, Any] = {}
    for peer, done in runs.items():
        found[peer] = {
            "seconds": round(statistics.median(each.seconds for each in done), 3),
            "peak_mib": round(max(each.peak_mib for each in done)),
            "times_as_long": round(
                statistics.median(a.seconds / b.seconds for a, b in zip(done, ours, strict=True)), 2
            ),
            "times_the_memory": round(
                statistics.median(a.peak_mib / b.peak_mib for a, b in zip(done, ours, strict=True)), 2
            ),
        }
    found["thyme"]["from_the_state_seconds"] = round(
        statistics.median(each.said["held_s"] for each in ours), 3
    )
    for peer, each in found.items():
        say(
            f"{peer:<7} {each['seconds']:8.2f} s {each['peak_mib']:8,} MiB"
            f"   {each['times_as_long']:6.2f} times Thyme's time, {each['times_the_memory']:.2f} its memory"
        )
    say(f"thyme, from the state it holds, to Arrow: {found['thyme']['from_the_state_seconds']:.2f} s")
    return found


if __name__ == "__main__":
    main()
