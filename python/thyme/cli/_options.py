"""What is typed on the command line, as the client takes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from thyme._errors import InvalidDataError
from thyme._steps import run

if TYPE_CHECKING:
    from thyme.client import ThymeClient

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "parquet", "arrow")


def output_options(command: Command) -> Command:
    """Adds `-f` and `-o`."""
    command = click.option(
        "-o", "--output", type=click.Path(dir_okay=False), help="Write to this file instead of stdout."
    )(command)
    return click.option(
        "-f",
        "--format",
        "kind",
        type=click.Choice(FORMATS),
        help="Default: as the file's suffix says, else table.",
    )(command)


def feature_option(command: Command) -> Command:
    """Adds `--feature`."""
    return click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="NAME|ID",
        help="Only this feature, by name or id; may be repeated.",
    )(command)


def position_options(command: Command) -> Command:
    """Adds `--min-position`, `--position` and `--wait-ms`."""
    command = click.option(
        "--wait-ms",
        type=click.IntRange(0, 60_000),
        help="How long to wait for a position, in milliseconds.  [default: 10000]",
    )(command)
    command = click.option("--position", help="Read the state as it was known at this position.")(command)
    return click.option("--min-position", help="Wait until this position is visible (a push prints it).")(
        command
    )


def time_option(text: str | None) -> str | float | None:
    """A time as typed: ISO 8601, or seconds since the epoch."""
    if text is None or not re.fullmatch(r"[+-]?\d+(\.\d+)?", text) or re.fullmatch(r"\d{4}", text):
        return text
    return float(text) if "." in text else int(text)


def entity_ids(client: ThymeClient, name: str, texts: Sequence[str]) -> list[Any]:
    """Entity ids as typed: a value, or `k1=v1,k2=v2` (or a JSON object) for a composite key.

    Raises:
        NotFoundError: Nothing is committed as `name`.
        InvalidDataError: A text does not fit the key.
    """
    types = client._catalog_of(name).key_types(name)
    if types is None:
        if not client.status().get("backfill"):
            client.inspect(name)  # raises, with the names that come near
        return [_pending_id(client, name, text) for text in texts]
    if len(types) == 1:
        ((key, kind),) = types.items()
        return [
            typed(text.removeprefix(f"{key}=") if kind != "str" else text, kind, f"-e {text}")
            for text in texts
        ]
    return [_composite(text, types) for text in texts]


def key_types(client: ThymeClient, name: str) -> dict[str, str]:
    """The key of a featureset or dataset: each field's type, in order.

    Raises:
        NotFoundError: Nothing is committed as `name`.
    """
    types = client._catalog_of(name).key_types(name)
    if types is None:
        client.inspect(name)  # raises, with the names that come near
    return types or {}


def _pending_id(client: ThymeClient, name: str, text: str) -> Any:
    """An entity id of a featureset that only the pending commit has: the server alone knows its key.

    Raises:
        NotFoundError: That commit has no such featureset either.
    """
    return run(client._session.fetch("/features", {"featureset": name, "entity_id": text}))["entity_id"]


def pending_dataset(client: ThymeClient, name: str, text: str) -> Mapping[str, Any] | None:
    """What is said of a dataset that only the pending commit has; None of any other."""
    if client._catalog_of(name).key_types(name) is not None or not client.status().get("backfill"):
        return None
    answer = run(client._session.fetch("/features", {"entity_type": name, "entity_id": text}))
    incomplete: Mapping[str, Any] | None = (answer.get("meta") or {}).get("incomplete")
    return incomplete


def request_inputs(client: ThymeClient, name: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`--input k=v`, typed as the featureset's features are."""
    types = client._catalog_of(name).types(name) if pairs else {}
    inputs: dict[str, Any] = {}
    for pair in pairs:
        feature, equals, text = pair.partition("=")
        if not equals:
            raise InvalidDataError(f'--input "{pair}" should be NAME=VALUE')
        inputs[feature] = typed(text, types.get(feature, "str"), f"--input {pair}")
    return inputs


def typed(text: str, kind: str, place: str) -> Any:
    """A text as a value of a type; texts and times stay as they are.

    Raises:
        InvalidDataError: It is none.
    """
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "datetime":
            return time_option(text)
        is_text = kind in ("str", "date", "bytes") or kind.startswith("decimal(")
        return text if is_text else json.loads(text)
    except (ValueError, KeyError):
        raise InvalidDataError(f'{place}: "{text}" is not of type {kind}') from None


def _composite(text: str, types: dict[str, str]) -> dict[str, Any]:
    wanted = ",".join(f"{name}=..." for name in types)
    if text.startswith("{"):
        try:
            values = json.loads(text)
        except ValueError:
            raise InvalidDataError(f"-e {text}: not JSON") from None
        given = {str(name): value for name, value in values.items()}
    else:
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(equals for _, equals, _ in pairs):
            raise InvalidDataError(f"-e {text}: the key is composite; write {wanted} or a JSON object")
        given = {name: value for name, _, value in pairs}
    if set(given) != set(types):
        raise InvalidDataError(f"-e {text}: the key is ({', '.join(types)}); write {wanted} or a JSON object")
    return {
        name: typed(given[name], kind, f"-e {text}") if isinstance(given[name], str) else given[name]
        for name, kind in types.items()
    }
