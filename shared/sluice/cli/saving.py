"""Bytes of an answer to stdout or into a file; a file is written whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

BINARY_FORMATS = frozenset(("parquet", "arrow"))


def check_target(kind: str, output: str | None) -> None:
    """Refuse to write a binary format to a terminal.

    Raises:
        click.UsageError: it would.
    """
    if kind in BINARY_FORMATS and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is binary; give a file with -o FILE, or a pipe")


def save(blocks: Iterable[bytes], output: str | None) -> None:
    """Write blocks to stdout as they come, or into a file that appears when they are complete."""
    if output is None or output == "-":
        _to_stdout(blocks)
        return
    target = Path(output)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.writelines(blocks)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _to_stdout(blocks: Iterable[bytes]) -> None:
    with click.open_file("-", "wb") as stdout:
        stdout.writelines(blocks)
