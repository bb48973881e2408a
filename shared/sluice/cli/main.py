"""`sluice`: the group of all commands."""

from __future__ import annotations

import click

from sluice.cli import cloud_commands


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluice")
def sluice() -> None:
    """Drop a CSV in a bucket; get typed, checked rows, an HTTP API over them, and a push."""


for _command in cloud_commands.COMMANDS:
    sluice.add_command(_command)


def main() -> None:
    """Run the command line."""
    sluice()


if __name__ == "__main__":
    main()
