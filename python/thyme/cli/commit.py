"""`thyme commit`: definitions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from thyme._errors import InvalidDefinitionError
from thyme.cli._app import open_client
from thyme.cli._output import print_json
from thyme.cli._preview import print_cost, print_values
from thyme.cli._progress import progress
from thyme.cli._references import modules_at, modules_named

_EFFECTS = {"backfill": "filled from the log"}
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "-m", "--module", "names", multiple=True, metavar="MODULE", help="Instead of PATH: a module or package."
)
@click.option("--dry-run", is_flag=True, help="Validate only.")
@click.option("--wait-sources", is_flag=True, help="Also wait until new sources have read what was there.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the definition document to this file.")
@click.option(
    "--base", metavar="COMMIT", help="Only over this commit, as thyme plan printed it (none: over nothing)."
)
@click.option("--message", metavar="TEXT", help="Why, for thyme history.")
@click.option("--author", metavar="NAME", help="Who; else THYME_AUTHOR, or this machine's user.")
@click.option("--no-source", is_flag=True, help="Keep the Python files out of the history.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def commit(
    ctx: click.Context,
    path: Path | None,
    names: tuple[str, ...],
    dry_run: bool,
    wait_sources: bool,
    output: str | None,
    base: str | None,
    message: str | None,
    author: str | None,
    no_source: bool,
    as_json: bool,
) -> None:
    """Validate definitions and make them live.

    PATH is a Python file, or a folder whose Python files (but tests) are all taken. Nothing is committed if
    somebody else commits while this runs, or has since --base.
    """
    document = _read(path, names)
    if output is not None:
        Path(output).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    client = open_client(ctx)
    seen = base or (None if dry_run else client.status().get("commit") or "none")
    with progress("committing"):
        answer = client.commit(
            document,
            dry_run=dry_run,
            wait_sources=wait_sources,
            base=seen,
            message=message,
            author=author,
            source=not no_source,
        )
    if as_json:
        print_json(answer)
        return
    _print(answer, dry_run)


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "-m", "--module", "names", multiple=True, metavar="MODULE", help="Instead of PATH: a module or package."
)
@click.option(
    "--sample",
    default="200",
    show_default=True,
    metavar="N|all",
    help="How many entities of each featureset to look at.",
)
@click.option("--no-values", is_flag=True, help="Only what changes, not what it does to values.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="The value of a request feature."
)
@click.option(
    "--time-limit",
    type=click.IntRange(1, 3600),
    default=30,
    show_default=True,
    help="Seconds after which the values are given up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def plan(
    ctx: click.Context,
    path: Path | None,
    names: tuple[str, ...],
    sample: str,
    no_values: bool,
    inputs: tuple[str, ...],
    time_limit: int,
    as_json: bool,
) -> None:
    """What a commit would change, and what it would do to values, without doing it.

    The features that it touches are computed before and after, for some entities at times of their own
    events. Exit codes: 0 nothing would change, 2 something would, 1 the commit would be refused.
    """
    given: dict[str, Any] = {}
    if not no_values:
        given = {
            "sample": _sample(sample),
            "inputs": dict(_input(each) for each in inputs),
            "time_limit_s": time_limit,
        }
    document, client = _read(path, names), open_client(ctx)
    with progress("computing values before and after" if given else "planning"):
        answer = client.plan(document, **given)
    if as_json:
        print_json(answer)
    else:
        print_changes(answer["changes"], "nothing changes")
        if answer["changed"]:
            print_values(answer.get("values"))
            print_cost(answer.get("cost"))
            click.echo(f"commit it over this base: thyme commit {path or ''} --base {answer['base']}")
    ctx.exit(2 if answer["changed"] else 0)


def _sample(text: str) -> int | str:
    if text == "all":
        return text
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise click.BadParameter(f'expected a number or "all", got "{text}"', param_hint="--sample")
    return int(text)


def _input(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f'expected NAME=VALUE, got "{text}"', param_hint="--input")
    return name, value


def _read(path: Path | None, names: Sequence[str]) -> Mapping[str, Any]:
    """The definitions at a path or in modules."""
    if (path is None) == (not names):
        raise click.UsageError("Give either PATH or -m MODULE.")
    # The next edit may come within the second that cached bytecode is trusted for.
    sys.dont_write_bytecode = True
    if path is not None:
        return document_of(modules_at(path), str(path))
    return document_of([each for name in names for each in modules_named(name)], ", ".join(names))


@click.command()
@click.argument("reference", metavar="FEATURESET.OLD_NAME|DATASET@VERSION")
@click.option("--message", metavar="TEXT", help="Why, for thyme history.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def retire(ctx: click.Context, reference: str, message: str | None, as_json: bool) -> None:
    """End an old name of a feature, or a superseded version of a dataset: it answers no more.

    `thyme status` shows which old names still answer, and who asks for them.
    """
    answer = open_client(ctx).retire(reference, message=message)
    if as_json:
        print_json(answer)
        return
    print_changes(answer["changes"], "nothing changed")
    click.echo(f"commit {answer['commit']}")


def document_of(modules: Sequence[ModuleType], where: str) -> Mapping[str, Any]:
    """The definition document of those modules that define something.

    Raises:
        InvalidDefinitionError: None does.
    """
    from thyme._definition import definition_of
    from thyme._document import collect

    used = [each for each in modules if any(definition_of(value) for value in vars(each).values())]
    if not used:
        raise InvalidDefinitionError(f'"{where}" defines no dataset and no featureset')
    return collect(used)


def _print(answer: Mapping[str, Any], dry_run: bool) -> None:
    counts = ", ".join(
        f"{count} {name if count != 1 else name.removesuffix('s')}"
        for name, count in (answer.get("counts") or {}).items()
    )
    print_changes(answer.get("changes") or (), "nothing changes" if dry_run else "nothing changed")
    if dry_run:
        click.echo(f"valid: {counts} (dry run, nothing was committed)")
    else:
        click.echo(f"commit {answer.get('commit')}: {counts}")


def print_changes(changes: Sequence[Mapping[str, Any]], otherwise: str) -> None:
    """Prints changes, one a line."""
    shown = [change for change in changes if change.get("kind") != "unchanged"]
    for change in shown:
        detail = f"  {change['detail']}" if change.get("detail") else ""
        effect = f"  [{_EFFECTS[change['effect']]}]" if change.get("effect") in _EFFECTS else ""
        click.echo(f"{_SIGNS.get(change['kind'], ' ')} {change['kind']} {change['subject']}{detail}{effect}")
    if not shown:
        click.echo(otherwise)
