"""The oracle itself, against what Python's standard library says."""

import math
from random import Random

import pytest

from .oracle import FOLDS, OPERATORS, canonical, micros, total
from .values import bits


@pytest.mark.parametrize("seed", range(50))
def test_a_sum_of_floats_has_the_bits_of_fsum(seed: int) -> None:
    random = Random(seed)
    values = [
        random.uniform(-1, 1) * 10.0 ** random.randint(-320, 300) for _ in range(random.randint(1, 200))
    ]
    values += [-v for v in random.sample(values, len(values) // 2)]
    assert bits(total(values)) == bits(math.fsum(values) + 0.0)


def test_a_sum_that_overflows_is_infinite_only_in_the_end() -> None:
    assert total([1e308, 1e308]) == math.inf
    assert total([1e308, 1e308, -1e308]) == 1e308
    assert total([-1e308, -1e308]) == -math.inf


def test_infinities_are_a_set() -> None:
    assert total([math.inf, math.inf, 1.0]) == math.inf
    assert math.isnan(total([math.inf, -math.inf]))
    assert math.isnan(total([math.nan, math.inf]))


def test_an_int_sum_outside_64_bits_is_null() -> None:
    assert FOLDS["sum"]([2**63 - 1, 1]) is None
    assert FOLDS["sum"]([2**63 - 1, 1, -1]) == 2**63 - 1
    assert FOLDS["avg"]([2**63 - 1, 2**63 - 1]) == 2.0**63


def test_logic_is_three_valued() -> None:
    assert OPERATORS["and"](False, None) is False
    assert OPERATORS["or"](None, True) is True
    assert OPERATORS["and"](True, None) is None
    assert OPERATORS["or"](False, None) is None


def test_minus_zero_is_zero() -> None:
    assert bits(canonical(-0.0)) == bits(0.0)
    assert bits(canonical(-0.0)) != bits(-0.0)
    assert bits(1) != bits(1.0)
    assert bits(True) != bits(1)


def test_times_are_floored() -> None:
    assert micros("2026-03-15T10:00:00.1234567+00:00") == 1_773_568_800_123_456
    assert micros(1773568800.1) == 1_773_568_800_100_000
    assert micros(-0.0000005) == -1
