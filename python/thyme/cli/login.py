"""`thyme login`, `thyme logout` and `thyme version`."""

from __future__ import annotations

import click

from thyme.cli._app import complain


@click.command()
@click.option("--url", help="The server's base URL; default: the one in effect.")
@click.option("--api-key", prompt="API key", hide_input=True, help="The key; asked for if it is not given.")
@click.pass_context
def login(ctx: click.Context, url: str | None, api_key: str) -> None:
    """Keep a server's URL and key in ~/.thyme/credentials, readable by you only.

    A key that the server refuses is not kept.
    """
    from thyme._config import Config, save_credentials
    from thyme._errors import ConnectionFailed
    from thyme.client import ThymeClient

    url = url or ctx.find_root().params.get("url")
    config = Config(api_url=url or Config.load().api_url, api_key=api_key.strip())
    try:
        with ThymeClient(config) as client:
            client.status()
    except ConnectionFailed as error:
        complain(f"the key was not checked: {error.detail}")
    path = save_credentials(config.api_url, api_key.strip())
    click.echo(f"logged in to {config.api_url} ({path})")


@click.command()
def logout() -> None:
    """Remove ~/.thyme/credentials."""
    from thyme._config import credentials_path

    path = credentials_path()
    if path.exists():
        path.unlink()
        click.echo(f"removed {path}")
    else:
        click.echo("not logged in")


@click.command()
def version() -> None:
    """The version of Thyme."""
    click.echo(f"thyme {version_text()}")


def version_text() -> str:
    """The version of this installation."""
    from thyme import __version__

    return __version__
