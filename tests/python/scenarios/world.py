"""A server, the two processes that push to it and read from it all the time, and what they were answered."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from crash.lives import ARROW, Lives
from scenarios.definitions import Spec
from scenarios.oracle import Judge, Oracle, Verdict, record_of
from thyme.client import ThymeClient

SCRIPT = Path(__file__).with_name("load.py")
ANSWER_SECONDS = 120
Target = Mapping[str, Any]

WHOLE: Target = {"featureset": "Drivers"}


def by(*features: int | str, **more: Any) -> Target:
    """A read of some features, by id or name."""
    return {"featureset": "Drivers", "features": features, **more}


class Load:
    """One of the processes."""

    def __init__(self, what: str, url: str, out: Path, seed: int) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), what, url, str(out), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, **command: Any) -> None:
        """Says what to do from now on; the answer is to be waited for."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        """Waits until the last command is obeyed."""
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "done\n":
            last = self.out.read_text().splitlines()[-1:]
            raise AssertionError(f"{self.out.stem} has ended: {last}")

    def end(self) -> list[dict[str, Any]]:
        """Ends it; gives what it wrote down."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=ANSWER_SECONDS) == 0
        return [json.loads(line) for line in self.out.read_text().splitlines()]


class World:
    """A scenario under way."""

    def __init__(self, folder: Path, lives: Lives) -> None:
        self.folder, self.lives = folder, lives
        self.oracle = Oracle()
        self.client = ThymeClient(lives.url)
        self.loads: dict[str, Load] = {}

    def commit(self, spec: Spec, **more: Any) -> dict[str, Any]:
        """Commits; what is answered by it is compared with the oracle from then on."""
        return self.noted(self.client.commit(spec.written(self.folder / "definitions"), **more), spec)

    def noted(self, answer: dict[str, Any], spec: Spec) -> dict[str, Any]:
        """An answer of a commit of `spec`, however it was asked for."""
        self.oracle.commits[answer["commit"]] = spec.expected()
        return answer

    def begin(self, *targets: Target, pushes: Path | None = None) -> None:
        """Begins to push and to read."""
        for seed, what in enumerate(("push", "read")):
            self.loads[what] = Load(what, self.lives.url, self.folder / f"{what}.jsonl", seed)
        if pushes is not None:
            self.loads["push"].tell(pushes=str(pushes))
            self.loads["push"].wait()
        self.reads(*targets)
        self.linger()

    def reads(self, *targets: Target) -> None:
        """Reads these from now on, and no others: whatever was asked before is answered."""
        self.loads["read"].tell(targets=targets)
        self.loads["read"].wait()

    def linger(self, rounds: int = 40) -> None:
        """Lets both go on for so many requests each."""
        for load in self.loads.values():
            load.tell(rounds=rounds)
        for load in self.loads.values():
            load.wait()

    def _is_patient(self, patient: bool) -> None:
        for load in self.loads.values():
            load.tell(patient=patient)
            load.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is killed, and started again after what is done meanwhile."""
        self._is_patient(True)
        self.lives.kill()
        yield
        self.lives.start()
        self.lives.wait_ready()
        self.client = ThymeClient(self.lives.url)
        self._is_patient(False)

    def bulk(self, drivers: int, rows: int, pushes: int) -> None:
        """Pushes rides of long ago, of drivers that nobody else pushes: so many a push."""
        names = [f"b{number % drivers}" for number in range(rows)]
        fares = [(number * 37 % 1000) / 7 for number in range(rows)]
        tips = [number % 11 - 5 for number in range(rows)]
        for push in range(pushes):
            times = [1_700_000_000_000_000 + push * rows + number for number in range(rows)]
            table = pa.table(
                {
                    "driver": names,
                    "fare": fares,
                    "tip": pa.array(tips, pa.int64()),
                    "at": pa.array(times, pa.timestamp("us", "UTC")),
                }
            )
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            answer = httpx.post(
                f"{self.lives.url}/api/v1/log?dataset=Ride",
                content=sink.getvalue(),
                headers={"content-type": ARROW},
                timeout=60,
                trust_env=False,
            )
            assert answer.status_code == 200, answer.text
            columns = zip(names, fares, tips, times, strict=True)
            kept = ({"driver": d, "fare": f, "tip": t, "at": at} for d, f, t, at in columns)
            self.oracle.add(kept, record_of(answer.json()["position"]))

    def end(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Ends the load; gives the accepted pushes, and the reads. Nothing failed."""
        pushes, reads = (self.loads[what].end() for what in ("push", "read"))
        failed = [each for each in (*pushes, *reads) if "failed" in each]
        assert not failed, failed[:3]
        return pushes, reads

    def judged(self) -> Verdict:
        """Ends the load and compares every answer with the oracle."""
        pushes, reads = self.end()
        for push in pushes:
            self.oracle.add(push["rows"], record_of(push["position"]))
        return self.judge(reads)

    def judge(self, reads: Sequence[Mapping[str, Any]]) -> Verdict:
        """Compares answers with the oracle, which has all events."""
        judge = Judge(self.oracle)
        for read in reads:
            judge.take(read)
        assert not judge.verdict.faults, judge.verdict.faults
        return judge.verdict

    def close(self) -> None:
        """Ends what still runs."""
        for load in self.loads.values():
            if load.process.poll() is None:
                load.process.kill()
                load.process.wait()
        self.lives.end()
