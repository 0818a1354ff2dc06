"""The windows of aggregates. A text such as `"7d"` is a sliding one; every other kind is one class here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from thyme import _native
from thyme._literal import described
from thyme._place import refuse


class Window:
    """Which rows an aggregate counts as of a time `T`.

    No rows but those with `t <= T` ever count, and whether a row is in a window never depends on the
    aggregate: not on its `where`, nor on nulls in its column.
    """

    kind: ClassVar[str] = ""

    def __init__(self, **arguments: Any) -> None:
        """Says what the window is; only the kinds of windows do that."""
        called = type(self).__name__
        if not self.kind:
            refuse(f'{called} is no window by itself; use "7d", or one such as Tumbling or Session')
        given = {name: value for name, value in arguments.items() if value is not None}
        for name, value in given.items():
            given[name] = _argument(f"{called}({name}=)", name, value)
        try:
            self._document, self._text, _ = _native.parse_window({"kind": self.kind, **given})
        except ValueError as error:
            refuse(f"{called}(): {error}", kind="value")

    def document(self) -> Any:
        """The window as a definition document has it."""
        return self._document

    def __repr__(self) -> str:
        """As it is written."""
        return self._text

    def __eq__(self, other: object) -> bool:
        """Whether both are the same window."""
        return isinstance(other, Window) and self._text == other._text

    def __hash__(self) -> int:
        """Of what it is."""
        return hash(self._text)


class Tumbling(Window):
    """The calendar's window that `T` is in, so far; or one of those before it, complete.

    Days, weeks (from Monday), months, quarters and years are those of the calendar of `tz`, so a day has 23
    or 25 hours where its clocks are put forward or back. Lengths of less than a day begin where the clocks
    show a multiple of them since midnight.

    The window is `[start, end)`, up to and with `T`: an event at midnight is of the new day.

    Args:
        every: How long the windows are: an integer and one of `s m h d w mo y`, or one of the words
            `hour day week month quarter year`. Less than a day must divide it.
        tz: The name of a time zone such as `"Europe/London"`; `"UTC"` if none is given.
        lookback: 0 is the window that `T` is in, so far; 1 the complete one before it, and so on.
        offset: The window as of so much earlier: `Tumbling("1d", offset="7d")` is the same day of last week,
            as far as the time of day of `T`.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: There is no such window or zone.

    Example:
        today = Sum(of="amount", window=Tumbling("1d", tz="Europe/London"))
        last_month = Sum(of="amount", window=Tumbling("1mo", tz="Europe/London", lookback=1))
    """

    kind = "tumbling"

    def __init__(
        self, every: str, *, tz: str | None = None, lookback: int = 0, offset: str | None = None
    ) -> None:
        """See the class."""
        super().__init__(every=every, tz=tz, lookback=lookback, offset=offset)


class Hopping(Window):
    """A span that moves on in hops: the latest that is complete at `T`.

    It ends where the last hop ended, at or before `T`, and is a whole number of hops long: `[start, end)`. So
    its value changes once a hop only. Hops begin as the windows of `Tumbling(hop, tz=tz)` do.

    Args:
        span: How long the window is: a whole number of hops.
        hop: How far it moves, as `Tumbling` takes it.
        tz: The name of a time zone such as `"Europe/London"`; `"UTC"` if none is given.
        lookback: How many hops earlier it is.
        offset: The window as of so much earlier.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: There is no such window or zone.

    Example:
        last_full_day_hourly = Count(window=Hopping("1d", "1h"))
    """

    kind = "hopping"

    def __init__(
        self, span: str, hop: str, *, tz: str | None = None, lookback: int = 0, offset: str | None = None
    ) -> None:
        """See the class."""
        super().__init__(span=span, hop=hop, tz=tz, lookback=lookback, offset=offset)


class Session(Window):
    """The session that is open at `T`: what happened up to `T`, back to the first break of more than `gap`.

    Two events that are exactly `gap` apart are of one session. Once more than `gap` has passed since the last
    event the session is over and the window is empty. All events of the pipeline make the session; `where`
    then chooses among them, so that aggregates with different conditions speak of the same session.

    Args:
        gap: The longest break inside a session: an integer and one of `s m h d w`.
        offset: The session that was open so much earlier.

    Raises:
        DefinitionTypeError: An argument is no text.
        DefinitionValueError: An argument is no duration.

    Example:
        views = Count(window=Session(gap="30m"))
        bought = Sum(of="price", where=col("kind") == "buy", window=Session(gap="30m"))
    """

    kind = "session"

    def __init__(self, gap: str, *, offset: str | None = None) -> None:
        """See the class."""
        super().__init__(gap=gap, offset=offset)


class Rows(Window):
    """The last rows up to `T`, however long ago they were, in the order of (event time, position).

    All rows of the pipeline are counted; `where` then chooses among them, and nulls of the column are skipped
    among them. So `Count(where=col("declined"), window=Rows(10))` is how many of the last ten were declined.
    For the last ten that were, filter in the pipeline.

    Args:
        rows: How many: 1 to 100,000.
        offset: The last rows as of so much earlier.

    Raises:
        DefinitionTypeError: `rows` is no whole number, or the offset no text.
        DefinitionValueError: There is no such window.

    Example:
        mean_of_last_ten = Avg(of="amount", window=Rows(10))
    """

    kind = "rows"

    def __init__(self, rows: int, *, offset: str | None = None) -> None:
        """See the class."""
        super().__init__(rows=rows, offset=offset)


class Sliding(Window):
    """The span before `T`: `(T - span, T]`, which is what a text such as `"7d"` says; here with an offset.

    Args:
        span: How long it is: an integer and one of `s m h d w`.
        offset: The window as of so much earlier: `(T - offset - span, T - offset]`.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: An argument is no duration.

    Example:
        the_week_before_last = Count(window=Sliding("7d", offset="7d"))
    """

    kind = "sliding"

    def __init__(self, span: str, *, offset: str | None = None) -> None:
        """See the class."""
        super().__init__(span=span, offset=offset)


class Forever(Window):
    """Since the beginning, which is what no window says; here with an offset.

    Args:
        offset: How much before `T` it ends.

    Raises:
        DefinitionTypeError: The offset is no text.
        DefinitionValueError: The offset is no duration.

    Example:
        all_until_a_week_ago = Count(window=Forever(offset="7d"))
    """

    kind = "forever"

    def __init__(self, *, offset: str | None = None) -> None:
        """See the class."""
        super().__init__(offset=offset)


def series(window: str | Window, step: str, count: int) -> list[Window]:
    """The same window again and again, each a step earlier: the newest first.

    A step that is as long as a tumbling window, or as the hop of a hopping one, is a step of its calendar:
    the next has a `lookback` of one more. Any other step is a length of time: the next has an `offset` of so
    much more. An output has one window, so each needs an output of its own.

    Args:
        window: The first, and the newest.
        step: How much earlier each next one is.
        count: How many windows there are, 1 to 1,000.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: The step is no duration, or `count` is out of bounds.

    Example:
        days = series(Tumbling("1d", tz="Europe/London", lookback=1), "1d", 7)
        outputs = {f"rides_{n}": Count(window=day) for n, day in enumerate(days, start=1)}
    """
    first = Sliding(window) if isinstance(window, str) else window
    if not isinstance(first, Window):
        refuse(f'series() takes a window such as "1d" or Tumbling("1d"), got {described(window)}')
    if not isinstance(step, str):
        refuse(f'series(step=) takes a text such as "1d", got {described(step)}')
    if isinstance(count, bool) or not isinstance(count, int):
        refuse(f"series(count=) takes a whole number, got {described(count)}")
    if not 1 <= count <= _SERIES_MAX:
        refuse(f"series(count=) takes 1 to {_SERIES_MAX}, got {count}", kind="value")
    arguments = _arguments(first)
    if _is_of_the_calendar(arguments, step):
        back = arguments.pop("lookback", 0)
        return [type(first)(**arguments, lookback=back + number) for number in range(count)]
    offset = _native.parse_duration(arguments.pop("offset", "1s")) if "offset" in arguments else 0
    try:
        length = _native.parse_duration(step)
    except ValueError as error:
        refuse(f"series(step=): {error}", kind="value")
    offsets = [offset + number * length for number in range(count)]
    return [type(first)(**arguments, offset=f"{us // 1_000_000}s" if us else None) for us in offsets]


def _arguments(window: Window) -> dict[str, Any]:
    document = window.document()
    if isinstance(document, str):
        return {"span": document}
    return {name: value for name, value in document.items() if name != "kind"}


def _is_of_the_calendar(arguments: Mapping[str, Any], step: str) -> bool:
    length = arguments.get("every") or arguments.get("hop")
    if length is None:
        return False
    try:
        written, _, _ = _native.parse_window({"kind": "tumbling", "every": step})
    except ValueError:
        return False
    return bool(written["every"] == length)


def window_document(what: str, window: Any) -> Any:
    """The window of an aggregate as a definition document has it; None is none."""
    if window is None or window == "":
        return None
    if isinstance(window, Window):
        return window.document()
    if isinstance(window, list | tuple):
        refuse(f"{what} takes one window; give each of a series an output of its own")
    if not isinstance(window, str):
        refuse(
            f'{what} takes a duration as a text, such as "90s", "24h" or "7d", or a window such as'
            f' Tumbling("1d"), got {described(window)}'
        )
    try:
        _native.parse_duration(window)
    except ValueError as error:
        refuse(f"{what}: {error}", kind="value")
    return window


def _argument(what: str, name: str, value: Any) -> Any:
    if name in _COUNTED:
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(f"{what} takes a whole number, got {described(value)}")
        if not 0 <= value < 2**32:
            refuse(f"{what} takes a whole number from 0 on, got {value}", kind="value")
        return value
    if name == "tz" and isinstance(key := getattr(value, "key", None), str):
        return key  # a zoneinfo.ZoneInfo
    if not isinstance(value, str):
        example = '"Europe/London"' if name == "tz" else '"1h", "7d" or "1mo"'
        refuse(f"{what} takes a text such as {example}, got {described(value)}")
    return value


_COUNTED = frozenset({"lookback", "rows"})
_SERIES_MAX = 1_000
