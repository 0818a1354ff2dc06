"""How datasets and featuresets look in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thyme._html import block, described, dim, struck, table, text, titled
from thyme._native import parse_window


def dataset_html(body: Mapping[str, Any]) -> str:
    """A dataset from its document: its fields, and what derives it."""
    aggregates = {
        each["name"]: each
        for pipeline in body.get("pipelines") or ()
        for operator in pipeline["operators"]
        for each in operator.get("aggregates") or ()
    }
    rows = []
    for field in body["fields"]:
        role = field.get("role", "value")
        made = aggregates.get(field["name"])
        what = _aggregate(made) if made is not None else "" if role == "value" else role
        if field.get("default") is not None:
            what = f"default {_literal(field['default'])}"
        rows.append([_name(field), _type(field), what])
    settings = [
        f"{name} {body[name]}" for name in ("max_lateness", "max_future_skew", "retention") if body.get(name)
    ]
    settings += ["indexed"] if body.get("index") else []
    settings += [f"{name} {body[name]}" for name, usual in _USUAL if body.get(name, usual) != usual]
    pipelines = [
        f"{each['name']}, version {each.get('version', 1)}, from {', '.join(each['inputs'])}"
        for each in body.get("pipelines") or ()
    ]
    title = titled(body["name"], dim(f"dataset, version {body.get('version', 1)}"))
    more = [dim("; ".join(settings))] if settings else []
    return block(
        title,
        *described(body.get("meta")),
        table(["field", "type", ""], rows),
        *[dim(f"pipeline {each}") for each in pipelines],
        *more,
    )


_USUAL = (("extra", "forbid"), ("on_error", "refuse"), ("on_violation", "observe"))


def featureset_html(body: Mapping[str, Any], extractors: Mapping[str, str]) -> str:
    """A featureset from its document.

    Args:
        body: The document.
        extractors: By feature: the extractor that gives it, and its version.
    """
    rows = []
    for feature in body["features"]:
        meta = feature.get("meta") or {}
        reference = feature.get("ref")
        if reference:
            source = f"{reference['dataset']}.{reference['field']}"
        elif feature.get("request"):
            source = "given with each query"
        else:
            source = extractors.get(feature["name"], "the entity")
        if feature.get("default") is not None:
            source += f", default {_literal(feature['default'])}"
        said = meta.get("description") or ""
        if meta.get("deprecated"):
            instead = f", use {meta['replacement']}" if meta.get("replacement") else ""
            said = f"deprecated{instead}. {said}".rstrip()
        rows.append([feature.get("id") or dim("at commit"), _name(feature), _type(feature), source, said])
    title = titled(body["name"], dim("featureset"))
    return block(title, *described(body.get("meta")), table(["id", "feature", "type", "from", ""], rows))


def shown_in_notebooks(cls: type, html: Callable[[], str]) -> None:
    """Has notebooks show a class like this, unless it says how itself."""
    if "_repr_html_" not in vars(cls):
        # Of a class IPython takes a class method only.
        cls._repr_html_ = classmethod(lambda cls: html())  # type: ignore[attr-defined]


def _name(member: Mapping[str, Any]) -> Any:
    is_old = (member.get("meta") or {}).get("deprecated")
    return struck(member["name"]) if is_old else text(member["name"])


def _type(member: Mapping[str, Any]) -> str:
    return f"{member['type']} | None" if member.get("optional") else str(member["type"])


def _literal(value: Any) -> str:
    return repr(value.get("lit")) if isinstance(value, Mapping) else repr(value)


def _window(window: Any) -> str:
    return window if isinstance(window, str) else parse_window(window)[1]


def _aggregate(each: Mapping[str, Any]) -> str:
    of = f" of {each['of']}" if each.get("of") else ""
    over = f" over {_window(each['window'])}" if each.get("window") else ""
    where = ", where ..." if each.get("where") else ""
    said = "".join(f", {name} {value}" for name, value in (each.get("parameters") or {}).items())
    return f"{each['function']}{of}{over}{said}{where}"
