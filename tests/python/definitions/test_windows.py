"""Windows and the documents they become."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from thyme import Count, Forever, Hopping, Rows, Session, Sliding, Tumbling, series
from thyme.errors import DefinitionTypeError, DefinitionValueError

LONDON = "Europe/London"


@pytest.mark.parametrize(
    ("window", "document", "text"),
    [
        (Tumbling("1d"), {"kind": "tumbling", "every": "1d"}, 'Tumbling("1d")'),
        (
            Tumbling("month", tz=LONDON, lookback=2),
            {"kind": "tumbling", "every": "1mo", "tz": LONDON, "lookback": 2},
            'Tumbling("1mo", tz="Europe/London", lookback=2)',
        ),
        (
            Tumbling("1d", tz=ZoneInfo(LONDON)),
            {"kind": "tumbling", "every": "1d", "tz": LONDON},
            'Tumbling("1d", tz="Europe/London")',
        ),
        (Hopping("24h", "1h"), {"kind": "hopping", "span": "1d", "hop": "1h"}, 'Hopping("1d", "1h")'),
        (Session(gap="30m"), {"kind": "session", "gap": "30m"}, 'Session(gap="30m")'),
        (Rows(10, offset="1d"), {"kind": "rows", "rows": 10, "offset": "1d"}, 'Rows(10, offset="1d")'),
        (Sliding("7d"), "1w", '"1w"'),
        (
            Sliding("7d", offset="7d"),
            {"kind": "sliding", "span": "1w", "offset": "1w"},
            'Sliding("1w", offset="1w")',
        ),
        (Forever(offset="1h"), {"kind": "forever", "offset": "1h"}, 'Forever(offset="1h")'),
    ],
)
def test_a_window_is_what_is_written(window: Any, document: Any, text: str) -> None:
    assert window.document() == document
    assert repr(window) == text
    assert Count(window=window).document("n")["window"] == document


def test_windows_of_one_meaning_are_equal() -> None:
    assert Tumbling("1d", tz="UTC") == Tumbling("day") != Tumbling("1d", lookback=1)
    assert len({Hopping("1d", "1h"), Hopping("24h", "60m"), Hopping("1d", "2h")}) == 2


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Tumbling("7h"), DefinitionValueError, "divide a day"),
        (lambda: Tumbling("1d", tz="Europe/Londn"), DefinitionValueError, "Europe/London"),
        (lambda: Tumbling("1d", lookback=-1), DefinitionValueError, "lookback"),
        (lambda: Tumbling("1d", lookback=True), DefinitionTypeError, "whole number"),
        (lambda: Tumbling(86400), DefinitionTypeError, "every"),
        (lambda: Hopping("1d", "7h"), DefinitionValueError, "divide a day"),
        (lambda: Hopping("1mo", "1d"), DefinitionValueError, "whole number of hops"),
        (lambda: Session("half an hour"), DefinitionValueError, "half an hour"),
        (lambda: Rows(0), DefinitionValueError, "1 to 100000"),
        (lambda: Rows("10"), DefinitionTypeError, "whole number"),
        (lambda: Sliding("7d", offset="1mo"), DefinitionValueError, "1mo"),
        (lambda: Count(window=7), DefinitionTypeError, 'Tumbling("1d")'),
        (lambda: Count(window=series("1d", "1d", 2)), DefinitionTypeError, "one window"),
        (lambda: series("1d", "1d", 0), DefinitionValueError, "1 to 1000"),
        (lambda: series("1d", "1mo", 2), DefinitionValueError, "step"),
        (lambda: series(7, "1d", 2), DefinitionTypeError, "window"),
    ],
)
def test_what_cannot_be_a_window_is_refused_with_the_fix(
    make: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as raised:
        make()
    assert said in str(raised.value)


def test_a_series_goes_back_by_the_calendar_where_the_step_is_the_windows_own() -> None:
    days = series(Tumbling("1d", tz=LONDON, lookback=1), "day", 3)
    assert days == [Tumbling("1d", tz=LONDON, lookback=back) for back in (1, 2, 3)]
    assert series(Hopping("1d", "1h"), "60m", 2) == [Hopping("1d", "1h"), Hopping("1d", "1h", lookback=1)]


def test_a_series_goes_back_by_time_where_it_is_not() -> None:
    weeks = series("7d", "7d", 3)
    assert weeks == [Sliding("7d"), Sliding("7d", offset="7d"), Sliding("7d", offset="14d")]
    days = series(Tumbling("1d", offset="1h"), "7d", 2)
    assert days == [Tumbling("1d", offset="1h"), Tumbling("1d", offset="169h")]
    assert series(Rows(3), "1h", 2) == [Rows(3), Rows(3, offset="1h")]
