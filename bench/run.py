"""Measures Thyme on this machine: progress to stderr, one JSON document to stdout.

    python bench/run.py [--quick] [--only FIGURES]

FIGURES is one of ingest, training, wide, streamed, online, served, extractors, freshness, footprint, joins,
budget, backfill, aggregates.

Servers are real processes on fresh data directories, reached over HTTP. See `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import figures
from report import machine, say
from server import BenchError, build


def main() -> int:
    """Runs what the command line asks for; 1 if something could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: whether it works, not how fast it is"
    )
    parser.add_argument(
        "--only", choices=sorted(figures.ALL), action="append", help="only this; may be repeated"
    )
    parser.add_argument("--scratch", type=Path, help="where to write; the default is a temporary directory")
    options = parser.parse_args()
    about = machine()
    scratch = Path(tempfile.mkdtemp(prefix="thyme-bench-", dir=options.scratch))
    found: list[figures.Figure] = []
    try:
        say("building the Rust half")
        size = figures.QUICK if options.quick else figures.FULL
        bench = figures.Bench(size, scratch, build(), int(time.time()) * 1_000_000, {})
        for name in options.only or figures.ALL:
            say(f"-- {name}")
            for figure in figures.ALL[name](bench):
                found.append(figure)
                say(figure.line())
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        document = {"machine": about, "size": size.name, "figures": [figure.document() for figure in found]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
