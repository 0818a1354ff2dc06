"""What a plan says of values and of what a commit takes, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import click

from thyme.cli._output import cell_text, print_rows

# The callers of what a commit touches that are shown one by one.
_CALLERS_SHOWN = 10
# How wide the longest bar of a histogram is.
_BAR = 24
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SUMMARY = ("min", "median", "mean", "max")


def print_values(values: Mapping[str, Any] | None) -> None:
    """Prints the values of the features that a commit touches, before and after."""
    if values is None:
        return
    if "stopped" in values:
        click.echo(f"\nno values: {values['stopped']}")
        return
    for each in values["featuresets"]:
        _print_featureset(each)
    if not values["featuresets"]:
        click.echo("\nno feature gets another value")


def _print_featureset(each: Mapping[str, Any]) -> None:
    name, rows = each["featureset"], each["rows"]
    if each["failure"]:
        click.echo(f"\n{name}: no values: {each['failure']}")
        for feature in each["features"]:
            click.echo(f"  {feature['touch']} {name}.{feature['name']}: {feature['because']}")
        return
    which = "a sample of " if each["is_sample"] else "all "
    click.echo(f"\n{name}: {rows:,} rows of {which}{_counted(each['entities'], 'entity', 'entities')}")
    if each["rows_left_out"]:
        click.echo(f"  {each['rows_left_out']:,} more reach what retention has removed")
    for feature in each["features"]:
        _print_feature(name, feature)


def _print_feature(featureset: str, feature: Mapping[str, Any]) -> None:
    title = f"{featureset}.{feature['name']}"
    before = feature["before"]
    if before is not None and before["name"] != feature["name"]:
        title += f" (was {before['name']})"
    click.echo(f"\n{title} is {feature['touch']}: {feature['because']}")
    rows, differ = feature["rows"], feature["differ"]
    if feature["failure"]:
        click.echo(f"  no values: {feature['failure']}")
    if differ is not None and rows:
        click.echo(f"  {differ:,} of {rows:,} rows differ ({100 * differ / rows:.1f} %)")
    if not rows:
        return
    _print_distributions(feature)
    _print_examples(feature["examples"])


def _print_distributions(feature: Mapping[str, Any]) -> None:
    sides = [("before", feature["old"]), ("after", feature["new"])]
    sides = [(name, side) for name, side in sides if side is not None]
    lines: list[tuple[str, list[str]]] = []
    for name in ("nulls", "non_finite"):
        if any(side[name] for _, side in sides) or name == "nulls":
            lines.append((name.replace("_", "-"), [f"{side[name]:,}" for _, side in sides]))
    for name in _SUMMARY:
        if any(side.get(name) is not None for _, side in sides):
            lines.append((name, [_number(side.get(name)) for _, side in sides]))
    lines.extend(_bars(feature, [side for _, side in sides]))
    table = [
        {"": label, **{name: text for (name, _), text in zip(sides, texts, strict=True)}}
        for label, texts in lines
    ]
    print_rows(table, ["", *(name for name, _ in sides)])


def _bars(feature: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """A line a bar: what it is of, and the bar of each side."""
    histogram = feature["histogram"]
    if histogram is not None:
        edges = [_number(edge) for edge in histogram["edges"]]
        of_ints = (
            all(high - low == 1 for low, high in pairwise(histogram["edges"])) and feature["type"] == "int"
        )
        labels = edges[:-1] if of_ints else [f"{low} .. {high}" for low, high in pairwise(edges)]
        counts = [histogram["old"], histogram["new"]][2 - len(sides) :]
        rows = list(zip(*counts, strict=True))
    else:
        found: dict[str, list[int]] = {}
        for place, side in enumerate(sides):
            for each in side.get("categories") or ():
                found.setdefault(cell_text(each["value"]), [0] * len(sides))[place] = each["rows"]
            if side.get("others"):
                found.setdefault("(others)", [0] * len(sides))[place] = side["others"]
        labels, rows = list(found), [tuple(counts) for counts in found.values()]
    most = max((count for row in rows for count in row), default=0)
    return [(label, [_bar(count, most) for count in row]) for label, row in zip(labels, rows, strict=True)]


def _bar(count: int, most: int) -> str:
    # Whatever there is can be seen.
    length = max(round(_BAR * count / most), 1) if count else 0
    return f"{'█' * length} {count:,}" if count else "0"


def _print_examples(examples: Sequence[Mapping[str, Any]]) -> None:
    if not examples:
        return
    rows = []
    for each in examples:
        texts = each.get("non_finite") or {}
        rows.append(
            {
                "entity": cell_text(each["entity_id"]),
                "time": each["time"] + (" (now)" if each["is_now"] else ""),
                "before": texts.get("old", each["old"]),
                "after": texts.get("new", each["new"]),
            }
        )
    print_rows(rows, ["entity", "time", "before", "after"])
    for each in examples:
        if each["explain"]:
            click.echo(f"  {cell_text(each['explain'])}")


def print_cost(cost: Mapping[str, Any] | None) -> None:
    """Prints what a commit takes, and who is affected."""
    if cost is None:
        return
    filled = cost["filled"]
    click.echo("\nthis commit")
    if filled:
        click.echo(
            f"  fills {', '.join(filled)} from {cost['events_to_read']:,} events "
            f"(the log has {_bytes(cost['log_bytes'])}): about {_seconds(cost['backfill_seconds'])}, "
            f"and about {_bytes(cost['state_bytes'])} of state"
        )
    else:
        click.echo("  fills nothing from the log")
    featuresets = cost["featuresets"]
    if cost["features"]:
        count = _counted(cost["features"], "feature", "features")
        click.echo(f"  touches {count} of {', '.join(featuresets)}")
    for each in cost["ended"]:
        feature = f"{each['featureset']}.{each['name']} (id {each['id']})"
        click.echo(f"  ends {feature}: who asks for it gets an error")
    for extractor in cost["extractors"]:
        because = f", because of {extractor['because']}" if extractor.get("because") else ""
        click.echo(f"  {extractor['name']} runs in {extractor['runs_in']}{because}")
    for each in cost["callers"][:_CALLERS_SHOWN]:
        count = _counted(each["queries"], "query", "queries")
        click.echo(
            f"  {each['caller']} asked {each['featureset']} in the last 30 days: {count}, last {each['last']}"
        )
    if len(cost["callers"]) > _CALLERS_SHOWN:
        click.echo(f"  and {len(cost['callers']) - _CALLERS_SHOWN:,} others (--json has all)")
    for name in cost["old_names"]:
        if name["asked"] or name["included"]:
            callers = ", ".join(f"{who}: {count:,}" for who, count in name["callers"].items())
            click.echo(
                f"  {name['featureset']}.{name['name']}, an old name of {name['now']}, was asked for "
                f"{name['asked']:,} times{f' ({callers})' if callers else ''}"
            )


def _counted(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {many}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else cell_text(value)


def _bytes(count: int) -> str:
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
