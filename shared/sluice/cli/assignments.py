"""Arguments of the form `name=value`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_assignments(texts: Iterable[str], form: str) -> list[tuple[str, str]]:
    """Return the name and value of each argument.

    Args:
        texts: the arguments.
        form: how they should look, for the message.

    Raises:
        click.UsageError: an argument has no `=` or no name.
    """
    return [_parse(text, form) for text in texts]


def _parse(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not of the form {form}")
    return name, value
