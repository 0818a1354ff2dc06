"""Asks a door what a case expects, and tells what differs."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .case_file import Case, Row
from .doors import ClientDoor, Door, Types
from .modules import Definitions
from .oracle import as_datetime, micros
from .values import differences

if TYPE_CHECKING:
    import polars as pl

AS_OF = "as_of"


def lacking(contains: list[str], error: BaseException) -> list[str]:
    """What an error should have said and did not."""
    return [f"the error does not say {part!r}: {error}" for part in contains if part not in str(error)]


def refusal_failures(case: Case, door: Door) -> list[str]:
    """Pushes that have to be refused."""
    failures = []
    for refusal in case.refusals:
        rows = refusal["rows"] if "rows" in refusal else [refusal["row"]]
        try:
            door.push(refusal["push_error"], rows)
        except Exception as error:
            failures += [f"{rows}: {line}" for line in lacking(refusal["contains"], error)]
        else:
            failures.append(f"{rows}: was accepted")
    return failures


def read_failures(case: Case, door: Door, definitions: Definitions, types: Types) -> list[str]:
    """Lookups and queries, one by one."""
    failures = []
    for read in case.reads:
        kind = types[definitions.names[read.get("lookup") or read["query"]]]
        try:
            got = answer(read, door)
        except Exception as error:
            said = lacking(read["error"], error) if "error" in read else [f"{type(error).__name__}: {error}"]
            failures += [f"{read}: {line}" for line in said]
            continue
        failures += [f"{read}: {line}" for line in verdict(read, got, kind)]
    return failures


def answer(read: Row, door: Door) -> Row | None:
    if "lookup" in read:
        wants_row = read.get("values") is None
        return door.lookup(read["lookup"], read["key"], read["at"], row_or_none=wants_row)
    return door.query(read["query"], read["entity"], read["at"], read.get("inputs"))


def verdict(read: Row, got: Row | None, types: dict[str, str]) -> list[str]:
    if "error" in read:
        return [f"expected an error, got {got}"]
    wanted = read["values"] if "lookup" in read else read["features"]
    if wanted is None or got is None:
        return [] if wanted == got else [f"expected {wanted}, got {got}"]
    return differences(wanted, got, types)


# One offline read for all reads of a featureset -----------------------------------------------------


def labels(reads: list[Row], keys: list[str], types: dict[str, str]) -> "pl.DataFrame":
    """A frame with the entity, the time and the inputs of each read."""
    import polars as pl

    dtypes: dict[str, Any] = {
        "int": pl.Int64,
        "float": pl.Float64,
        "str": pl.String,
        "bool": pl.Boolean,
        "datetime": pl.Datetime("us", "UTC"),
    }
    inputs = list(reads[0].get("inputs") or ())
    columns: dict[str, list[Any]] = defaultdict(list)
    for read in reads:
        key = read["key"] if "lookup" in read else read["entity"]
        key = key if isinstance(key, dict) else {keys[0]: key}
        for name, value in {k: key[k] for k in keys}.items() | (read.get("inputs") or {}).items():
            is_time = types[name] == "datetime"
            columns[name].append(as_datetime(micros(value)) if is_time else value)
        columns[AS_OF].append(as_datetime(micros(read["at"])))
    schema = {name: dtypes[types[name]] for name in [*keys, *inputs]} | {AS_OF: dtypes["datetime"]}
    return pl.DataFrame(dict(columns), schema=schema)


def offline_failures(case: Case, door: ClientDoor, definitions: Definitions, types: Types) -> list[str]:
    """All point-in-time reads of the case, one sweep for each featureset."""
    groups: dict[tuple[str, tuple[str, ...]], list[Row]] = defaultdict(list)
    for read in case.reads:
        if "error" not in read:
            inputs = tuple(sorted(read.get("inputs") or ()))
            groups[read.get("lookup") or read["query"], inputs].append(read)
    failures = []
    for (name, _), reads in groups.items():
        looks_up = "lookup" in reads[0]
        featureset = f"{definitions.names[name]}All" if looks_up else definitions.names[name]
        keys = definitions.shapes[name].keys if looks_up else entity_of(reads[0], featureset, door)
        frame = labels(reads, keys, types[featureset])
        result = door.client.query_offline(
            featureset, frame, entity_column=keys, timestamp_column=AS_OF, min_position=door.position
        )
        for read, row in zip(reads, result.to_dict(), strict=True):
            features = {n: v for n, v in row.items() if n not in keys}
            missing = read.get("values", 0) is None and set(features.values()) - {row[AS_OF]} <= {None}
            got = None if missing else row
            failures += [f"offline {read}: {line}" for line in verdict(read, got, types[featureset])]
    return failures


def entity_of(read: Row, featureset: str, door: ClientDoor) -> list[str]:
    """The names of the entity's key fields."""
    if isinstance(read["entity"], dict):
        return list(read["entity"])
    return list(door.client.inspect(featureset)["entity"])
