"""`thyme history` and `thyme diff`: the commits."""

from __future__ import annotations

import click

from thyme.cli._app import open_client
from thyme.cli._output import print_json, print_rows
from thyme.cli.commit import print_changes


@click.command()
@click.argument("commit", required=False)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="The most commits to show."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def history(ctx: click.Context, commit: str | None, limit: int, as_json: bool) -> None:
    """The commits, newest first; with COMMIT (an id, the beginning of one, or latest) that one, whole."""
    client = open_client(ctx)
    if commit is not None:
        print_json(client.committed(commit))
        return
    commits = list(client.history(limit))
    if as_json:
        print_json(commits)
    elif commits:
        print_rows(commits, ("commit", "time", "author", "message", "position"))
    else:
        click.echo("nothing is committed yet", err=True)


@click.command()
@click.argument("from_commit", metavar="[FROM]", required=False)
@click.argument("to_commit", metavar="[TO]", default="latest")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, from_commit: str | None, to_commit: str, as_json: bool) -> None:
    """What the commit TO has otherwise than FROM: by default what the newest one changed.

    A commit is an id, the beginning of one, latest, or none for nothing at all.
    """
    answer = open_client(ctx).diff(from_commit, to_commit)
    if as_json:
        print_json(answer)
        return
    click.echo(f"{answer['from']} -> {answer['to']}")
    print_changes(answer["changes"], "they are the same")
