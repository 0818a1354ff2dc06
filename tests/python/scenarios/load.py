"""A process that pushes, or reads, for as long as a scenario lasts, and writes down whatever it was answered.

Run as `load.py push|read URL OUT SEED`. Each line of its standard input is a command in JSON, obeyed before the next
request and then answered by a line: `targets` is what to read, `pushes` a file of what to push, `patient` says that the
server may be away, `rounds` asks for an answer only after so many more requests. It begins with the first of them, and ends with its input, or once a request fails.
"""

from __future__ import annotations

import json
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx

DRIVERS = [f"d{number}" for number in range(6)]
FARES = [0.1, 0.2, 1e16, -1e16, 3.3, 7.25, -0.3, 1e-9]
STEP_US = 50_000
Row = dict[str, Any]
# Pauses, so that the server has most of the machine.
PUSH_PAUSE_S = 0.012
READ_PAUSE_S = 0.003


class Commands:
    """What standard input says."""

    def __init__(self) -> None:
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.targets: list[dict[str, Any]] = []
        self.pushes: Iterator[list[Row]] | None = None
        self.begun, self.patient, self.ended = False, False, False
        self.rounds = 0

    def _listen(self) -> None:
        for line in sys.stdin:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def obey(self) -> None:
        """Obeys what has been said since, unless an answer is still due."""
        while not self.rounds and not self.ended:
            try:
                command = self.lines.get_nowait()
            except queue.Empty:
                return
            if command is None:
                self.ended = True
                return
            self.begun = True
            self.targets = command.get("targets", self.targets)
            self.patient = command.get("patient", self.patient)
            if "pushes" in command:
                with open(command["pushes"]) as file:
                    self.pushes = iter([json.loads(line) for line in file])
            self.rounds = command.get("rounds", 0)
            if not self.rounds:
                self._answer()

    def counted(self) -> None:
        """One more request was answered."""
        if self.rounds:
            self.rounds -= 1
            if not self.rounds:
                self._answer()

    def _answer(self) -> None:
        sys.stdout.write("done\n")
        sys.stdout.flush()


def some_rows(choose: random.Random) -> list[Row]:
    """Rides of about now: many at one time, some of the future, in no order."""
    now = time.time_ns() // 1000
    rows = []
    for _ in range(choose.randrange(1, 5)):
        at = now + choose.choice([0, 0, -1, -choose.randrange(8_000_000), choose.randrange(700_000)])
        at -= choose.choice([0, at % STEP_US])
        tip = choose.choice([None, choose.randrange(-5, 6)])
        rows.append({"driver": choose.choice(DRIVERS), "fare": choose.choice(FARES), "tip": tip, "at": at})
    return rows


def text_of(at: int) -> str:
    """A time as RFC 3339."""
    seconds, micros = divmod(at, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06}Z"


class Load:
    """One of the two."""

    def __init__(self, url: str, out: str, seed: int) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self.out = open(out, "w")  # noqa: SIM115
        self.choose = random.Random(seed)
        self.seed, self.number = seed, 0
        self.commands = Commands()

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """The answer; None when there is none, which is written down unless the server may be away."""
        try:
            answer = self.http.request(method, path, **more)
        except httpx.TransportError as error:
            if not self.commands.patient:
                self.fail(failed=repr(error))
            return None
        if answer.status_code != 200:
            if not (self.commands.patient and answer.status_code == 503):
                self.fail(failed=answer.text, status=answer.status_code, path=path, params=more.get("params"))
            return None
        return answer.json()

    def fail(self, **what: Any) -> None:
        self.note(**what)
        self.commands.ended = True

    def note(self, **what: Any) -> None:
        self.out.write(json.dumps(what) + "\n")

    def push(self) -> None:
        """Pushes the next rows until they are accepted; by their key they count once."""
        given = None if self.commands.pushes is None else next(self.commands.pushes, None)
        if self.commands.pushes is not None and given is None:
            self.commands.counted()
            return
        rows = given or some_rows(self.choose)
        self.number += 1
        events = [{**row, "at": text_of(row["at"])} for row in rows]
        headers = {"Idempotency-Key": f"{self.seed}-{self.number}"}
        answer = None
        while answer is None and not self.commands.ended:
            body = {"dataset": "Ride", "events": events}
            answer = self.ask("POST", "/api/v1/log", json=body, headers=headers)
            if answer is None:
                self.commands.obey()
                time.sleep(PUSH_PAUSE_S)
        if answer is not None:
            self.note(rows=rows, position=answer["position"])
            self.commands.counted()

    def read(self) -> None:
        if not self.commands.targets:
            return
        target = self.choose.choice(self.commands.targets)
        entities = target.get("entities") or [*DRIVERS, "nobody"]
        params = {"featureset": target["featureset"]}
        if target.get("batch"):
            asked = self.choose.sample(entities, 3)
            body = {**params, "entity_ids": asked}
            if target.get("features"):
                body["features"] = target["features"]
            answer = self.ask("POST", "/features/batch", json=body)
        else:
            asked = self.choose.choice(entities)
            params["entity_id"] = asked
            if target.get("features"):
                params["features"] = ",".join(map(str, target["features"]))
            answer = self.ask("GET", "/features", params=params)
        if answer is not None:
            self.note(target=target, asked=asked, answer=answer)
            self.commands.counted()

    def run(self, what: str) -> None:
        while not self.commands.ended:
            self.commands.obey()
            if self.commands.begun:
                self.push() if what == "push" else self.read()
            time.sleep(PUSH_PAUSE_S if what == "push" else READ_PAUSE_S)
        self.out.close()


if __name__ == "__main__":
    what, url, out, seed = sys.argv[1:]
    Load(url, out, int(seed)).run(what)
