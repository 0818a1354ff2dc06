"""Small tables for notebooks.

Whatever comes from data or definitions is escaped. There is no colour of its own, so that light and dark
themes both work, and nothing is loaded from anywhere.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# A line around the table in whatever colour the text has.
_TABLE = "border-collapse:collapse;margin:0.3em 0"
_CELL = "text-align:left;vertical-align:top;padding:0.15em 0.7em;border-bottom:1px solid currentColor"
_DIM = "opacity:0.65"


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """A value as HTML."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def dim(value: Any) -> Markup:
    """What is less important."""
    return Markup(f'<span style="{_DIM}">{text(value)}</span>')


def struck(value: Any) -> Markup:
    """What should no longer be used."""
    return Markup(f"<s>{text(value)}</s>")


def code(value: Any) -> Markup:
    """What is typed."""
    return Markup(f"<code>{text(value)}</code>")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table; cells are texts or markup."""
    cell = f'<td style="{_CELL}">'
    names = "".join(f'<th style="{_CELL}">{text(name)}</th>' for name in columns)
    lines = ("<tr>" + "".join(f"{cell}{text(value)}</td>" for value in row) + "</tr>" for row in rows)
    return Markup(
        f'<table style="{_TABLE}"><thead><tr>{names}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    )


def block(*parts: Any) -> str:
    """What a notebook shows: parts below each other."""
    shown = "".join(
        str(part) if part.startswith("<table") else f"<div>{part}</div>" for part in map(text, parts)
    )
    return f"<div>{shown}</div>"


def titled(title: str, *more: Any) -> Markup:
    """A title and what is said behind it."""
    said = " ".join(text(each) for each in more if each)
    return Markup(f"<b>{text(title)}</b> {said}")


def described(meta: Mapping[str, Any] | None) -> list[Markup]:
    """What the catalog keywords say, a line each."""
    meta = meta or {}
    lines = []
    if meta.get("deprecated"):
        why = f": {meta['deprecation_reason']}" if meta.get("deprecation_reason") else ""
        instead = f"; use {meta['replacement']}" if meta.get("replacement") else ""
        lines.append(text(f"deprecated{why}{instead}"))
    if meta.get("description"):
        lines.append(text(meta["description"]))
    tags = meta.get("tags") or {}
    named = tags.items() if isinstance(tags, Mapping) else ((tag, "") for tag in tags)
    pairs = [f"{tag}={value}" if value else str(tag) for tag, value in named]
    said = [f"owner {meta['owner']}"] if meta.get("owner") else []
    said += [f"project {meta['project']}"] if meta.get("project") else []
    said += [f"tags {', '.join(pairs)}"] if tags else []
    if said:
        lines.append(dim("; ".join(said)))
    return lines
