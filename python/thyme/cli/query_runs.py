"""`thyme query-runs`: what was asked of a server, and the same computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from thyme.cli._app import open_client
from thyme.cli._output import cell_text, print_json, print_rows
from thyme.cli._references import resolve

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("query-runs")
def query_runs() -> None:
    """Queries that were answered: list them, show one, compute one again."""


@query_runs.command("list")
@click.option("--featureset", metavar="REF", help="Only those that asked for this featureset.")
@click.option("--dataset", metavar="REF", help="Only lookups of this dataset's rows.")
@click.option(
    "-e", "--entity", metavar="ID", help="Only those that asked for this entity: ID, or K1=V1,K2=V2."
)
@click.option("--caller", metavar="KEY", help="Only those of this key, by its id; anonymous: without a key.")
@click.option("--since", metavar="TIME", help="Only those answered at this time or later.")
@click.option("--until", metavar="TIME", help="Only those answered at this time or earlier.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The most to show.")
@_JSON
@click.pass_context
def list_(
    ctx: click.Context,
    featureset: str | None,
    dataset: str | None,
    entity: str | None,
    caller: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """The queries that were answered, newest first."""
    runs = open_client(ctx).query_runs(
        featureset=None if featureset is None else resolve(featureset),
        dataset=None if dataset is None else resolve(dataset),
        entity_id=entity,
        caller=caller,
        since=since,
        until=until,
        limit=limit,
    )
    if as_json:
        print_json({"query_runs": runs})
        return
    if not runs:
        click.echo("none", err=True)
        return
    columns = ("id", "time", "caller", "endpoint", "featureset", "entities", "position", "took_us")
    print_rows([_row(each) for each in runs], columns)


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as the table has it."""
    parts = run["queries"]
    return {
        **run,
        "featureset": ", ".join(_name(part) for part in parts),
        "entities": "; ".join(_entities(part) for part in parts),
        "position": parts[0]["as_of"]["position"] if parts else "",
    }


def _name(part: Mapping[str, Any]) -> str:
    """What was read: a featureset, or a dataset of which a row was looked up."""
    return str(part["featureset"] or part["dataset"])


_ENTITIES_SHOWN = 3


def _entities(part: Mapping[str, Any]) -> str:
    known = part["entities"]
    if known is None or len(known) > _ENTITIES_SHOWN:
        return f"{part['rows']:,} rows"
    return ", ".join("(erased)" if each is None else cell_text(each) for each in known)


@query_runs.command()
@click.argument("run_id", metavar="ID")
@click.pass_context
def show(ctx: click.Context, run_id: str) -> None:
    """One query as it was asked and answered, as JSON."""
    print_json(open_client(ctx).query_run(run_id))


@query_runs.command()
@click.argument("run_id", metavar="ID")
@_JSON
@click.pass_context
def replay(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Compute a query again at its own time and position, and compare the bits.

    Exits with 1 if they are not the same.
    """
    found = open_client(ctx).replay(run_id)
    if as_json:
        print_json(found)
    else:
        for part in found["queries"]:
            _print_part(part)
    ctx.exit(0 if found["identical"] else 1)


def _print_part(part: Mapping[str, Any]) -> None:
    at = part["as_of"]
    where = f"{_name(part)} at {at['time']}, {at['position']}"
    if part["identical"]:
        click.echo(f"{where}: identical")
        return
    why = part["prevented"]
    click.echo(f"{where}: not identical ({why['reason']}): {why['detail']}")
    if part["differences"]:
        rows = [{name: cell_text(each[name]) for name in each} for each in part["differences"]]
        print_rows(rows, ("entity_id", "feature", "recorded", "now"))
