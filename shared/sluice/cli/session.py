"""What every command shares: where the API is, and the option `--json`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.client import Client

EXIT_USAGE = 2
EXIT_REJECTS = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 130


def connect(context: click.Context) -> Client:
    """Return a client of the API that the options of `sluice` and the environment name."""
    from sluice.client import Client  # noqa: PLC0415  # 0.1 s, and `--help` needs none of it

    url = context.find_root().params["url"]
    return context.with_resource(Client(url, os.environ.get("SLUICE_TOKEN", "")))


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--json`, as its argument `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else."
    )(command)
