"""`thyme erase`: removes entities for good."""

from __future__ import annotations

import click

from thyme.cli._app import open_client
from thyme.cli._options import entity_ids
from thyme.cli._output import print_json
from thyme.cli._references import resolve


@click.command()
@click.argument("ref")
@click.option(
    "-e", "--entity", "entities", multiple=True, required=True, metavar="ID", help="ID, or K1=V1,K2=V2."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@click.pass_context
def erase(ctx: click.Context, ref: str, entities: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove all events of entities up to now, for good, from everything made of them and from every file.

    REF is a raw dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name. The receipt names the entities by
    keyed hash only. Backups and the files that sources read are yours to clean.
    """
    client = open_client(ctx)
    name = resolve(ref)
    ids = entity_ids(client, name, entities)
    if not yes:
        count = "1 entity" if len(ids) == 1 else f"{len(ids):,} entities"
        click.confirm(f"Erase {count} of {name} for good?", abort=True, err=True)
    receipt = client.erase(name, ids)
    if as_json:
        print_json(receipt)
        return
    datasets = ", ".join(receipt["datasets"]) or "no dataset"
    click.echo(f"{name}: erased up to position {receipt['position']} ({receipt['time']})")
    click.echo(f"  {receipt['events']:,} events in {receipt['records']:,} log records, from {datasets}")
    click.echo(f"  {receipt['dead_letters']:,} dead letters")
    for entity in receipt["entities"]:
        click.echo(f"  entity {entity}")
