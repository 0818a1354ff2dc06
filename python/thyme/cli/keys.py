"""`thyme keys`: who may do what on a server."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from thyme._errors import UnavailableError
from thyme.cli._app import open_client
from thyme.cli._output import print_json, print_rows
from thyme.cli._references import resolve

ROLES = ("read", "write", "commit", "admin")
_DATA = click.option("--data", metavar="DIR", help="In this data directory, which no server uses.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """API keys: make, list and revoke them, on the server or with --data in a directory that none uses.

    A server without any key answers its own machine only, and needs none.
    """


@keys.command()
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    required=True,
    help="What it may do; may be given several times. commit also reads, admin does everything.",
)
@click.option(
    "--featureset",
    "featuresets",
    multiple=True,
    metavar="REF",
    help="It reads this featureset alone; may be given several times.",
)
@click.option("--rate", metavar="N/s", help="How often it may ask, such as 100/s, 600/m or 5000/h.")
@click.option("--expires", metavar="SPAN", help="For how long it opens anything, such as 12h or 90d.")
@click.option("--name", help="What it is for.")
@_DATA
@_JSON
@click.pass_context
def create(
    ctx: click.Context,
    roles: tuple[str, ...],
    featuresets: tuple[str, ...],
    rate: str | None,
    expires: str | None,
    name: str | None,
    data: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it, once: nobody can show it again.

    The key alone is on stdout, everything else on stderr.
    """
    from thyme._access_calls import wanted_key

    names = [resolve(each) for each in featuresets]
    if data is not None:
        made = _offline("create_key", data, json.dumps(wanted_key(roles, name, names, rate, expires)))
    else:
        made = open_client(ctx).create_key(roles, name=name, featuresets=names, rate=rate, expires=expires)
    if as_json:
        print_json(made)
        return
    click.echo(f"key {made['id']} {_may(made)}; it is shown only now:", err=True)
    click.echo(made["key"])


@keys.command("list")
@_DATA
@_JSON
@click.pass_context
def list_(ctx: click.Context, data: str | None, as_json: bool) -> None:
    """The keys, newest first, and what each may do; never their texts."""
    found: Sequence[Mapping[str, Any]] = (
        _offline("list_keys", data)["keys"] if data is not None else open_client(ctx).api_keys()
    )
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        click.echo("there is no key: the server answers its own machine only, and everybody there", err=True)
        return
    rows = [{**key, **{name: ", ".join(key[name]) for name in ("roles", "featuresets")}} for key in found]
    always = ("id", "name", "roles")
    seldom = ("featuresets", "rate", "created", "created_by", "expires", "used", "revoked", "revoked_by")
    print_rows(rows, [*always, *(name for name in seldom if any(row.get(name) for row in rows))])


@keys.command()
@click.argument("key_id", metavar="ID")
@_DATA
@_JSON
@click.pass_context
def revoke(ctx: click.Context, key_id: str, data: str | None, as_json: bool) -> None:
    """Revoke the key ID (the eight digits that `thyme keys list` shows): it opens nothing from now on."""
    if data is not None:
        revoked = _offline("revoke_key", data, key_id)
    else:
        revoked = open_client(ctx).revoke_key(key_id)
    if as_json:
        print_json(revoked)
        return
    click.echo(f"revoked key {revoked['id']}")


def _may(key: Mapping[str, Any]) -> str:
    """What a key may do, as half a sentence."""
    parts = [f"has the role {' and '.join(key['roles'])}"]
    if key["featuresets"]:
        parts.append(f"reads {', '.join(key['featuresets'])} alone")
    if key["rate"]:
        parts.append(f"may ask {key['rate']}")
    if key["expires"]:
        parts.append(f"opens nothing from {key['expires']} on")
    return ", ".join(parts)


def _offline(name: str, data: str, *arguments: str) -> dict[str, Any]:
    function = getattr(importlib.import_module("thyme._thyme"), name)
    try:
        content: dict[str, Any] = json.loads(function(str(Path(data)), *arguments))
    except RuntimeError as error:
        raise UnavailableError(str(error)) from None
    return content
