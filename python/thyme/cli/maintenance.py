"""`thyme backup`, `thyme restore` and `thyme doctor`: the data directory."""

from __future__ import annotations

import importlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from thyme._errors import ThymeError, UnavailableError
from thyme._progress import progress
from thyme.cli._app import complain, open_client
from thyme.cli._output import print_json

if TYPE_CHECKING:
    from thyme.client import ThymeClient

_EXIT = {"intact": 0, "damaged": 1, "attention": 2}
#: The directory could not be looked at.
_EXIT_UNSEEN = 3
_COLOURS = {"intact": "green", "attention": "yellow", "damaged": "red"}
_POLL_S = 0.5


@click.command()
@click.argument("directory", type=click.Path())
@click.option("--data", metavar="DATA_DIR", help="Back up this data directory, which no server uses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def backup(ctx: click.Context, directory: str, data: str | None, as_json: bool) -> None:
    """Back up a running server, or a data directory that none uses.

    DIRECTORY is empty or has an earlier backup, of which only what changed is written. Of a running server it
    is an absolute path on the server's machine; pushes and reads go on meanwhile.
    """
    if data is not None:
        made = _native("backup", data, directory)
    else:
        made = _on_the_server(open_client(ctx), directory)
    if as_json:
        print_json(made)
        return
    click.echo(
        f"{made['directory']} holds everything up to {made['position']}: "
        f"{made['files']} files, {_size(made['bytes'])}, {_size(made['bytes_written'])} of it written now"
    )


@click.command()
@click.argument("directory", type=click.Path())
@click.option(
    "--data", metavar="NEW_DIR", required=True, help="The data directory to make; empty or not there."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restore(directory: str, data: str, as_json: bool) -> None:
    """Make a new data directory of the backup in DIRECTORY, after verifying all of it."""
    made = _native("restore", directory, data)
    if as_json:
        print_json(made)
        return
    click.echo(
        f"{made['data']} is as of {made['position']}, backed up {made['made']} ({_size(made['bytes'])}); "
        f"start it: thyme serve --data {made['data']}"
    )


@click.command()
@click.option(
    "--data", metavar="DIR", required=True, help="A data directory that no server uses, or a backup."
)
@click.option("--deep", is_flag=True, help="Also decode every record and every chunk.")
@click.option("--fix-store", is_flag=True, help="Set the store aside, so that the next start rebuilds it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, data: str, deep: bool, fix_store: bool, as_json: bool) -> None:
    """Say what is intact in a data directory or a backup, what is not, and what to do.

    Changes nothing unless told to. Exits with 0 when all is intact, 1 for damage, 2 when somebody should
    look, 3 when the directory cannot be examined.
    """
    try:
        if fix_store:
            aside = str(importlib.import_module("thyme._thyme").set_store_aside(data))
            if as_json:
                print_json({"set_aside": aside})
            else:
                click.echo(f"the store is now {aside}; the next start rebuilds it from the log")
            return
        found = _native("doctor", data, deep)
    except (ThymeError, RuntimeError) as error:
        complain(error.detail if isinstance(error, ThymeError) else str(error))
        ctx.exit(_EXIT_UNSEEN)
    if as_json:
        print_json(found)
    else:
        _print_findings(found)
    ctx.exit(_EXIT[found["health"]])


def _print_findings(found: Mapping[str, Any]) -> None:
    for finding in found["findings"]:
        word = click.style(f"{finding['health']:<9}", fg=_COLOURS[finding["health"]])
        click.echo(f"{word}  {finding['part']:<9}  {finding['what']}")
        if finding["action"]:
            click.echo(f"{'':22}to do: {finding['action']}")


def _native(name: str, *arguments: Any) -> dict[str, Any]:
    """Calls the native module; an interrupt ends it at once, and what it began is marked as unfinished."""
    function = getattr(importlib.import_module("thyme._thyme"), name)
    with progress(name, unit="bytes") as advance, _interruptible():
        try:
            content: dict[str, Any] = json.loads(function(*arguments, _steps(advance)))
        except RuntimeError as error:
            raise UnavailableError(str(error)) from None
    return content


@contextmanager
def _interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _steps(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """Turns how much is done into how much was done since."""
    before = 0

    def watch(done: int, total: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return watch


def _on_the_server(client: ThymeClient, directory: str) -> dict[str, Any]:
    """Asks for the backup and shows how far it is."""
    answer: dict[str, Any] = {}
    fault: list[BaseException] = []

    def ask() -> None:
        try:
            answer.update(client.backup(directory))
        except BaseException as error:  # raised again below, in the thread that waits
            fault.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    with progress("backup", unit="bytes") as advance:
        watch = _steps(advance)
        asking.join(_POLL_S)
        while asking.is_alive():
            try:
                state = client.status().get("backup") or {}
                watch(state.get("done", 0), state.get("total", 0))
            except ThymeError:
                pass  # the answer to the backup itself says what is wrong
            asking.join(_POLL_S)
    if fault:
        raise fault[0]
    return answer


def _size(count: int) -> str:
    size, units = float(count), iter(("bytes", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
