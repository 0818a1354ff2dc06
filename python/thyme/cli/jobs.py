"""`thyme jobs`: training sets that the server computes by itself."""

from __future__ import annotations

import click

from thyme.cli._app import open_client
from thyme.cli._options import output_options
from thyme.cli._output import print_json, print_rows, write_table

_COLUMNS = ("id", "status", "featureset", "rows_done", "rows", "since", "ended", "bytes")


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def jobs(ctx: click.Context, as_json: bool) -> None:
    """Training sets that the server computes by itself (query-offline --background); alone, all of them."""
    if ctx.invoked_subcommand is not None:
        return
    found = open_client(ctx).offline_jobs()
    if as_json:
        print_json(found)
    elif found:
        print_rows(found, _COLUMNS)
    else:
        click.echo("there are no jobs", err=True)


@jobs.command()
@click.argument("job")
@click.pass_context
def show(ctx: click.Context, job: str) -> None:
    """How far JOB is, as JSON."""
    print_json(open_client(ctx).offline_job(job))


@jobs.command()
@click.argument("job")
@click.option("--no-wait", is_flag=True, help="Fail if it is not done, instead of waiting for it.")
@click.option("--memory", metavar="SIZE", help="What the rows that are fetched may take; default 512MiB.")
@output_options
@click.pass_context
def result(
    ctx: click.Context, job: str, no_wait: bool, memory: str | None, kind: str | None, output: str | None
) -> None:
    """The training set of JOB, once it is done."""
    from thyme.cli.offline import written_directly

    direct = written_directly(kind, output)
    fetched = open_client(ctx).offline_result(job, output=direct, wait=not no_wait, memory=memory)
    if direct is None:
        write_table(fetched.to_arrow(), kind, output)


@jobs.command()
@click.argument("job")
@click.pass_context
def cancel(ctx: click.Context, job: str) -> None:
    """Ends JOB, whatever it is at, and removes its labels and its result."""
    open_client(ctx).cancel_offline(job)
    click.echo(f"{job} is cancelled")
