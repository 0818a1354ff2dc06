"""Random histories: the point-in-time read and the offline sweep have the bits of the naive oracle."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from . import histories
from .histories import Row, Schema
from .modules import import_text
from .oracle import Log, as_datetime, lookup, micros
from .values import differences

SEEDS = 60
EVENTS_MAX = 250
READS = 36


def compared(what: str, key: Any, at: str, want: Row, got: Row, types: dict[str, str]) -> list[str]:
    outputs = {name: want[name] for name in types}
    return [f"{what} of {key!r} at {at}: {line}" for line in differences(outputs, got, types)]


def failures_of(seed: int, schema: Schema, folder: Path) -> list[str]:
    import polars as pl

    from thyme._document import collect
    from thyme._local import LocalClient
    from thyme._transport import LocalTransport

    random = Random(seed)
    module = import_text(f"history_{seed}", schema.text, folder)
    log = Log(collect(module))
    rows = histories.events(random, schema.key_kind, random.randint(1, EVENTS_MAX))
    asked = histories.reads(random, schema, READS)
    types, failures = schema.outputs, []
    with LocalClient(LocalTransport.open(shards=1 + seed % 3)) as client:
        client.commit(module)
        for part in histories.pushes(random, rows):
            client.log(schema.raw, part)
            log.push(schema.raw, part)
        wanted = [lookup(log, schema.derived, key, at) or {} for key, at in asked]
        for (key, at), want in zip(asked, wanted, strict=True):
            got = client.query(schema.featureset, key, at=at).to_dict()[0]
            failures += compared("query", key, at, want, got, types)
        kind = pl.String if schema.key_kind == "str" else pl.Int64
        times = [as_datetime(micros(at)) for _, at in asked]
        labels = pl.DataFrame(
            {"k": [key for key, _ in asked], "as_of": times},
            schema={"k": kind, "as_of": pl.Datetime("us", "UTC")},
        )
        swept = client.query_offline(schema.featureset, labels, entity_column="k", timestamp_column="as_of")
        for (key, at), want, got in zip(asked, wanted, swept.to_dict(), strict=True):
            failures += compared("offline", key, at, want, got, types)
    return failures


@pytest.mark.parametrize("seed", range(SEEDS))
def test_reads_have_the_bits_of_the_oracle(seed: int, tmp_path: Path) -> None:
    """Six entities a seed: each is a history of its own, over the definitions of the seed."""
    schema = histories.schema(Random(seed), seed)
    failures = failures_of(seed, schema, tmp_path)
    assert not failures, "\n".join([schema.text, *failures[:20]])
