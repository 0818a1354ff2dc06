"""Aggregates with formulas of their own: moments, ranks, sets, times and trends.

Formulas, state and edges of each are in `docs/reference/aggregates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from thyme._aggregates import Aggregate, OfRows

if TYPE_CHECKING:
    from thyme._expr import Expr
    from thyme._literal import Default
    from thyme._windows import Window


class _OfKind(Aggregate):
    """One of a sample or of the population."""

    parameters: ClassVar[Mapping[str, Any]] = {"kind": "sample"}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            kind: Literal["sample", "population"] = "sample",
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class Variance(_OfKind):
    """The exact variance, rounded once, a float.

    Null over nothing, and of a sample over one row; NaN if any value is NaN or infinite.

    Args:
        of: The aggregated column, an int or a float.
        kind: `"sample"` (the default: divided by `n - 1`) or `"population"` (by `n`).
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        spread = Variance(of="fare", window="7d")
    """

    function = "variance"


class Stddev(_OfKind):
    """The square root of the exact variance rounded once, a float.

    Null over nothing, and of a sample over one row; NaN if any value is NaN or infinite.

    Args:
        of: The aggregated column, an int or a float.
        kind: `"sample"` (the default: divided by `n - 1`) or `"population"` (by `n`).
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        spread = Stddev(of="fare", window="7d", kind="population")
    """

    function = "stddev"


class Skew(_OfKind):
    """How far the values lean to one side, a float: the root of the exact squared skewness, with its sign.

    Null over nothing, where all values are equal, and of a sample below three rows; NaN if any value
    is NaN or infinite.

    Args:
        of: The aggregated column, an int or a float.
        kind: `"sample"` (the default: the adjusted Fisher-Pearson coefficient) or `"population"`.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        lean = Skew(of="fare", window="7d")
    """

    function = "skew"


class Kurtosis(_OfKind):
    """How heavy the tails are, in excess of the normal distribution's 3: exact, rounded once, a float.

    Null over nothing, where all values are equal, and of a sample below four rows; NaN if any value
    is NaN or infinite.

    Args:
        of: The aggregated column, an int or a float.
        kind: `"sample"` (the default: without bias for a normal distribution) or `"population"`.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        tails = Kurtosis(of="fare", window="7d")
    """

    function = "kurtosis"


class Range(Aggregate):
    """The greatest value less the least; NaN if any is. Of ints null outside int64. Null over nothing."""

    function = "range"


class Delta(Aggregate):
    """The newest value less the oldest, by event time. Of ints null outside int64. Null over nothing."""

    function = "delta"


class Quantile(Aggregate):
    """The exact quantile of the values of the window, a float.

    NaN if any value is NaN, null over nothing.

    Args:
        of: The aggregated column, an int or a float.
        q: Which: from 0 (the least value) to 1 (the greatest), with at most nine decimals.
        interpolation: What is taken where the quantile lies between two values. `"linear"` is the exact value
            between them, rounded once; `"nearest"` takes the lower one half-way.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        high = Quantile(of="fare", q=0.95, window="7d")
    """

    function = "quantile"
    parameters: ClassVar[Mapping[str, Any]] = {"q": ..., "interpolation": "linear"}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            q: float,
            interpolation: Literal["linear", "lower", "higher", "midpoint", "nearest"] = "linear",
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class Median(Aggregate):
    """The exact middle of the values of the window, a float: of an even number, half-way between two.

    NaN if any value is NaN, null over nothing.
    """

    function = "median"


class ApproxPercentile(Aggregate):
    """A percentile from integer counts in buckets: within 1 % of the value at that rank, a float.

    Without `pct`, the rank of the newest value among the values of its own window instead: the part of
    them that is not greater, above 0 and up to 1. NaN if any value is NaN, null over nothing.

    Args:
        of: The aggregated column, an int or a float.
        pct: Which percentile: from 0 to 100. None asks for the rank of the newest value.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        p99 = ApproxPercentile(of="fare", pct=99, window="30d")
    """

    function = "approx_percentile"
    parameters: ClassVar[Mapping[str, Any]] = {"pct": None}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            pct: float | None = None,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class CountDistinct(Aggregate):
    """How many different values there are; exact up to 1,024 of them, then within about 1 %. 0 over nothing.

    Args:
        of: The aggregated column, an int, float, str, bool or datetime.
        exact: Whether to count exactly whatever their number, which takes memory for each at every read.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        cards = CountDistinct(of="card", window="1d")
    """

    function = "count_distinct"
    parameters: ClassVar[Mapping[str, Any]] = {"exact": False}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            exact: bool = False,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class EntropyOf(Aggregate):
    """Shannon's entropy of how often each value is there, in bits, a float.

    0 if there is one value only, 1 if there are two equally often. Null over nothing.
    """

    function = "entropy_of"


class TimeSinceLast(OfRows):
    """Seconds from the newest row to the time of the question, a float.

    Null over nothing.

    Args:
        of: Only rows where this column is not null count.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        idle = TimeSinceLast()
    """

    function = "time_since_last"


class TimeSinceFirst(OfRows):
    """Seconds from the oldest row to the time of the question, a float.

    Null over nothing.

    Args:
        of: Only rows where this column is not null count.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        age = TimeSinceFirst()
    """

    function = "time_since_first"


class ExpDecaySum(Aggregate):
    """The sum of values that weigh half as much after each half-life, as of the question: a float.

    A row of time `t` weighs `2 ** ((t - T) / half_life)`; one that is 2,200 half-lives old weighs
    nothing. Null over nothing.

    Args:
        of: The aggregated column, an int or a float.
        half_life: After how long a value weighs half as much: an integer and one of `s m h d w`.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        heat = ExpDecaySum(of="fare", half_life="1d")
    """

    function = "exp_decay_sum"
    parameters: ClassVar[Mapping[str, Any]] = {"half_life": ...}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            half_life: str,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class Slope(Aggregate):
    """The least squares slope of the values over event time, per second: exact, rounded once, a float.

    Null where all rows have one time, and over nothing; NaN if any value is NaN or infinite.
    """

    function = "slope"


class Rate(Aggregate):
    """Rows per second of the window, a float; with `of=`, that column's exact sum per second, rounded once.

    Where the dataset's retention is shorter than the window, seconds are counted as far back as it
    reaches. Null over nothing.

    Args:
        of: The column to sum up, an int or a float; None counts rows.
        window: How far back from the time of the question. It must be given.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        per_second = Rate(window="5m")
    """

    function = "rate"

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str | None = None,
            window: str | Window,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...
