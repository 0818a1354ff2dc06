"""`thyme status` and `thyme logs`: what is going on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from thyme._errors import UnavailableError
from thyme.cli._app import open_client
from thyme.cli._options import output_options
from thyme.cli._output import cell_text, print_json, print_rows, write_table

_HEADLINES = ("version", "clock", "now", "commit", "position", "applied", "shards")
_TABLES = {
    "datasets": (
        "name",
        "version",
        "kind",
        "events",
        "late",
        "duplicates",
        "refused",
        "skipped",
        "dead_letters",
        "entities",
        "newest",
        "removed_until",
        "history_from",
    ),
    "featuresets": ("name", "features", "extractors"),
    "old_names": ("featureset", "name", "now", "id", "asked", "included", "callers"),
    "sources": ("dataset", "kind", "path", "rows", "dead_letters", "caught_up", "error"),
}
# Columns that are left out where they are empty.
_SELDOM = ("removed_until", "history_from")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Health, positions, datasets, featuresets and sources."""
    client = open_client(ctx)
    health = client.health()
    try:
        state = client.status()
    except UnavailableError:
        # A server that is still starting has only its health to tell.
        state = {"ready": False}
    if as_json:
        print_json({**state, "health": health})
        return
    word = health.get("status", "unknown")
    detail = str(health.get("detail") or "").removeprefix(f"{word}: ")
    click.echo(f"{client.config.api_url} is {word}{f': {detail}' if detail else ''}")
    headlines = {name: state[name] for name in _HEADLINES if state.get(name) is not None}
    headlines.update(state.get("state") or {})
    kept_by = headlines.pop("log_kept_by", None)
    if kept_by:
        headlines["log_kept_by"] = "{dataset}: an event of {time} in {record}".format(**kept_by)
    memory = state.get("memory") or {}
    headlines.update({f"memory_{name}": value for name, value in memory.items() if value is not None})
    headlines.update({f"pushes_{name}": value for name, value in (state.get("pushes") or {}).items()})
    if state.get("doing"):
        headlines["doing"] = state["doing"]
    width = max(map(len, headlines), default=0)
    for name, value in headlines.items():
        click.echo(f"  {name:<{width}}  {cell_text(value)}")
    for title, columns in _TABLES.items():
        rows = [_shown(row) for row in state.get(title) or []]
        if rows:
            shown = [name for name in columns if name not in _SELDOM or any(row.get(name) for row in rows)]
            print_rows(rows, shown, title=title)
    for source in state.get("sources") or []:
        for file in source.get("unfinished") or []:
            click.echo(
                f"{source['dataset']}: {file['path']} has an unfinished last line: {file['bytes']:,} bytes "
                "wait for the rest of it, or for a newline"
            )


def _shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as the table has it: who asked, and how often."""
    callers = row.get("callers")
    if not isinstance(callers, Mapping):
        return row
    return {**row, "callers": ", ".join(f"{who}: {count:,}" for who, count in callers.items())}


@click.command()
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="The most events to show."
)
@click.option("--severity", help="Only events of this severity, such as error.")
@click.option("--event-type", help="Only events of this type.")
@click.option("--subject", help="Only events about this dataset, source, ...")
@click.option("--by", help='Only what this caller did, such as "key 3f9a01c2".')
@output_options
@click.pass_context
def logs(
    ctx: click.Context,
    limit: int,
    severity: str | None,
    event_type: str | None,
    subject: str | None,
    by: str | None,
    kind: str | None,
    output: str | None,
) -> None:
    """What happened, newest first."""
    client = open_client(ctx)
    events = client.events(limit=limit, severity=severity, event_type=event_type, subject=subject, by=by)
    _write(events, ("time", "severity", "event_type", "subject", "by", "message"), kind, output)


def _write(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kind: str | None, output: str | None
) -> None:
    import pyarrow as pa

    texts = {
        name: [None if row.get(name) is None else cell_text(row[name]) for row in rows] for name in columns
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()})
    if not rows and kind in (None, "table") and output is None:
        click.echo("none", err=True)
        return
    write_table(table, kind, output)
