"""`sluice`: the group of all commands, and how their errors reach a person."""

from __future__ import annotations

import os
from typing import Any

import click

from sluice.cli import (
    backups,
    cloud_commands,
    datasets,
    ingestions,
    load,
    query,
    rows,
    subscriptions,
    verbs,
    watch,
)
from sluice.cli.examples import examples
from sluice.cli.session import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from sluice.errors import SluiceError

# Statuses that say the command was not right, as against not possible now.
USAGE_STATUSES = frozenset((400, 404, 405, 406, 413, 422))

COMMANDS = (
    *cloud_commands.COMMANDS,
    load.load,
    watch.watch,
    datasets.datasets,
    rows.rows,
    query.query,
    ingestions.ingestions,
    ingestions.rejects,
    ingestions.output,
    ingestions.cancel,
    ingestions.retry,
    ingestions.undo,
    backups.backup,
    backups.backups,
    backups.restore,
    backups.compare,
    subscriptions.subscribe,
    subscriptions.subscriptions,
    subscriptions.unsubscribe,
)


class FailedCommandError(click.ClickException):
    """One sentence on stderr: it did not work."""

    exit_code = EXIT_FAILED


class WrongCommandError(FailedCommandError):
    """One sentence on stderr: the API says that the command is not right."""

    exit_code = EXIT_USAGE


class Commands(click.Group):
    """Built-in commands in the order of their use, then the verbs of queries."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the built-in commands."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a built-in command, else the one that a query declares."""
        found = super().get_command(ctx, cmd_name)
        if found is not None or ctx.resilient_parsing:
            return found
        return verbs.find_verb(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever goes wrong becomes one sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            raise _failure(error) from error
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("SLUICE_DEBUG"):
                raise
            raise FailedCommandError(
                f"unexpected {type(error).__name__}: {error};"
                " this is a defect, SLUICE_DEBUG=1 shows where"
            ) from error


def _default_url() -> str:
    """Return the address of the local cloud that was started last, or where one starts by default."""
    from sluice.local.state import State, default_root  # noqa: PLC0415  # for a named address, not needed

    return f"http://localhost:{State(default_root()).read_ports().gateway}"


def _failure(error: SluiceError) -> FailedCommandError:
    answered = getattr(getattr(error, "answer", None), "status", None)
    kind = WrongCommandError if answered in USAGE_STATUSES else FailedCommandError
    return kind(error.detail)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A query may declare a verb: it is a command too. `sluice query D` tells which.\n\n"
    + examples(
        "sluice up                  start a whole cloud on this machine",
        "sluice load trips.csv      upload a file, watch it, see the account",
        "sluice query trips         see what can be asked of a dataset",
    ),
)
@click.option(
    "--url",
    envvar="SLUICE_URL",
    default=_default_url,
    show_default="the local cloud's, else http://localhost:8080",
    help="Where Sluice answers; or SLUICE_URL. A token goes into SLUICE_TOKEN.",
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
