"""`thyme late`, `thyme duplicates` and `thyme dead-letters`: what was left out, and why."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from thyme.cli._app import open_client
from thyme.cli._options import output_options, time_option
from thyme.cli._output import cell_text, print_json, write_table
from thyme.cli._references import resolve

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 50
_PAGE = 1000
_REASONS_SHOWN = 10
_EVENT_COLUMNS = dict.fromkeys(("position", "arrived", "stream", "event_time"), "str")

Row = Mapping[str, Any]


def _listing_options(command: Callable[..., None]) -> Callable[..., None]:
    """What commands take that list events of a dataset which do not count."""
    shown = f"The most events.  [default: {_SHOWN}; with -o all]"
    command = click.pass_context(output_options(command))
    command = click.option("--count", is_flag=True, help="Print how many there are in all.")(command)
    since = "Only events that came at this time or later."
    command = click.option("--since", metavar="TIME", help=since)(command)
    command = click.option("--limit", type=click.IntRange(1), help=shown)(command)
    return click.argument("ref")(command)


@click.command()
@_listing_options
def late(
    ctx: click.Context,
    ref: str,
    limit: int | None,
    since: str | None,
    count: bool,
    kind: str | None,
    output: str | None,
) -> None:
    """The late events of a dataset, newest first, and what they were late against.

    REF is a dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    client, name = open_client(ctx), resolve(ref)
    if count:
        click.echo(client.late_count(name))
        return
    types = client._catalog_of(name).types(name)
    events = client.late(name, _limit(limit, output), since=time_option(since))
    why = {"watermark": "str", "max_lateness": "str", "late_by_s": "float"}
    columns = {**_EVENT_COLUMNS, **why, **_fields(types)}
    _write((_event(event, *why) for event in events), columns, kind, output)


@click.command()
@_listing_options
def duplicates(
    ctx: click.Context,
    ref: str,
    limit: int | None,
    since: str | None,
    count: bool,
    kind: str | None,
    output: str | None,
) -> None:
    """The events of a dataset whose ids were there already, newest first, and which event counts.

    REF is a dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    client, name = open_client(ctx), resolve(ref)
    if count:
        click.echo(client.duplicate_count(name))
        return
    types = client._catalog_of(name).types(name)
    events = client.duplicates(name, _limit(limit, output), since=time_option(since))
    columns = {**_EVENT_COLUMNS, "of": "str", **_fields(types)}
    _write((_event(event, "of") for event in events), columns, kind, output)


@click.command("dead-letters")
@click.argument("ref")
@click.argument("action", type=click.Choice(["list", "replay"]), default="list")
@click.option("--limit", type=click.IntRange(1), help=f"The most records.  [default: {_SHOWN}; with -o all]")
@click.option("--count", is_flag=True, help="Print how many wait, and how many there ever were.")
@click.option(
    "--export", metavar="FILE", help="Write all that wait, with their raw bytes (.jsonl, .parquet)."
)
@click.option("--json", "as_json", is_flag=True, help="Print counts and what a replay came to as JSON.")
@output_options
@click.pass_context
def dead_letters(
    ctx: click.Context,
    ref: str,
    action: str,
    limit: int | None,
    count: bool,
    export: str | None,
    as_json: bool,
    kind: str | None,
    output: str | None,
) -> None:
    """The records of a dataset that could not be taken, newest first, and why.

    REF is a dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name. `replay` reads them again under the
    definitions of now; those that have become readable become events, once, and the others stay.
    """
    client, name = open_client(ctx), resolve(ref)
    if action == "replay":
        _show_replay(client.replay_dead_letters(name), as_json)
    elif count:
        counts = client.dead_letter_counts(name)
        if as_json:
            print_json(counts)
        else:
            click.echo(
                f"{counts['waiting']} waiting, {counts['replayed']} replayed, {counts['count']} in all"
            )
    elif export is not None:
        letters = (_letter(letter) for letter in client.iter_dead_letters(name, limit))
        written = _write(letters, _letter_columns(is_export=True), kind, export)
        click.echo(f"{written} dead letters written to {export}")
    else:
        found = client.iter_dead_letters(name, _limit(limit, output))
        letters = ({key: cell_text(value) for key, value in letter.items()} for letter in found)
        _write(letters, _letter_columns(is_export=False), kind, output)


def _show_replay(answer: Row, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    where = f", position {answer['position']}" if answer.get("position") else ""
    click.echo(f"{answer['replayed']} became events{where}; {answer['failed']} could not be read and stay")
    if answer.get("erased"):
        click.echo(f"{answer['erased']} are of entities that were erased since, and are left out")
    for reason in answer["reasons"][:_REASONS_SHOWN]:
        click.echo(f"  {reason['position']} {cell_text(reason['origin'])}: {cell_text(reason['reason'])}")
    hidden = answer["failed"] - min(len(answer["reasons"]), _REASONS_SHOWN)
    if hidden > 0:
        click.echo(f"  and {hidden} more")


def _limit(given: int | None, output: str | None) -> int | None:
    return given if given is not None or output is not None else _SHOWN


def _event(event: Row, *why: str) -> dict[str, Any]:
    told = {name: event[name] for name in ("position", "arrived", "stream")}
    told["event_time"] = event["time"]
    told.update({name: event[name] for name in why})
    return {**told, **{f"field.{name}": value for name, value in event["fields"].items()}}


def _letter(letter: Row) -> dict[str, Any]:
    encoded = letter.get("raw_base64")
    raw = base64.b64decode(encoded) if encoded else letter["raw"].encode()
    return {**letter, "raw_bytes": raw}


def _fields(types: Mapping[str, str]) -> dict[str, str]:
    return {f"field.{name}": kind for name, kind in types.items()}


def _letter_columns(*, is_export: bool) -> dict[str, str]:
    columns = {"position": "str", "dataset": "str", "origin": "str", "reason": "str", "raw": "str"}
    return {**columns, "index": "int", "cut": "bool", "raw_bytes": "bytes"} if is_export else columns


def _table(rows: Iterable[Row], columns: Mapping[str, str], *, as_text: bool) -> pa.Table:
    import pyarrow as pa

    kinds = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "datetime": pa.timestamp("us", "UTC"),
        "bytes": pa.binary(),
    }
    kept = list(rows)
    arrays = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in kept]
        if as_text and kind == "bytes":
            values = [None if value is None else base64.b64encode(value).decode() for value in values]
            name, kind = "raw_base64", "str"
        arrays[name] = pa.array(values, kinds.get(kind, pa.string()))
    return pa.table(arrays)


def _write(rows: Iterator[Row], columns: Mapping[str, str], kind: str | None, output: str | None) -> int:
    """Writes rows page by page to a file, or all of them to stdout; gives how many there were."""
    from thyme._files import FrameWriter, format_of

    if output is None or (kind == "table" and output):
        table = _table(rows, columns, as_text=kind not in ("parquet", "arrow"))
        if not table.num_rows and kind in (None, "table") and output is None:
            click.echo("none", err=True)
            return 0
        write_table(table, kind, output)
        return int(table.num_rows)
    kind = kind or format_of(output, purpose="write")
    as_text = kind not in ("parquet", "arrow")
    written = 0
    with FrameWriter(output, kind) as writer:
        for page in _paged(rows):
            writer.write(_table(page, columns, as_text=as_text))
            written += len(page)
        if not written:
            writer.write(_table([], columns, as_text=as_text))
    return written


def _paged(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while page := list(islice(rows, _PAGE)):
        yield page
