"""The shell in which a command runs: how it calls `sluice`, and output to a pipe that may close."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click


def program() -> str:
    """Return the command that runs this `sluice`: its name if it is on PATH, else its path."""
    ours = Path(sys.executable).with_name("sluice")
    found = shutil.which(ours.name)
    if not ours.exists() or (found and Path(found).samefile(ours)):
        return ours.name
    here = Path.cwd()
    return str(ours.relative_to(here) if ours.is_relative_to(here) else ours)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; once the reader has closed the pipe (`| head`), drop this and all later lines.

    The command continues: output that is lost is better than a start that ends half-way.
    """
    try:
        click.echo(line, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
