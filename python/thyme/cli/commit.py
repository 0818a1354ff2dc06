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
from thyme.cli._progress import progress
from thyme.cli._references import modules_at, modules_named

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "-m", "--module", "names", multiple=True, metavar="MODULE", help="Instead of PATH: a module or package."
)
@click.option("--dry-run", is_flag=True, help="Validate only.")
@click.option("--wait-sources", is_flag=True, help="Also wait until new sources have read what was there.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the definition document to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def commit(
    ctx: click.Context,
    path: Path | None,
    names: tuple[str, ...],
    dry_run: bool,
    wait_sources: bool,
    output: str | None,
    as_json: bool,
) -> None:
    """Validate definitions and make them live.

    PATH is a Python file, or a folder whose Python files (but tests) are all taken.
    """
    if (path is None) == (not names):
        raise click.UsageError("Give either PATH or -m MODULE.")
    # The next edit may come within the second that cached bytecode is trusted for.
    sys.dont_write_bytecode = True
    if path is not None:
        document = document_of(modules_at(path), str(path))
    else:
        document = document_of([each for name in names for each in modules_named(name)], ", ".join(names))
    if output is not None:
        Path(output).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    client = open_client(ctx)
    with progress("committing"):
        answer = client.commit(document, dry_run=dry_run, wait_sources=wait_sources)
    if as_json:
        print_json(answer)
        return
    _print(answer, dry_run)


@click.command()
@click.argument("reference", metavar="FEATURESET.OLD_NAME")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def retire(ctx: click.Context, reference: str, as_json: bool) -> None:
    """End an old name of a feature: it answers no more.

    `thyme status` shows which old names still answer, and who asks for them.
    """
    answer = open_client(ctx).retire(reference)
    if as_json:
        print_json(answer)
        return
    _print_changes(answer["changes"], "nothing changed")
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
    _print_changes(answer.get("changes") or (), "nothing changes" if dry_run else "nothing changed")
    if dry_run:
        click.echo(f"valid: {counts} (dry run, nothing was committed)")
    else:
        click.echo(f"commit {answer.get('commit')}: {counts}")


def _print_changes(changes: Sequence[Mapping[str, Any]], otherwise: str) -> None:
    shown = [change for change in changes if change.get("kind") != "unchanged"]
    for change in shown:
        detail = f"  {change['detail']}" if change.get("detail") else ""
        click.echo(f"{_SIGNS.get(change['kind'], ' ')} {change['kind']} {change['subject']}{detail}")
    if not shown:
        click.echo(otherwise)
