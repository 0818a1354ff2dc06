"""`thyme serve`: the whole system in one process."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import click

from thyme._errors import ConfigError, ThymeError, UnavailableError

DEFAULTS = {"data": "thyme-data", "listen": "127.0.0.1:8080", "clock": "wall"}


@click.command()
@click.option("--data", metavar="DIR", help=f"The data directory.  [default: {DEFAULTS['data']}]")
@click.option("--listen", metavar="HOST:PORT", help=f"Where to answer.  [default: {DEFAULTS['listen']}]")
@click.option("--config", "config_path", metavar="FILE", help="A YAML file with these options and more.")
@click.option(
    "--clock", metavar="wall|event=A,B", help="What now is: the clock, or the largest event time of datasets."
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="How much memory to take, such as 2GiB.  [default: half of the machine's]",
)
@click.option("--shards", type=click.IntRange(1), help="How many shards; the default suits the machine.")
@click.option(
    "--backfill-cores",
    type=click.IntRange(1),
    help="How many cores new pipelines are filled from the log with.  [default: half of them]",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    help="How many connections to hold at once.  [default: as open files allow, 4096 at most]",
)
@click.option(
    "--tls-cert", metavar="FILE", help="The server's certificate, and those above it (PEM): answer HTTPS."
)
@click.option("--tls-key", metavar="FILE", help="The private key of the certificate (PEM).")
@click.option(
    "--verify-every",
    metavar="SPAN",
    help="How often some values are computed again from the log; 0 is never.  [default: 1m]",
)
def serve(
    data: str | None,
    listen: str | None,
    config_path: str | None,
    clock: str | None,
    memory: str | None,
    shards: int | None,
    backfill_cores: int | None,
    max_connections: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    verify_every: str | None,
) -> None:
    """Run the server until it is stopped."""
    given = {
        "data": data,
        "listen": listen,
        "clock": clock,
        "memory": memory,
        "shards": shards,
        "backfill_cores": backfill_cores,
        "max_connections": max_connections,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "verify_every": verify_every,
    }
    options = options_from(given, config_path)
    native: Any = importlib.import_module("thyme._thyme")
    host: Any = importlib.import_module("thyme._host")
    _print_banner(options)
    try:
        native.serve(json.dumps(options), host.Host())
    except ThymeError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise UnavailableError(_sentence(str(error), config_path)) from None


def _sentence(said: str, config_path: str | None) -> str:
    """What the server says about its options, about the file they came from and not about the JSON."""
    text = " ".join(said.split())
    if config_path is None or not text.startswith("options: "):
        return text
    return f"{config_path}: {re.sub(r' at line [0-9]+ column [0-9]+$', '', text.removeprefix('options: '))}"


def options_from(given: dict[str, Any], config_path: str | None) -> dict[str, Any]:
    """The options of the server: what is typed, then the file, then the defaults.

    What only the server knows of is passed on; it refuses what it does not know.

    Raises:
        ConfigError: The file cannot be read, or a value makes no sense.
    """
    options: dict[str, Any] = {**DEFAULTS}
    if config_path is not None:
        options.update(_read_config(Path(config_path)))
    options.update({name: value for name, value in given.items() if value is not None})
    options["data"] = str(options["data"])
    if "memory" in options:
        options["memory"] = str(options["memory"])
    options["listen"] = _address(options["listen"])
    return options


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f'cannot read "{path}": {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where} is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path} should hold options such as `listen: {DEFAULTS['listen']}`, one a line")
    return {name: value for name, value in content.items() if value is not None}


def _address(listen: Any) -> str:
    text = str(listen)
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(
            f'"{text}" is not an address to listen on: expected HOST:PORT such as {DEFAULTS["listen"]}'
        )
    return text


def _print_banner(options: dict[str, Any]) -> None:
    from thyme.cli.login import version_text

    host, _, port = options["listen"].rpartition(":")
    shown = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host)
    click.echo(f"Thyme {version_text()}", err=True)
    scheme = "https" if "tls_cert" in options else "http"
    click.echo(f"  url    {scheme}://{shown}:{port}", err=True)
    click.echo(f"  data   {Path(options['data']).resolve()}", err=True)
    click.echo(f"  clock  {options['clock']}", err=True)
