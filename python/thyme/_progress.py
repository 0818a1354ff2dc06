"""A bar on stderr, for what takes longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 1.0


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Shows a bar once a second has passed, if stderr is a terminal, or in a notebook.

    Args:
        label: What is going on.
        total: How many rows there are, if it is known.
        unit: What is counted.

    Yields:
        A function to call with the number of rows that were done.
    """
    if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        """How fast it goes, and how long it will take if the end is known."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            if not speed:
                return Text("")
            left = task.time_remaining
            return Text(f"{speed:,.0f}/s" + ("" if left is None else f", {_span(left)} left"))

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:,}} {unit}"),
        Pace(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=total)
    lock = threading.Lock()
    ended = False

    def show() -> None:
        with lock:
            if not ended:
                bar.start()

    timer = threading.Timer(_PATIENCE_S, show)
    timer.daemon = True
    timer.start()
    try:
        yield lambda rows: bar.advance(task, rows)
    finally:
        with lock:
            ended = True
        timer.cancel()
        bar.stop()


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
