"""Operators that say which columns a row has, read aloud for the oracle."""

from typing import Any

Row = dict[str, Any]
Document = dict[str, Any]


def time_field(dataset: Document) -> str:
    return str(next(f["name"] for f in dataset["fields"] if f.get("role") == "timestamp"))


def shaped(step: Document, row: Row, clock: str) -> Row:
    """The row after a select, drop or rename; `clock` is the event time's name before."""
    if step["op"] == "select":
        return {name: value for name, value in row.items() if name in step["columns"] or name == clock}
    if step["op"] == "drop":
        return {name: value for name, value in row.items() if name not in step["columns"]}
    names = {c["from"]: c["name"] for c in step["columns"]}
    # A column that a union left behind may have the new name.
    stays = {name: value for name, value in row.items() if name not in names}
    return stays | {new: row[old] for old, new in names.items()}


def clock_after(step: Document, clock: str) -> str:
    names = {c["from"]: c["name"] for c in step["columns"]} if step["op"] == "rename" else {}
    return names.get(clock, clock)


def declared(dataset: Document, row: Row, t: int) -> Row | None:
    """A row as one of a derived dataset: its fields, or None without a key."""
    made: Row = {}
    for field in dataset["fields"]:
        value = t if field.get("role") == "timestamp" else row[field["name"]]
        made[field["name"]] = float(value) if field["type"] == "float" and value is not None else value
        if value is None and field.get("role") == "key":
            return None
    return made
