"""`thyme log`: pushes a file."""

from __future__ import annotations

import click

from thyme._errors import fault_text
from thyme._progress import progress
from thyme.cli._app import complain, open_client
from thyme.cli._output import print_json
from thyme.cli._references import resolve

_SKIPPED_SHOWN = 10


@click.command()
@click.argument("ref")
@click.option(
    "--input",
    "path",
    required=True,
    metavar="FILE",
    help="JSONL, CSV, Parquet or Arrow; - is JSONL on stdin.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "json", "csv", "parquet", "arrow"]),
    help="Default: by suffix.",
)
@click.option(
    "--idempotency-key", metavar="KEY", help="A second push of the same file under KEY changes nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print the sums of the answers.")
@click.pass_context
def log(
    ctx: click.Context, ref: str, path: str, kind: str | None, idempotency_key: str | None, as_json: bool
) -> None:
    """Push a file of events; when it returns they are on durable storage.

    REF is a dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    client = open_client(ctx)
    name = resolve(ref)
    if path == "-":
        path, kind = "/dev/stdin", kind or "jsonl"
    with progress(f"{name}: pushing", _rows(path, kind)) as advance:
        total = client.log_file(name, path, format=kind, idempotency_key=idempotency_key, progress=advance)
    if total["skipped"]:
        rows = "1 invalid row" if total["skipped"] == 1 else f"{total['skipped']:,} invalid rows"
        complain(f"{rows} went to the dead letters (thyme dead-letters {name})")
        for fault in total["faults"][:_SKIPPED_SHOWN]:
            click.echo(f"  {fault_text(fault)}", err=True)
    if as_json:
        told = ("accepted", "skipped", "duplicates", "position")
        print_json({name: total[name] for name in told if name in total})
        return
    events = "1 event" if total["accepted"] == 1 else f"{total['accepted']:,} events"
    again = f", {total['duplicates']:,} of them duplicates" if total.get("duplicates") else ""
    click.echo(f"{name}: {events} accepted{again}, position {total['position']}")


def _rows(path: str, kind: str | None) -> int | None:
    """How many rows there are, if it is cheap to know."""
    if kind in (None, "parquet") and path.endswith((".parquet", ".pq")):
        from thyme._files import columns_of

        return columns_of(path)[1]
    return None
