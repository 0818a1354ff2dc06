"""The group of commands, and what becomes of an error."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from thyme._errors import ThymeError, fault_lines

if TYPE_CHECKING:
    from thyme.client import ThymeClient

# Where each command lives; nothing is imported before it is called.
COMMANDS = {
    "serve": "thyme.cli.serve:serve",
    "commit": "thyme.cli.commit:commit",
    "plan": "thyme.cli.commit:plan",
    "retire": "thyme.cli.commit:retire",
    "rollback": "thyme.cli.commit:rollback",
    "history": "thyme.cli.history:history",
    "diff": "thyme.cli.history:diff",
    "status": "thyme.cli.state:status",
    "logs": "thyme.cli.state:logs",
    "inspect": "thyme.cli.inspect:inspect",
    "log": "thyme.cli.log:log",
    "query": "thyme.cli.query:query",
    "query-offline": "thyme.cli.offline:query_offline",
    "jobs": "thyme.cli.jobs:jobs",
    "rebuild": "thyme.cli.offline:rebuild",
    "lookup": "thyme.cli.query:lookup",
    "erase": "thyme.cli.erase:erase",
    "late": "thyme.cli.left_out:late",
    "duplicates": "thyme.cli.left_out:duplicates",
    "dead-letters": "thyme.cli.left_out:dead_letters",
    "keys": "thyme.cli.keys:keys",
    "query-runs": "thyme.cli.query_runs:query_runs",
    "backup": "thyme.cli.maintenance:backup",
    "restore": "thyme.cli.maintenance:restore",
    "doctor": "thyme.cli.maintenance:doctor",
    "verify": "thyme.cli.audit:verify",
    "explain": "thyme.cli.audit:explain",
    "codegen": "thyme.cli.codegen:codegen",
    "discover": "thyme.cli.discover:discover",
    "login": "thyme.cli.login:login",
    "logout": "thyme.cli.login:logout",
    "version": "thyme.cli.login:version",
}


# Whether an error is printed as JSON, in the context of a command and those around it.
_AS_JSON = "thyme.cli.as_json"
# What an error's JSON says, where it is none of the server's or the client's.
_USAGE, _FILE, _INTERNAL = "usage", "file", "internal"


class _Commands(click.Group):
    """Imports a command when it is asked for, and turns errors into one sentence and exit code 1.

    With `--json` the error is on stdout, too, as the server writes one: `error`, `detail`, `faults`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_AS_JSON] = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _usage(ctx, error) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _usage(ctx, error) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            ctx.exit(130)
        except ThymeError as error:
            report(error)
            _print_error(ctx, error.code, error.detail, error.faults)
        except OSError as error:
            where = f' "{error.filename}"' if error.filename else ""
            _fail(ctx, _FILE, f"cannot use{where or ' a file'}: {error.strerror or error}")
        except ImportError as error:
            _fail(ctx, _INTERNAL, f"{error}; is Thyme installed with its native module (pip install .)?")
        except Exception as error:
            if os.environ.get("THYME_DEBUG"):
                raise
            text = " ".join(str(error).split())
            told = f"{type(error).__name__}: {text} (this is a fault of Thyme; THYME_DEBUG=1 shows where)"
            _fail(ctx, _INTERNAL, told)
        ctx.exit(1)


def _usage(ctx: click.Context, error: click.UsageError) -> click.UsageError:
    """The error with the exit code of all errors: 2 says that something would change, of a plan."""
    vars(error)["exit_code"] = 1
    _print_error(ctx, _USAGE, error.format_message(), ())
    return error


def _fail(ctx: click.Context, code: str, sentence: str) -> None:
    complain(sentence)
    _print_error(ctx, code, sentence, ())


def _print_error(ctx: click.Context, code: str, detail: str, faults: Sequence[Mapping[str, Any]]) -> None:
    """Prints an error to stdout where `--json` is given: a script that reads it need not look elsewhere."""
    if not ctx.meta.get(_AS_JSON):
        return
    from thyme.cli._output import print_json

    print_json({"error": code, "detail": detail, "faults": list(faults)})


def report(error: ThymeError) -> None:
    """Prints an error's sentence to stderr, its faults indented below."""
    complain(error.detail)
    for line in fault_lines(error):
        click.echo(line, err=True)


def complain(sentence: str) -> None:
    """Prints a sentence to stderr."""
    click.secho(sentence, fg="red", err=True)


def open_client(ctx: click.Context) -> ThymeClient:
    """The client of the server in effect; closed when the command ends."""
    from thyme._config import Config
    from thyme.client import ThymeClient

    url = ctx.find_root().params.get("url")
    return ctx.with_resource(ThymeClient(Config.load(api_url=url)))


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning as a sentence, without the place in the code that `warnings` adds."""
    click.secho(f"warning: {message}", fg="yellow", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url", metavar="URL", help="The server's base URL (else THYME_API_URL, .thyme.yaml, thyme login)."
)
def main(url: str | None) -> None:
    """Thyme: features from events, exact at any time."""
    del url  # `open_client` takes it from the context
    if not sys.warnoptions:
        import warnings

        warnings.showwarning = show_warning
