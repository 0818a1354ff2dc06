"""Aggregates with formulas of their own, each written from its page in `docs/reference/aggregates`.

They take exact fractions of the values, so that there is one rounding at the end, where the page says so.
"""

import math
import struct
from collections import Counter
from collections.abc import Callable
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Given(NamedTuple):
    """The values that count and their times, in order, the time and the reach of the question, and its definition."""

    values: list[Any]
    times: list[int]
    now: int
    reach: float
    aggregate: dict[str, Any]

    def parameter(self, name: str, otherwise: Any = None) -> Any:
        return self.aggregate.get("parameters", {}).get(name, otherwise)


def rounded(exact: Fraction) -> float:
    try:
        return float(exact) + 0.0
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def micros(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] * 1_000_000


def special(values: list[Any]) -> float | None:
    """What values that are not finite sum up to, as a set; None if all are."""
    odd = {repr(v) for v in values if type(v) is float and not math.isfinite(v)}
    return None if not odd else math.nan if len(odd) > 1 or "nan" in odd else float(odd.pop())


def total(values: list[Any]) -> Fraction:
    return sum(map(Fraction, values), Fraction(0))


def central(values: list[Any], power: int) -> Fraction:
    mean = total(values) / len(values)
    return total([(Fraction(v) - mean) ** power for v in values])


def moment(formula: Callable[[list[Any], bool], Any]) -> Callable[[Given], Any]:
    def of(given: Given) -> Any:
        if special(given.values) is not None:
            return math.nan
        return formula(given.values, given.parameter("kind", "sample") == "population")

    return of


def variance(values: list[Any], population: bool) -> Any:
    by = len(values) if population else len(values) - 1
    return rounded(central(values, 2) / by) if by else None


def stddev(values: list[Any], population: bool) -> Any:
    exact = variance(values, population)
    return None if exact is None else math.sqrt(exact)


def skew(values: list[Any], population: bool) -> Any:
    n, two, three = len(values), central(values, 2), central(values, 3)
    if two == 0 or (not population and n < 3):
        return None
    square = (three / n) ** 2 / (two / n) ** 3
    if not population:
        square *= Fraction(n * (n - 1), (n - 2) ** 2)
    root = math.sqrt(rounded(square))
    return (-root if three < 0 else root) + 0.0


def kurtosis(values: list[Any], population: bool) -> Any:
    n, two, four = len(values), central(values, 2), central(values, 4)
    if two == 0 or (not population and n < 4):
        return None
    excess = (four / n) / (two / n) ** 2 - 3
    if not population:
        excess = Fraction(n - 1, (n - 2) * (n - 3)) * ((n + 1) * excess + 6)
    return rounded(excess)


def difference(low: Any, high: Any) -> Any:
    if type(low) is int:
        exact = high - low
        return exact if -(2**63) <= exact < 2**63 else None
    return high - low + 0.0


def spread(given: Given) -> Any:
    if any(v != v for v in given.values):
        return math.nan
    return difference(min(given.values), max(given.values))


def quantile(given: Given) -> float:
    if any(v != v for v in given.values):
        return math.nan
    values = sorted(given.values)
    at = Fraction(repr(given.parameter("q", 0.5))) * (len(values) - 1)
    index, part = math.floor(at), at % 1
    if part:
        part = {
            "lower": Fraction(0),
            "higher": Fraction(1),
            "midpoint": Fraction(1, 2),
            "nearest": Fraction(part > Fraction(1, 2)),
        }.get(given.parameter("interpolation", "linear"), part)
    low, high = values[index], values[math.ceil(index + part)]
    if low == high:
        return rounded(Fraction(low)) if math.isfinite(low) else low
    if part in (0, 1):
        end = high if part else low
        return rounded(Fraction(end)) if math.isfinite(end) else end
    if special([low, high]) is not None:
        return low + high
    return rounded(Fraction(low) + (Fraction(high) - Fraction(low)) * part)


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def bucket(value: Any) -> int:
    """Seven bits of the mantissa are kept; those of negative values come before all others."""
    magnitude = bits(abs(float(value))) >> 45
    return -1 - magnitude if value < 0 else magnitude


def percentile(given: Given) -> float:
    values, percent = given.values, given.parameter("pct")
    if any(v != v for v in values):
        return math.nan
    if percent is None:
        newest = bucket(values[-1])
        return sum(bucket(v) <= newest for v in values) / len(values)
    rank = max(math.ceil(Fraction(repr(percent)) * len(values) / 100), 1)
    kept = sorted(map(bucket, values))[rank - 1]
    magnitude = struct.unpack("<d", struct.pack("<Q", (-1 - kept if kept < 0 else kept) << 45))[0]
    return -magnitude + 0.0 if kept < 0 else magnitude


def raw(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, bytes):
        return value
    if isinstance(value, Decimal):
        with localcontext(prec=80):
            integer = value.scaleb(-int(value.as_tuple().exponent))
        return int(integer).to_bytes(16, "little", signed=True)
    if isinstance(value, date):
        return struct.pack("<q", (value - date(1970, 1, 1)).days)
    return struct.pack("<q", int(value))


def hashed(data: bytes) -> int:
    """FNV-1a, and the mixer of MurmurHash3."""
    mask, result = 2**64 - 1, 0xCBF29CE484222325
    for byte in data:
        result = (result ^ byte) * 0x100000001B3 & mask
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        result = (result ^ result >> 33) * factor & mask
    return result ^ result >> 33


def distinct(given: Given) -> int:
    """Ertl's improved estimator over 2**14 registers, where there are more than 1,024 values."""
    members = {raw(v) for v in given.values}
    if len(members) <= 1024 or given.parameter("exact", False):
        return len(members)
    m, registers = 2**14, [0] * 2**14
    for member in members:
        digits = f"{hashed(member):064b}"
        register, rest = int(digits[:14], 2), digits[14:]
        registers[register] = max(registers[register], len(rest) - len(rest.lstrip("0")) + 1)
    seen = Counter(registers)
    z = m * tau(1 - seen[51] / m)
    for run in range(50, 0, -1):
        z = 0.5 * (z + seen[run])
    z += m * sigma(seen[0] / m)
    return max(math.floor(0.7213475204444817 * m * m / z + 0.5), 1025)


def sigma(x: float) -> float:
    result, weight = x, 1.0
    while x > 1e-300:
        x *= x
        result += x * weight
        weight *= 2
    return result


def tau(x: float) -> float:
    if x in (0, 1):
        return 0.0
    result, weight = 1 - x, 1.0
    for _ in range(60):
        x = math.sqrt(x)
        weight /= 2
        result -= (1 - x) * (1 - x) * weight
    return result / 3


def entropy(given: Given) -> float:
    """As the page says, with the platform's logarithm: the same bits where counts are powers of two."""
    counts = Counter(map(raw, given.values)).values()
    if len(counts) == 1:
        return 0.0
    n = len(given.values)
    exact = total([c * math.log2(c) for c in counts])
    return max(math.log2(n) - rounded(exact) / n, 0.0) + 0.0


def forgotten(aggregate: dict[str, Any]) -> float:
    """How old a row may be that does not count at all, in microseconds."""
    return (
        2200 * micros(aggregate["parameters"]["half_life"])
        if aggregate["function"] == "exp_decay_sum"
        else math.inf
    )


def decayed(given: Given) -> float:
    """As the page says, with the platform's `exp2`: the same bits where rows are whole half-lives old."""
    half_life = micros(given.parameter("half_life"))
    odd = special(given.values)
    if odd is not None:
        return odd
    total_, now = Fraction(0), given.now // half_life
    for t, value in zip(given.times, given.values, strict=True):
        weight = Fraction(2 ** ((t % half_life) / half_life))
        total_ += Fraction(value) * weight * Fraction(2) ** (t // half_life - now)
    return rounded(total_ / Fraction(2 ** ((given.now % half_life) / half_life)))


def slope(given: Given) -> Any:
    if special(given.values) is not None:
        return math.nan
    n = len(given.values)
    mean_t, mean_x = Fraction(sum(given.times), n), total(given.values) / n
    pairs = list(zip(given.times, given.values, strict=True))
    below = total([(t - mean_t) ** 2 for t in given.times])
    above = total([(t - mean_t) * (Fraction(v) - mean_x) for t, v in pairs])
    return rounded(above / below * 1_000_000) if below else None


def rate(given: Given) -> float:
    seconds = Fraction(int(given.reach), 1_000_000)
    if not given.aggregate.get("of"):
        return rounded(len(given.values) / seconds)
    odd = special(given.values)
    return rounded(total(given.values) / seconds) if odd is None else odd


STATISTICS: dict[str, Callable[[Given], Any]] = {
    "variance": moment(variance),
    "stddev": moment(stddev),
    "skew": moment(skew),
    "kurtosis": moment(kurtosis),
    "range": spread,
    "delta": lambda given: difference(given.values[0], given.values[-1]),
    "quantile": quantile,
    "median": quantile,
    "approx_percentile": percentile,
    "count_distinct": distinct,
    "entropy_of": entropy,
    "time_since_last": lambda given: (given.now - given.times[-1]) / 1_000_000,
    "time_since_first": lambda given: (given.now - given.times[0]) / 1_000_000,
    "exp_decay_sum": decayed,
    "slope": slope,
    "rate": rate,
}
