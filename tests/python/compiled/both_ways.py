"""Runs an extractor as a program in Rust and in CPython."""

from __future__ import annotations

import json
import math
import struct
from datetime import datetime, timedelta, timezone
from typing import Any

from thyme import _thyme
from thyme._host import Host
from thyme.errors import ExtractorError

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
T = 1_773_568_800_000_000  # 2026-03-15T10:00:00Z


NAMES = {int: "int", float: "float", bool: "bool", str: "str", datetime: "datetime"}


class NoLookups:
    """Stands for the engine's lookup context."""

    def at_row(self, row: int) -> None:
        """Nothing depends on the row."""


class Both:
    """An extractor that is called both ways."""

    def __init__(
        self, code: str, inputs: dict[str, str], outputs: list[str], form: str = "positional"
    ) -> None:
        extractor = {
            "name": "f",
            "inputs": [{"feature": name} for name in inputs],
            "outputs": outputs,
            "form": form,
            "code": code,
        }
        self.host = Host(compiles=True)
        self.handle = self.host.load("F", json.dumps(extractor), "[]")
        self.types = list(inputs.values())
        self.program, self.reason = self.host.program(self.handle)
        self.at_once = 0

    def in_rust(self, rows: list[tuple[Any, ...]], times: list[int]) -> list[tuple[Any, ...] | None]:
        """What the program gives, a row each; None where it leaves it to CPython.

        All rows at once give the same as one by one.
        """
        assert self.program is not None, self.reason
        columns = [list(column) for column in zip(*rows, strict=True)]
        found, at_once = run_both(self.program, self.types, times, columns)
        self.at_once += at_once
        return found

    def in_cpython(self, row: tuple[Any, ...], time: int) -> tuple[Any, ...] | str:
        """What the extractor gives, or the error it fails with."""
        try:
            columns = self.host.call(self.handle, [time], [[value] for value in row], NoLookups())  # type: ignore[arg-type]
        except ExtractorError as error:
            return str(error)
        return tuple(admitted(column[0]) for column in columns)


def run_both(
    program: str, types: list[str], times: list[int], columns: list[list[Any]]
) -> tuple[list[tuple[Any, ...] | None], int]:
    """Runs a program one by one and all rows at once, which must not differ where both give something.

    The outputs are declared as what the program was found to give; where rows give several types the rows at once must
    refuse it, unless an int can be a float.

    Returns:
        What it gives one by one, and how many rows it gives at once.
    """
    found = _thyme.run_program(program, types, times, columns)
    outputs = len(json.loads(program)["outputs"])
    given = [{type(row[at]) for row in found if row} - {type(None)} for at in range(outputs)]
    declared = [
        "float" if each == {int, float} else next((name for one, name in NAMES.items() if one in each), "int")
        for each in given
    ]
    at_once = _thyme.run_program_in_columns(program, declared, types, times, columns)
    if at_once is None:
        assert any(len(each) > 1 and each != {int, float} for each in given)
        return found, 0
    for row, other in zip(found, at_once, strict=True):
        assert other is None or row is not None
        if row is not None and other is not None:
            assert list(map(bits, map(widen, row, declared))) == list(map(bits, other))
    return found, sum(other is not None for other in at_once)


def widen(value: Any, declared: str) -> Any:
    """A value as an output has it that is declared so."""
    return float(value) if declared == "float" and type(value) is int else value


def admitted(value: Any) -> Any:
    """A value as the engine takes it: one zero, one NaN."""
    if type(value) is float:
        return math.nan if math.isnan(value) else value + 0.0
    return value


def bits(value: Any) -> Any:
    """Something that is equal only for the same type and the same bits."""
    if type(value) is float:
        return ("float", struct.pack("<d", value))
    if type(value) is datetime:
        return ("datetime", (value - EPOCH) // timedelta(microseconds=1))
    return (type(value).__name__, value)
