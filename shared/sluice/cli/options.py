"""What all commands share: exit codes, the API client, `--json`, `NAME=VALUE` arguments, examples."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sluice.client import Client

EXIT_USAGE = 2
EXIT_REJECTS = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 130
#: As of a process that SIGPIPE ended: what reads the output has closed it.
EXIT_PIPE_CLOSED = 141

_OUR_COMMAND = re.compile(r"(?<=`)sluice(?= [a-z])")


def as_called(text: str) -> str:
    """Return a text whose commands, such as `sluice up`, are written as they work in this shell."""
    from sluice.local.shell import program  # noqa: PLC0415  # not needed without advice

    return _OUR_COMMAND.sub(lambda _: program(), text) if _OUR_COMMAND.search(text) else text


def connect(context: click.Context) -> Client:
    """Return a client of the API at `--url`, with the token of the environment."""
    from sluice.client import Client  # noqa: PLC0415  # takes 0.1 s, and `--help` does not need it

    url = context.find_root().params["url"]
    return context.with_resource(Client(url, _token()))


def _token() -> str:
    """Return the key of the environment, or the one in the file that the environment names.

    There is no option for it: every user of the machine sees the arguments of a process.
    """
    if token := os.environ.get("SLUICE_TOKEN"):
        return token
    path = os.environ.get("SLUICE_TOKEN_FILE")
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise click.UsageError(f"SLUICE_TOKEN_FILE: {path}: {error.strerror}") from None


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `--json` to a command, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print only JSON on stdout.")(
        command
    )


def examples(*lines: str) -> str:
    r"""Return an epilog that shows the lines unchanged; `\b` stops click from wrapping them."""
    word = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(["\b", f"{word}:", *(f"  {line}" for line in lines)])


def parse_assignments(texts: Iterable[str], form: str) -> list[tuple[str, str]]:
    """Return the name and value of each argument of the form `NAME=VALUE`.

    Args:
        texts: the arguments.
        form: the expected form, for the message.

    Raises:
        click.UsageError: an argument has no `=` or no name.
    """
    return [_parse_assignment(text, form) for text in texts]


def _parse_assignment(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not of the form {form}")
    return name, value
