"""What extractors may return, as columns: one value, a tuple, a dict, or a looked-up row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from thyme._lookup import Row


class WrongShape(ValueError):
    """An extractor returned something else than it declared; the sentence names no values."""


def columns_of(results: Sequence[Any], outputs: Sequence[str]) -> list[list[Any]]:
    """One list for each output, from what each call returned.

    Raises:
        WrongShape: A result does not fit the outputs.
    """
    columns: list[list[Any]] = [[] for _ in outputs]
    for result in results:
        for column, value in zip(columns, _values(result, outputs), strict=True):
            column.append(plain(value))
    return columns


def plain(value: Any) -> Any:
    """A value as Python has it: numpy scalars converted, times aware and in UTC."""
    kind = type(value)
    if kind in (int, float, str, bool, type(None)):
        return value
    if kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        value = _without_numpy(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    return value


def _without_numpy(value: Any) -> Any:
    name = type(value).__name__
    if name in ("NaTType", "NAType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.floor("us").to_pydatetime()
    if name == "datetime64":
        return value.astype("datetime64[us]").item()
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _values(result: Any, outputs: Sequence[str]) -> Sequence[Any]:
    if isinstance(result, Row):
        return _of_row(result, outputs)
    if isinstance(result, Mapping):
        if set(result) != set(outputs):
            got = ", ".join(map(str, result)) or "nothing"
            raise WrongShape(f"expected a dict with {_listed(outputs)}, got one with {got}")
        return [result[name] for name in outputs]
    if isinstance(result, tuple):
        if len(result) != len(outputs):
            raise WrongShape(f"expected {_counted(outputs)}, got a tuple of {len(result)}")
        return result
    if len(outputs) != 1:
        kind = "None" if result is None else f"one {type(result).__name__}"
        hint = "; did you forget `return`?" if result is None else ""
        raise WrongShape(f"expected {_counted(outputs)}, got {kind}{hint}")
    return [result]


def _of_row(row: Row, outputs: Sequence[str]) -> Sequence[Any]:
    """A whole row gives its fields by name; some of its fields, in an order, also by position."""
    if row.is_whole:
        missing = [name for name in outputs if name not in row]
        if missing:
            got = f"a row without {_listed(missing)}; it has {_listed(list(row))}"
            raise WrongShape(f"expected {_counted(outputs)}, got {got}")
        return [row[name] for name in outputs]
    if set(row) == set(outputs):
        return [row[name] for name in outputs]
    if len(row) != len(outputs):
        raise WrongShape(f"expected {_counted(outputs)}, got the fields {_listed(list(row))} of a row")
    moved = [name for name, output in zip(row, outputs, strict=True) if name in outputs and name != output]
    if moved:
        raise WrongShape(
            f"expected {_counted(outputs)}, got the fields {_listed(list(row))} of a row: "
            f"{_listed(moved)} would be taken for another output; return a dict"
        )
    return list(row.values())


def _counted(outputs: Sequence[str]) -> str:
    return f"one value ({outputs[0]})" if len(outputs) == 1 else f"{len(outputs)} values ({_listed(outputs)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
