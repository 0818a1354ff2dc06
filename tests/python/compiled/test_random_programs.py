"""Random extractors over random inputs: whatever a program gives is what CPython gives, bit for bit."""

from __future__ import annotations

import os
import random
import warnings

import pytest

from compiled.both_ways import Both, T, bits
from compiled.programs import TIMES, TYPES, Writer, value

PROGRAMS = int(os.environ.get("THYME_PROGRAMS", "160"))
FIRST_SEED = int(os.environ.get("THYME_SEED", "1"))
ROWS = 40
WORKERS = 4


@pytest.mark.parametrize("worker", range(WORKERS))
def test_programs_give_what_cpython_gives(worker: int) -> None:
    given = raised = left = at_once = 0
    for seed in range(FIRST_SEED + worker, FIRST_SEED + PROGRAMS, WORKERS):
        chance = random.Random(seed)
        inputs = {
            f"x{number}": chance.choice(TYPES[:2] * 3 + TYPES) for number in range(chance.randint(1, 4))
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of `1 is None`
            text, outputs = Writer(seed, inputs).extractor()
            both = Both(text, inputs, outputs)
            some = {"nulls": chance.choice((0.0, 0.0, 0.15)), "awkward": chance.choice((0.02, 0.4))}
            rows = [tuple(value(kind, chance, **some) for kind in inputs.values()) for _ in range(ROWS)]
            times = [T + chance.randint(-(10**14), 10**14) for _ in rows]
            compiled = both.in_rust(rows, times)
            for row, time, found in zip(rows, times, compiled, strict=True):
                expected = both.in_cpython(row, time)
                if found is None:
                    raised += isinstance(expected, str)
                    left += not isinstance(expected, str)
                    continue
                assert not isinstance(expected, str), (
                    f"seed {seed}: {row} gives {found}, not {expected}\n{text}"
                )
                same = list(map(bits, found)) == list(map(bits, expected))
                assert same, f"seed {seed}: {row} gives {found}, not {expected}\n{text}"
                given += 1
            at_once += both.at_once

    assert given > 2 * left, f"{given} rows given, {raised} raised, {left} left to CPython"
    assert at_once > 0.9 * given, f"of {given} rows {at_once} were given at once"
    assert given > raised / 6, f"{given} rows given, {raised} raised, {left} left to CPython"


def test_times_of_inputs_are_those_of_python() -> None:
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond", "weekday()", "timestamp()")
    names = [part.strip("()") for part in parts]
    text = f"def f(cls, ts, x):\n    return {', '.join(f'x.{part}' for part in parts)}\n"
    both = Both(text, {"x": "datetime"}, names)
    chance = random.Random(5)
    rows = [(moment,) for moment in (*TIMES, *(value("datetime", chance) for _ in range(300))) if moment]
    for row, found in zip(rows, both.in_rust(rows, [T] * len(rows)), strict=True):
        assert found is not None or row[0].year in (1, 9999)
        assert found is None or list(map(bits, found)) == list(map(bits, both.in_cpython(row, T)))
