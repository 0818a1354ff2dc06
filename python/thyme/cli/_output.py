"""Rows on stdout or in a file, in the format asked for."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thyme._errors import InvalidDataError
from thyme._frames import rows_of
from thyme._values import json_ready

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

Rows = Sequence[Mapping[str, Any]]

# Wider than any table: what is not a terminal gets every column whole.
_PIPE_WIDTH = 100_000


def write_table(table: pa.Table, kind: str | None, output: str | None) -> None:
    """Prints or writes rows.

    Args:
        table: The rows.
        kind: `table`, `json`, `csv`, `parquet` or `arrow`; None: as the file's suffix says, else a table.
        output: The file; None means stdout.

    Raises:
        InvalidDataError: It cannot be written there, or is binary and stdout is a terminal.
    """
    from thyme._files import TEXT_FORMATS, FrameWriter, format_of

    if output is not None:
        kind = kind or (
            "table" if Path(output).suffix in ("", ".txt") else format_of(output, purpose="write")
        )
        if kind == "table":
            with open(output, "w", encoding="utf-8") as file:
                print_rows(rows_of(table), table.column_names, file=file)
            return
        with FrameWriter(output, kind) as writer:
            writer.write(table)
        return
    if kind is None or kind == "table":
        print_rows(rows_of(table), table.column_names)
        return
    out = sys.stdout.buffer
    as_text = TEXT_FORMATS.get(kind)
    if as_text is not None:
        out.write(as_text(table, True))
        if kind == "json":
            out.write(b"\n]\n" if table.num_rows else b"[]\n")
    elif out.isatty():
        raise InvalidDataError(f"{kind} is binary: give -o FILE, or send stdout to a file")
    else:
        _write_binary(table, kind, out)
    out.flush()


def _write_binary(table: pa.Table, kind: str, out: Any) -> None:
    import pyarrow as pa

    if kind == "arrow":
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        return
    import pyarrow.parquet as pq

    # Parquet needs to know its place in the file, which a pipe does not.
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    out.write(sink.getvalue().to_pybytes())


def print_json(value: Any) -> None:
    """Prints JSON to stdout."""
    click.echo(json.dumps(json_ready(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Rows, columns: Sequence[str], *, title: str | None = None, file: Any = None) -> None:
    """Prints a table; numbers to the right, null as such."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name in columns:
        numbers = any(_is_number(row.get(name)) for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell_text(row.get(name)), style=_style(row.get(name))) for name in columns])
    _console(file).print(table)


def cell_text(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "null"
    ready = json_ready(value)
    text = ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)
    # Data must not be able to move the cursor or to restyle the terminal.
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp", "Cs"):
        return character
    return repr(character)[1:-1]


def _style(value: Any) -> str:
    return "dim" if value is None else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _console(file: Any = None) -> Console:
    from rich.console import Console

    file = file or sys.stdout
    return Console(file=file, width=None if file.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
