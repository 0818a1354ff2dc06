"""Methods of datetimes and dates."""

from __future__ import annotations

from typing import Any, Self

from thyme._expr_calls import Calls


class Times(Calls):
    """What an expression of datetimes or dates can be asked. A null gives null.

    A date has a calendar, but neither a clock nor a zone: `year month day weekday is_weekend truncate diff`.

    `tz` is a name of the tz database, such as "Europe/London", which Thyme brings along; without it the zone
    is UTC.
    """

    __slots__ = ()

    def date(self, tz: str = "UTC") -> Self:
        """The day that the calendar of a zone shows, as a date; null outside the years 1 to 9999."""
        return self._zoned("date", tz)

    def year(self, tz: str = "UTC") -> Self:
        """The year that clocks show in a zone."""
        return self._zoned("year", tz)

    def month(self, tz: str = "UTC") -> Self:
        """The month in a zone, 1 to 12."""
        return self._zoned("month", tz)

    def day(self, tz: str = "UTC") -> Self:
        """The day of the month in a zone, 1 to 31."""
        return self._zoned("day", tz)

    def hour(self, tz: str = "UTC") -> Self:
        """The hour that clocks show in a zone, 0 to 23."""
        return self._zoned("hour", tz)

    def minute(self, tz: str = "UTC") -> Self:
        """The minute that clocks show in a zone, 0 to 59."""
        return self._zoned("minute", tz)

    def second(self, tz: str = "UTC") -> Self:
        """The second that clocks show, 0 to 59."""
        return self._zoned("second", tz)

    def weekday(self, tz: str = "UTC") -> Self:
        """The day of the week in a zone: Monday is 0, Sunday 6, as in Python."""
        return self._zoned("weekday", tz)

    def is_weekend(self, tz: str = "UTC") -> Self:
        """Whether it is Saturday or Sunday in a zone."""
        return self._zoned("is_weekend", tz)

    def truncate(self, unit: str, tz: str = "UTC") -> Self:
        """The beginning of the day, week, month, quarter, year or part of a day that it lies in.

        Args:
            unit: "1d", "1w" (from Monday), "1mo", "1q", "1y", or a duration that divides a day, such as
                "15m" or "6h", counted from midnight by the clock as it is set at that time.
            tz: The zone whose clocks and calendar count. A day begins when its clocks first show midnight or
                later.
        """
        return self._method("truncate", unit) if tz == "UTC" else self._method("truncate", unit, tz)

    def diff(self, earlier: Any, unit: str = "s") -> Self:
        """The time since `earlier` as a float, negative if that is later.

        Args:
            earlier: A datetime, an ISO 8601 text, or an expression of datetimes; for a date another date.
            unit: One of us, ms, s, m, h, d (of 24 hours), w.
        """
        return self._method("diff", earlier, unit)

    def _zoned(self, name: str, tz: str) -> Self:
        return self._method(name) if tz == "UTC" else self._method(name, tz)
