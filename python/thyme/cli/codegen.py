"""`thyme codegen`: typed code from what is committed."""

from __future__ import annotations

from pathlib import Path

import click

from thyme._errors import ConflictError, InvalidDataError
from thyme.cli._app import open_client


@click.group()
def codegen() -> None:
    """Write typed code for what is committed."""


@codegen.command()
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The package to write; its files are replaced.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 2 if something would change.")
@click.pass_context
def python(ctx: click.Context, out: Path, check: bool) -> None:
    """Typed classes for the featuresets and datasets, which mypy and editors understand.

    DIR becomes a package: `from DIR.featuresets import DriverFeatures`, then
    `DriverFeatures.query(client, "d1", hour=23)` gives a typed dict.
    """
    import thyme
    from thyme._codegen import HEADER, python_package

    client = open_client(ctx)
    catalog = client.inspect()
    commit = catalog.get("commit")
    definitions = client.committed(commit)["definitions"] if commit else {}
    if not (catalog.get("datasets") or catalog.get("featuresets")):
        raise InvalidDataError("nothing is committed yet: there is nothing to write code for")
    files = python_package(catalog, definitions, thyme.__version__)
    before = {name: _read(out / name) for name in files}
    for name, text in before.items():
        if text and not text.startswith(HEADER):
            raise ConflictError(f'"{out / name}" was not written by this command; give another --out')
    changed = [name for name, text in files.items() if before[name] != text]
    if check:
        for name in changed:
            click.echo(f"would change {out / name}")
        ctx.exit(2 if changed else 0)
    out.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (out / name).write_text(files[name], encoding="utf-8")
    counts = f"{len(catalog['featuresets'])} featuresets, {len(catalog['datasets'])} datasets"
    click.echo(f"{out}: {counts} of commit {commit}" + ("" if changed else ", as they were"))


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
