"""`thyme discover`: a draft of definitions from a file."""

from __future__ import annotations

from pathlib import Path

import click

from thyme._errors import ConflictError
from thyme._progress import progress


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here, not to stdout."
)
@click.option("--name", metavar="NAME", help="The dataset's name.  [default: from the file's]")
@click.option("--key", multiple=True, metavar="COLUMN", help="The entity's key; several for a composite key.")
@click.option("--timestamp", metavar="COLUMN", help="The event time.")
@click.option(
    "--no-source",
    is_flag=True,
    help="Draft a dataset that is pushed to (thyme log), not one that reads FILE.",
)
def discover(
    source: Path,
    output: Path | None,
    name: str | None,
    key: tuple[str, ...],
    timestamp: str | None,
    no_source: bool,
) -> None:
    """Draft definitions for a Parquet, CSV or JSONL file of events.

    The draft has a dataset with the file's columns, a pipeline and a featureset, and can be committed as it
    is (thyme commit). The key and the event time are guessed unless they are given; comments say so.
    """
    from thyme._draft import Choices, draft
    from thyme._profile import profile

    if output is not None and output.exists():
        raise ConflictError(f'"{output}" is already there; give another -o, or remove it')
    with progress(f"{source}: reading") as advance:
        found = profile(source, advance)
    text = draft(found, Choices(name, key, timestamp, with_source=not no_source))
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    click.echo(f"{output}: a draft from {found.rows:,} rows; look at it, then: thyme commit {output}")
