"""Which events a window has, asked of each event and of the clocks of the zone, one time after the other."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
WORDS = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "quarter": "3mo", "year": "1y"}
MINUTE = 60_000_000


def span(text: str | None) -> float:
    """A duration in microseconds; none is forever."""
    return int(text[:-1]) * UNITS[text[-1]] * 1_000_000 if text else math.inf


def shown(zone: ZoneInfo, us: int) -> datetime:
    """What the clocks show."""
    return (EPOCH + timedelta(microseconds=us)).astimezone(zone).replace(tzinfo=None)


def number(every: str, zone: ZoneInfo) -> Callable[[int], int] | None:
    """The number of the days or months that a time is in; none for a part of a day."""
    every = WORDS.get(every, every)
    count, unit = int(every.rstrip("smhdwoy")), every.lstrip("0123456789")
    months = {"mo": count, "y": 12 * count}.get(unit)
    if months:
        return lambda us: (shown(zone, us).year * 12 + shown(zone, us).month - 1) // months
    seconds = count * UNITS[unit]
    if seconds % 86_400:
        return None
    return lambda us: (shown(zone, us).date() - date(1970, 1, 5)).days // (seconds // 86_400)


def begins(length: int, zone: ZoneInfo, us: int, count: int) -> list[int]:
    """Where the part of a day begins that `us` is in, and the `count` before it, the latest first.

    That is wherever the clocks show a multiple of `length` microseconds, or are put forward to it or over it.
    """
    step = MINUTE if length % MINUTE == 0 else 1_000_000
    at, found = us - us % step, []
    while len(found) <= count:
        now = (shown(zone, at) - datetime(1970, 1, 5)) // timedelta(microseconds=1)
        before = (shown(zone, at - step) - datetime(1970, 1, 5)) // timedelta(microseconds=1) + step
        if any(passed % length == 0 for passed in (*range(before, now, step), now)):
            found.append(at)
        at -= step
    return found


def in_a_row(every: str, tz: str, now: int, first: int, last: int) -> Callable[[int], bool]:
    """Whether a time is in the windows from the `first` before the one of `now` to the `last` before it."""
    zone = ZoneInfo(tz)
    if (numbered := number(every, zone)) is not None:
        this = numbered(now)
        return lambda t: this - first <= numbered(t) <= this - last
    found = begins(int(span(WORDS.get(every, every))), zone, now, first)
    end = found[last - 1] if last else now + 1
    return lambda t: found[first] <= t < end


def hops(whole: str, hop: str) -> int:
    """How many hops a hopping window has."""
    if whole.endswith(("mo", "y")):
        months = [int(text.rstrip("moy")) * (12 if text.endswith("y") else 1) for text in (whole, hop)]
        return months[0] // months[1]
    return int(span(whole) // span(hop))


def inside(window: Any, now: int) -> Callable[[int], bool]:
    """Whether an event of a time up to `now` is in a window as of `now`."""
    if not isinstance(window, dict):
        return lambda t: now - span(window) < t
    now -= int(span(window["offset"])) if window.get("offset") else 0
    lookback, tz = window.get("lookback", 0), window.get("tz", "UTC")
    if window["kind"] == "tumbling":
        kept = in_a_row(window["every"], tz, now, lookback, lookback)
    elif window["kind"] == "hopping":
        count = hops(window["span"], window["hop"])
        kept = in_a_row(window["hop"], tz, now, lookback + count, lookback + 1)
    else:  # sliding; or forever, of which the last part may be wanted
        oldest = now - span(window.get("span"))
        return lambda t: oldest < t <= now
    return lambda t: t <= now and kept(t)


def members(window: Any, events: Sequence[Any], now: int) -> list[Any]:
    """The events of a window as of `now`, of those up to `now` in (t, position) order."""
    kept = inside(window, now)
    found = [event for event in events if kept(event.t)]
    if not isinstance(window, dict):
        return found
    if window["kind"] == "rows":
        return found[-window["rows"] :]
    if window["kind"] == "session":
        later, begin = now - int(span(window["offset"]) if window.get("offset") else 0), len(found)
        while begin and later - found[begin - 1].t <= span(window["gap"]):
            begin -= 1
            later = found[begin].t
        return found[begin:]
    return found
