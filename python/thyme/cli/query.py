"""`thyme query` and `thyme lookup`: online reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from thyme.cli._app import complain, open_client
from thyme.cli._options import (
    entity_ids,
    feature_option,
    key_types,
    output_options,
    pending_dataset,
    position_options,
    request_inputs,
    time_option,
)
from thyme.cli._output import write_table
from thyme.cli._references import resolve


@click.command()
@click.argument("ref")
@click.option(
    "-e", "--entity", "entities", multiple=True, required=True, metavar="ID", help="ID, or K1=V1,K2=V2."
)
@click.option("--at", metavar="TIME", help="As of this time: ISO 8601 or seconds since the epoch.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="The value of a request feature."
)
@feature_option
@click.option(
    "--meta",
    is_flag=True,
    help="Also how each value came about and how fresh it is: NAME.status, NAME.age_s, ...",
)
@position_options
@output_options
@click.pass_context
def query(
    ctx: click.Context,
    ref: str,
    entities: tuple[str, ...],
    at: str | None,
    inputs: tuple[str, ...],
    features: tuple[str, ...],
    meta: bool,
    min_position: str | None,
    position: str | None,
    wait_ms: int | None,
    kind: str | None,
    output: str | None,
) -> None:
    """The features of entities, one row each.

    REF is a featureset: MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    client = open_client(ctx)
    name = resolve(ref)
    result = client.query_batch(
        name,
        entity_ids(client, name, entities),
        request_inputs(client, name, inputs),
        time_option(at),
        features=features or None,
        meta=meta,
        min_position=min_position,
        position=position,
        wait_ms=wait_ms,
    )
    as_of = result.metadata.get("as_of") or {}
    if as_of.get("provisional"):
        complain(f"provisional: {as_of.get('time')} is later than now, and what comes until then will count")
    _say_incomplete((result.metadata.get("meta") or {}).get("incomplete"))
    write_table(result.to_arrow_with_meta(), kind, output)


def _say_incomplete(incomplete: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Says which of the values are null because their pipelines are still filled."""
    if not incomplete:
        return
    facts = next(iter(incomplete.values()))
    until = f", about until {facts['until']}" if facts.get("until") else ""
    complain(
        f"incomplete: {', '.join(incomplete)}: commit {facts['commit']}, which brings this, is not live yet"
        f" (filled to {100 * facts['progress']:.0f} %{until})"
    )


@click.command()
@click.argument("ref")
@click.option(
    "-e", "--entity", "entities", multiple=True, required=True, metavar="ID", help="ID, or K1=V1,K2=V2."
)
@click.option("--at", metavar="TIME", help="As of this time: ISO 8601 or seconds since the epoch.")
@position_options
@output_options
@click.pass_context
def lookup(
    ctx: click.Context,
    ref: str,
    entities: tuple[str, ...],
    at: str | None,
    min_position: str | None,
    position: str | None,
    wait_ms: int | None,
    kind: str | None,
    output: str | None,
) -> None:
    """Rows of a dataset, without extractors.

    REF is a dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name. An entity without a row is named on
    stderr.
    """
    from thyme._result import ThymeResult

    client = open_client(ctx)
    name = resolve(ref)
    rows: list[dict[str, Any]] = []
    incomplete = pending_dataset(client, name, entities[0])
    if incomplete:
        # No row of it is known: the server says so, and not that there is none.
        _say_incomplete(incomplete)
        write_table(ThymeResult(rows=rows).to_arrow(), kind, output)
        return
    for text, entity in zip(entities, entity_ids(client, name, entities), strict=True):
        row = client.lookup(
            name,
            entity,
            time_option(at),
            min_position=min_position,
            position=position,
            wait_ms=wait_ms,
        )
        if row is None:
            complain(f"{name} has no row for {text}")
        else:
            # The row of a derived dataset has its outputs alone; which entity's it is has to be seen.
            keys = key_types(client, name)
            rows.append({**(entity if isinstance(entity, dict) else {next(iter(keys)): entity}), **row})
    catalog = client._catalog_of(name)
    types = {**(catalog.key_types(name) or {}), **catalog.types(name)}
    write_table(ThymeResult(rows=rows, types=types).to_arrow(), kind, output)
