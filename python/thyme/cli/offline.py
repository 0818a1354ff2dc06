"""`thyme query-offline`: training sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thyme._errors import InvalidDataError
from thyme.cli._app import open_client
from thyme.cli._options import (
    entity_ids,
    feature_option,
    key_types,
    output_options,
    position_options,
    time_option,
)
from thyme.cli._output import write_table
from thyme.cli._references import resolve

if TYPE_CHECKING:
    from thyme.client import ThymeClient

# The column of the labels' times, if it is not named: the first of these that the file has.
TIME_COLUMNS = ("timestamp", "ts", "at", "time", "event_time")


@click.command("query-offline")
@click.argument("ref")
@click.option(
    "--input",
    "path",
    help="Labels: a Parquet, CSV, JSONL or Arrow file, a pattern, or a URL such as s3://...",
)
@click.option(
    "-e", "--entity", "entities", multiple=True, metavar="ID", help="Instead of a file: ID, or K1=V1,K2=V2."
)
@click.option(
    "--at", "times", multiple=True, metavar="TIME", help="With -e: one time for all, or one for each."
)
@click.option(
    "--entity-column", "columns", multiple=True, help="Default: named like the key. Once a key field."
)
@click.option("--spine", metavar="DATASET", help="Instead of a file: a row for each event of this dataset.")
@click.option("--from", "start", metavar="TIME", help="The first time of --every, or of events.")
@click.option("--until", "end", metavar="TIME", help="The time before which it ends.")
@click.option(
    "--every", metavar="SPAN", help="Instead of a file: every entity at each time so far apart, such as 1d."
)
@click.option("--timestamp-column", help=f"Default: the first of {', '.join(TIME_COLUMNS)} that is there.")
@click.option("--memory", metavar="SIZE", help="What the rows under way may take; default 512MiB.")
@click.option(
    "--background", is_flag=True, help="The server computes it by itself: print the id for thyme jobs."
)
@click.option("--as-served", is_flag=True, help="Leave out what came after each row's time.")
@feature_option
@position_options
@output_options
@click.pass_context
def query_offline(
    ctx: click.Context,
    ref: str,
    path: str | None,
    entities: tuple[str, ...],
    times: tuple[str, ...],
    columns: tuple[str, ...],
    spine: str | None,
    start: str | None,
    end: str | None,
    every: str | None,
    timestamp_column: str | None,
    memory: str | None,
    background: bool,
    as_served: bool,
    features: tuple[str, ...],
    min_position: str | None,
    position: str | None,
    wait_ms: int | None,
    kind: str | None,
    output: str | None,
) -> None:
    """The features of each row's entity at each row's time.

    REF is a featureset: MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    made = spine is not None or every is not None
    if (path is not None) + bool(entities) + made != 1:
        raise click.UsageError(
            "Give one of --input FILE, -e ID with --at TIME, --spine DATASET, "
            "or --every SPAN with --from and --until."
        )
    if (start is not None or end is not None) and not made:
        raise click.UsageError("--from and --until go with --every or --spine.")
    if entities and len(times) not in (1, len(entities)):
        raise click.UsageError("With -e, give --at once, or once for each -e.")
    if background and (output is not None or kind is not None):
        raise click.UsageError("--background has no output yet; thyme jobs result ID -o FILE writes it.")
    if times and not entities:
        raise click.UsageError("--at goes with -e; everything else has times of its own.")
    client = open_client(ctx)
    name = resolve(ref)
    rows: Any = path
    if entities:
        keys = list(key_types(client, name))
        rows = _rows(client, name, entities, times)
        columns, timestamp_column = tuple(keys), "timestamp"
    elif path is not None:
        names = _columns(path)
        timestamp_column = timestamp_column or _time_column(path, names)
        for column in (*columns, timestamp_column):
            if column not in names:
                raise InvalidDataError(f'"{path}" has no column "{column}"; it has {", ".join(names)}')
    asked: dict[str, Any] = {
        "entity_column": list(columns) or None,
        "timestamp_column": timestamp_column,
        "spine": None if spine is None else resolve(spine),
        "time_range": None if start is None and end is None else (time_option(start), time_option(end)),
        "every": every,
        "as_served": as_served,
        "features": features or None,
        "min_position": min_position,
        "position": position,
        "wait_ms": wait_ms,
        "memory": memory,
    }
    if background:
        click.echo(client.start_offline(name, rows, **asked))
        return
    direct = written_directly(kind, output)
    result = client.query_offline(name, rows, output=direct, **asked)
    if direct is None:
        write_table(result.to_arrow(), kind, output)


@click.command()
@click.argument("manifest")
@click.option("-o", "--output", help="Where to write it; default: where it was.")
@click.option("--input", "path", help="The labels, if they came from no file or have moved.")
@click.option("--memory", metavar="SIZE", help="What the rows under way may take; default 512MiB.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def rebuild(
    ctx: click.Context, manifest: str, output: str | None, path: str | None, memory: str | None, as_json: bool
) -> None:
    """Makes a training set again, with the same bytes.

    MANIFEST is the file that query-offline has written beside it. What makes that impossible is said: labels
    or definitions that have changed, rows that were erased, or removed by retention. Nothing is written then.
    """
    result = open_client(ctx).rebuild(manifest, path, output=output, memory=memory)
    said = result.metadata["rebuilt"]
    if as_json:
        click.echo(json.dumps(said))
        return
    same = "the same bytes" if said["identical"] else "the same rows"
    click.echo(f"{said['output']}: {said['rows']:,} rows, {same} as before (sha256 {said['sha256'][:12]})")


def _rows(
    client: ThymeClient, name: str, entities: tuple[str, ...], times: tuple[str, ...]
) -> list[dict[str, Any]]:
    keys = list(key_types(client, name))
    ids = entity_ids(client, name, entities)
    moments = [time_option(time) for time in (times if len(times) == len(ids) else times * len(ids))]
    return [
        {**(entity if isinstance(entity, dict) else {keys[0]: entity}), "timestamp": moment}
        for entity, moment in zip(ids, moments, strict=True)
    ]


def written_directly(kind: str | None, output: str | None) -> str | None:
    """The output, if rows can be written to it as they come."""
    if output is None or kind not in (None, "parquet", "csv", "arrow"):
        return None
    return output if kind in (None, _kind_of(output)) else None


def _kind_of(path: str) -> str | None:
    from thyme._files import READ_FORMATS

    return READ_FORMATS.get(Path(path).suffix.lower())


def _columns(path: str) -> list[str]:
    """The names of the columns of a file, or of the first that a pattern names."""
    from thyme._files import columns_of
    from thyme._labels import Labels
    from thyme._storage import places

    first = places(path)[0]
    if first.is_local:
        return columns_of(first.path)[0]
    with Labels(first, {}, "") as labels:
        return labels.columns


def _time_column(path: str, names: list[str]) -> str:
    found = next((name for name in TIME_COLUMNS if name in names), None)
    if found is None:
        raise InvalidDataError(
            f'which column of "{path}" has the times? Give --timestamp-column; it has {", ".join(names)}'
        )
    return found
