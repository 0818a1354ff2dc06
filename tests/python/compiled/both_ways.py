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

    def in_rust(self, rows: list[tuple[Any, ...]], times: list[int]) -> list[tuple[Any, ...] | None]:
        """What the program gives, a row each; None where it leaves it to CPython."""
        assert self.program is not None, self.reason
        columns = [list(column) for column in zip(*rows, strict=True)]
        return _thyme.run_program(self.program, self.types, times, columns)

    def in_cpython(self, row: tuple[Any, ...], time: int) -> tuple[Any, ...] | str:
        """What the extractor gives, or the error it fails with."""
        try:
            columns = self.host.call(self.handle, [time], [[value] for value in row], NoLookups())  # type: ignore[arg-type]
        except ExtractorError as error:
            return str(error)
        return tuple(admitted(column[0]) for column in columns)


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
