"""`thyme commit`: definitions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from thyme._errors import ConflictError, InvalidDefinitionError, NotFoundError
from thyme._plan import EFFECTS
from thyme._progress import progress
from thyme.cli._app import open_client
from thyme.cli._output import print_json
from thyme.cli._preview import print_cost, print_values
from thyme.cli._references import modules_at, modules_named

if TYPE_CHECKING:
    from thyme.client import ThymeClient

# How often a commit that is pending is looked at.
_LOOK_S = 0.2
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
@click.option("--no-wait", is_flag=True, help="Do not wait until new pipelines are filled from the log.")
@click.option("--cancel", is_flag=True, help="Instead: give up the commit that is pending.")
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
    no_wait: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Validate definitions and make them live.

    PATH is a Python file, or a folder whose Python files (but tests) are all taken. Nothing is committed if
    somebody else commits while this runs, or has since --base.
    """
    if cancel:
        cancelled = open_client(ctx).cancel_commit()
        if as_json:
            print_json({"cancelled": cancelled})
        else:
            click.echo(f"commit {cancelled} was cancelled; nothing of it is live")
        return
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
            wait=wait_sources or dry_run,
        )
    if not (dry_run or no_wait):
        answer = until_live(client, answer)
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
        _print_beginnings(answer)
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


@click.command()
@click.argument("commit_id", metavar="COMMIT")
@click.option("--message", metavar="TEXT", help="Why, for thyme history.")
@click.option("--author", metavar="NAME", help="Who; else THYME_AUTHOR, or this machine's user.")
@click.option("--no-wait", is_flag=True, help="Do not wait until pipelines are filled from the log.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.pass_context
def rollback(
    ctx: click.Context,
    commit_id: str,
    message: str | None,
    author: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Make the definitions of an earlier commit hold again, as a new commit.

    COMMIT is the one to go back to, as thyme history lists it. What was added since is served no more; ids
    and names that were ended since stay so.
    """
    client = open_client(ctx)
    with progress("rolling back"):
        answer = client.rollback(commit_id, message=message, author=author, wait=False)
    if not no_wait:
        answer = until_live(client, answer)
    if as_json:
        print_json(answer)
        return
    _print(answer, dry_run=False)


def until_live(client: ThymeClient, answer: dict[str, Any]) -> dict[str, Any]:
    """Waits until a commit that is pending is live, with a bar of how far it is.

    Raises:
        ConflictError: It was cancelled, or could not be filled.
    """
    pending = answer.get("pending")
    if not pending:
        return answer
    with progress("filling pipelines", pending["of"], "records") as advance:
        done, pause = 0, _LOOK_S / 16
        while pending and pending["commit"] == answer["commit"]:
            advance(pending["record"] - done)
            done = pending["record"]
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_S)
            pending = client.status()["backfill"]
    try:
        live = client.committed(answer["commit"])
    except NotFoundError:
        raise ConflictError(
            f"commit {answer['commit']} is not live: it was cancelled, or could not be filled; see thyme logs"
        ) from None
    return {**answer, "position": live["position"], "pending": None}


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
    _print_beginnings(answer)
    if dry_run:
        click.echo(f"valid: {counts} (dry run, nothing was committed)")
    else:
        click.echo(f"commit {answer.get('commit')}: {counts}")
        pending = answer.get("pending")
        if pending:
            click.echo(
                f"pending: its pipelines have record {pending['record']} of {pending['of']};"
                " thyme status says how far it is, thyme commit --cancel gives it up"
            )
        elif answer.get("changed"):
            click.echo(f"live at {answer.get('position')}")


def _print_beginnings(answer: Mapping[str, Any]) -> None:
    """Prints which datasets the log does not fill from their beginning."""
    for name, begins in (answer.get("history_from") or {}).items():
        click.echo(f"  {name} has history from {begins}: older events have left the log")


def print_changes(changes: Sequence[Mapping[str, Any]], otherwise: str) -> None:
    """Prints changes, one a line, and of what stays only what there is to say about it."""
    for change in changes:
        if change.get("kind") == "unchanged" and not change.get("detail"):
            continue
        detail = f"  {change['detail']}" if change.get("detail") else ""
        means = EFFECTS.get(change.get("effect") or "none")
        effect = f"  [{means}]" if means else ""
        click.echo(f"{_SIGNS.get(change['kind'], ' ')} {change['kind']} {change['subject']}{detail}{effect}")
    if all(change.get("kind") == "unchanged" for change in changes):
        click.echo(otherwise)
