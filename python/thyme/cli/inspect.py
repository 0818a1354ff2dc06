"""`thyme inspect`: what is committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from thyme.cli._app import open_client
from thyme.cli._output import print_json, print_rows
from thyme.cli._references import resolve

_META = ("description", "owner", "tags", "project", "deprecated", "deprecation_reason", "replacement")


@click.command()
@click.argument("ref", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def inspect(ctx: click.Context, ref: str | None, as_json: bool) -> None:
    """What is committed: everything, or one featureset or dataset.

    REF is MODULE:CLASS, FILE.py:CLASS, or a committed name.
    """
    client = open_client(ctx)
    found = client.inspect(None if ref is None else resolve(ref))
    if as_json:
        print_json(found)
    elif ref is None:
        _print_all(found)
    elif "features" in found:
        _print_featureset(found)
    else:
        _print_dataset(found)


def _print_all(catalog: Mapping[str, Any]) -> None:
    click.echo(f"commit {catalog.get('commit') or 'none'}")
    datasets = [
        {**each, "key": _key(each), "fields": len(each.get("fields") or ())}
        for each in _each(catalog, "datasets")
    ]
    featuresets = [
        {**each, "entity": ", ".join(each.get("entity") or ()), "features": len(each.get("features") or ())}
        for each in _each(catalog, "featuresets")
    ]
    if datasets:
        print_rows(datasets, ("name", "version", "kind", "key", "fields"), title="datasets")
    if featuresets:
        print_rows(featuresets, ("name", "entity", "features"), title="featuresets")


def _print_featureset(featureset: Mapping[str, Any]) -> None:
    click.echo(f"{featureset['name']}: features of {', '.join(featureset.get('entity') or ())}")
    _print_meta(featureset)
    features = featureset["features"]
    old = any(feature.get("former_names") for feature in features)
    rows = [{**each, "old_names": ", ".join(each.get("former_names") or ())} for each in features]
    print_rows(rows, ("id", "name", "type", "source", *(["old_names"] if old else [])))
    present = {(name, each["id"]) for each in features for name in _names(each)}
    for retired in featureset.get("retired_names") or ():
        if (retired["name"], retired["id"]) in present:
            continue  # it is the name once more
        click.echo(f"  {retired['name']} was a name of {retired['id']}, retired at {retired['commit']}")
    _print_extractors(featureset.get("extractors") or ())
    if featureset.get("retired_ids"):
        click.echo(f"  ids of removed features: {', '.join(map(str, featureset['retired_ids']))}")


def _print_extractors(extractors: Iterable[Mapping[str, Any]]) -> None:
    for extractor in extractors:
        if extractor.get("expr"):
            click.echo(f"  {extractor['name']} = {extractor['expr']} (version {extractor['version']})")
            continue
        if "runs_in" in extractor:  # older servers do not say
            vectorized = ", vectorized" if extractor.get("vectorized") else ""
            because = f", because of {extractor['because']}" if extractor.get("because") else ""
            click.echo(f"  extractor {extractor['name']} runs in {extractor['runs_in']}{vectorized}{because}")


def _names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    return (feature["name"], *(feature.get("former_names") or ()))


def _print_dataset(dataset: Mapping[str, Any]) -> None:
    click.echo(f"{dataset['name']}: dataset, version {dataset.get('version', 1)}")
    _print_meta(dataset)
    print_rows(dataset.get("fields") or [], ("name", "type", "role", "optional"))


def _print_meta(definition: Mapping[str, Any]) -> None:
    meta = {**definition, **(definition.get("meta") or {})}
    for name in _META:
        value = meta.get(name)
        if value:
            text = (
                ", ".join(f"{k}={v}" if v else k for k, v in value.items())
                if isinstance(value, Mapping)
                else value
            )
            click.echo(f"  {name}: {', '.join(map(str, text)) if isinstance(text, list) else text}")


def _key(dataset: Mapping[str, Any]) -> str:
    return ", ".join(f["name"] for f in dataset.get("fields") or () if f.get("role") == "key")


def _each(catalog: Mapping[str, Any], section: str) -> list[Mapping[str, Any]]:
    return list(catalog.get(section) or ())
