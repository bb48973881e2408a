"""`sluice`: the group of all commands, and their errors as one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sluice.cli import (
    audit,
    backups,
    datasets,
    dead_letters,
    inference,
    ingestions,
    keys,
    load,
    local_cloud,
    queries,
    subscriptions,
)
from sluice.cli.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PIPE_CLOSED,
    EXIT_USAGE,
    examples,
)
from sluice.cli.outcome import error_code, sentence
from sluice.cli.output import reason_of
from sluice.errors import SluiceError

COMMANDS = (
    *local_cloud.COMMANDS,
    load.load,
    inference.infer,
    ingestions.watch,
    datasets.datasets,
    datasets.rows,
    queries.query,
    ingestions.ingestions,
    ingestions.rejects,
    ingestions.duplicates,
    ingestions.output,
    ingestions.verify,
    ingestions.cancel,
    ingestions.retry,
    ingestions.undo,
    ingestions.redo,
    backups.backup,
    backups.backups,
    backups.restore,
    backups.compare,
    subscriptions.subscribe,
    subscriptions.subscriptions,
    subscriptions.unsubscribe,
    keys.keys,
    dead_letters.dead_letters,
    audit.audit,
)


class FailedCommandError(click.ClickException):
    """The command failed; prints one sentence on stderr."""

    exit_code = EXIT_FAILED


class WrongRequestError(FailedCommandError):
    """The API refused the request as wrong; prints one sentence on stderr."""

    exit_code = EXIT_USAGE


class Commands(click.Group):
    """Built-in commands in the order of their use, and the verbs of queries."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the built-in commands."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a built-in command, else one that a query declares."""
        found = super().get_command(ctx, cmd_name)
        if found is not None or ctx.resilient_parsing:
            return found
        return queries.find_verb(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn any error into one sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            is_usage = error_code(error) == EXIT_USAGE
            kind = WrongRequestError if is_usage else FailedCommandError
            raise kind(sentence(error)) from error
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _discard_output()
            ctx.exit(EXIT_PIPE_CLOSED)
        except OSError as error:
            if os.environ.get("SLUICE_DEBUG"):
                raise
            _discard_output()
            raise FailedCommandError(f"{error.filename or 'output'}: {reason_of(error)}") from error
        except Exception as error:
            if os.environ.get("SLUICE_DEBUG"):
                raise
            raise FailedCommandError(
                f"unexpected {type(error).__name__}: {error};"
                " this is a bug; set SLUICE_DEBUG=1 for a traceback"
            ) from error


def _default_url() -> str:
    """Return the address of the local cloud that was started last, else its default address."""
    from sluice.local.state import State, default_root  # noqa: PLC0415  # not needed if an address is given

    return f"http://localhost:{State(default_root()).read_ports().gateway}"


def _discard_output() -> None:
    """Send what stdout still buffers nowhere: Python would fail to write it at exit."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Queries may declare more commands; `sluice query D` lists them.\n\n"
    + examples(
        "sluice up                  start a local cloud on this machine",
        "sluice load trips.csv      upload a file, follow it, print its account",
        "sluice query trips         list the queries of a dataset",
    ),
)
@click.option(
    "--url",
    envvar="SLUICE_URL",
    default=_default_url,
    show_default="the local cloud's, else http://localhost:8080",
    help="URL of the API; or set SLUICE_URL. SLUICE_TOKEN is the key.",
)
@click.version_option(package_name="sluice")
def sluice(url: str) -> None:
    """Drop a CSV in a bucket; get typed, checked rows, an HTTP API over them, and a push."""


for _command in COMMANDS:
    sluice.add_command(_command)


def main() -> None:
    """Run the command line."""
    sluice()


if __name__ == "__main__":
    main()
