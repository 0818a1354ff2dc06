"""`thyme verify` and `thyme explain`: numbers derived again, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from thyme._progress import progress
from thyme.cli._app import complain, open_client
from thyme.cli._options import entity_ids, position_options, request_inputs, time_option
from thyme.cli._output import cell_text, print_json, print_rows
from thyme.cli._references import resolve

_WHY = {
    "late": "came too late",
    "duplicate": "there already",
    "filtered": "left out by a filter or join",
    "where": "the aggregate's where is not true",
    "null": "the aggregated field is null",
    "before_window": "before the window",
    "after_window": "after the window",
    "beyond_retention": "older than the dataset reaches",
    "after_time": "of a time after T",
    "after_position": "known only after S",
    "replaced": "a later row takes the place",
}


@click.command()
@click.argument("ref", required=False)
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="How many (entity, time, position) of each featureset and dataset.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="What the choices are made from."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(ctx: click.Context, ref: str | None, sample: int, seed: int, as_json: bool) -> None:
    """Compute values again from the log and compare them bit for bit with what is served.

    REF is a featureset or dataset: MODULE:CLASS, FILE.py:CLASS, or a committed name; everything if it is left
    out. Exits with 1 if any value differs.
    """
    client = open_client(ctx)
    name = resolve(ref) if ref is not None else None
    with progress("reading the log"):
        report = client.verify(name, sample=sample, seed=seed)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report["different"]:
        ctx.exit(1)


def _print_report(report: Mapping[str, Any]) -> None:
    rows = [{**item, "note": item["note"] or ""} for item in report["features"]]
    print_rows(rows, ("name", "checked", "different", "note"))
    for difference in report["differences"]:
        texts = difference.get("non_finite") or {}
        served, recomputed = (texts.get(name, difference[name]) for name in ("served", "recomputed"))
        complain(
            f"{difference['name']} of {cell_text(difference['entity_id'])} at {difference['time']}, "
            f"{difference['position']}: served {cell_text(served)}, the log says {cell_text(recomputed)}"
        )
    if report["entities_too_large"]:
        complain(
            f"{report['entities_too_large']} entities have too many events to be computed again in memory"
        )
    as_of = report["as_of"]
    click.echo(
        f"{report['checked']:,} values of {report['rows']:,} events up to {as_of['position']}: "
        f"{report['different']:,} different"
    )


@click.command()
@click.argument("ref")
@click.option("-e", "--entity", required=True, metavar="ID", help="ID, or K1=V1,K2=V2.")
@click.option("--at", metavar="TIME", help="As of this time: ISO 8601 or seconds since the epoch.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="The value of a request feature."
)
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="How many events of a kind to show, the newest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@position_options
@click.pass_context
def explain(
    ctx: click.Context,
    ref: str,
    entity: str,
    at: str | None,
    inputs: tuple[str, ...],
    limit: int,
    as_json: bool,
    min_position: str | None,
    position: str | None,
    wait_ms: int | None,
) -> None:
    """Show the events behind a value, and those that were left out and why.

    REF is FEATURESET.FEATURE or DATASET.FIELD by committed names; a class may also be MODULE:CLASS.
    """
    from thyme._audit import owner_and_name

    client = open_client(ctx)
    owner, name = owner_and_name(ref)
    owner = resolve(owner)
    explanation = client.explain(
        f"{owner}.{name}",
        entity_ids(client, owner, (entity,))[0],
        time_option(at),
        inputs=request_inputs(client, owner, inputs) or None,
        limit=limit,
        position=position,
        min_position=min_position,
        wait_ms=wait_ms,
    )
    if as_json:
        print_json(explanation)
        return
    as_of = explanation["as_of"]
    click.echo(
        f"{explanation['name']} of {cell_text(explanation['entity_id'])} is {_value(explanation, 'value')}\n"
        f"  at T = {as_of['time']}, S = {as_of['position']}, commit {as_of['commit']}"
    )
    _print_explanation(explanation, "  ")


def _print_explanation(explanation: Mapping[str, Any], indent: str) -> None:
    for note in explanation["notes"]:
        click.echo(f"{indent}{note}")
    if explanation["origin"] == "field":
        _print_field(explanation, indent)
    elif explanation["origin"] == "extractor":
        extractor = explanation["extractor"]
        click.echo(
            f"{indent}made by the extractor {extractor['name']}, version {extractor['version']} "
            f"({extractor['source']}), from {len(explanation['inputs'])} inputs:"
        )
        for each in explanation["inputs"]:
            click.echo(f"\n{indent}{each['name']} is {_value(each, 'value')}")
            _print_explanation(each, f"{indent}  ")


def _print_field(explanation: Mapping[str, Any], indent: str) -> None:
    definition = explanation["definition"]
    version = definition["pipeline_version"] or definition["version"]
    chain = "".join(f".{operator}" for operator in definition["operators"])
    click.echo(f"{indent}{definition['dataset']}.{definition['field']}, version {version}")
    click.echo(f"{indent}{definition['input']}{chain} -> {definition['aggregate']}")
    after = f"after {definition['after']}" if definition["after"] else "since the beginning"
    click.echo(f"{indent}events {after} up to {definition['until']}")
    recomputed = explanation["recomputed"]
    word = "the same bits" if recomputed["same"] else "NOT what is served"
    click.echo(f"{indent}computed again from these events: {_value(recomputed, 'value')}, {word}")
    if not explanation["events_of_entity"]:
        click.echo(f"{indent}the log has no event of this entity")
    _print_dead_letters(explanation, indent)
    _print_events(_count(explanation["events"]["total"], "counts", "count"), explanation["events"])
    for group in explanation["left_out"]:
        why = _WHY.get(group["reason"], group["reason"])
        _print_events(f"{_count(group['total'], 'does not', 'do not')}: {why}", group)


def _print_dead_letters(explanation: Mapping[str, Any], indent: str) -> None:
    """Those that name the entity, and how many there are of which nobody can tell."""
    dataset = explanation["definition"]["input"]
    letters, unknown = explanation["dead_letters"], explanation["dead_letters_of_unknown_entity"]
    if letters["total"]:
        title = _letters(letters["total"], dataset, "names this entity", "name this entity")
        if len(letters["shown"]) < letters["total"]:
            title += f", the newest {len(letters['shown']):,}"
        click.echo(f"{indent}{title}")
        if letters["shown"]:
            print_rows(letters["shown"], ["position", "origin", "reason"])
    if unknown:
        title = _letters(unknown, dataset, "does not tell whose it is", "do not tell whose they are")
        click.echo(f"{indent}{title} (see thyme dead-letters {dataset})")


def _letters(total: int, dataset: str, one: str, many: str) -> str:
    return (
        f"1 dead letter of {dataset} {one}" if total == 1 else f"{total:,} dead letters of {dataset} {many}"
    )


def _count(total: int, one: str, many: str) -> str:
    return f"1 event {one}" if total == 1 else f"{total:,} events {many}"


def _print_events(title: str, group: Mapping[str, Any]) -> None:
    shown: Sequence[Mapping[str, Any]] = group["shown"]
    if not shown:
        if group["total"]:
            click.echo(title)
        return
    if len(shown) < group["total"]:
        title += f", the newest {len(shown):,}"
    rows = []
    for event in shown:
        fields = {**event["fields"], **(event.get("non_finite") or {})}
        row = {"position": event["position"], **fields}
        rows.append({**row, "why": event["why"]} if "why" in event else row)
    print_rows(rows, list(rows[0]), title=title)


def _value(holder: Mapping[str, Any], name: str) -> str:
    return cell_text((holder.get("non_finite") or {}).get(name, holder[name]))
