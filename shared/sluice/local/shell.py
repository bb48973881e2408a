"""The shell in which a command runs: how it calls `sluice`, and lines that outlive their reader."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click


def program() -> str:
    """Return what runs this `sluice` in the shell's folder: its name where PATH has it, else its path."""
    ours = Path(sys.executable).with_name("sluice")
    found = shutil.which("sluice")
    if found and Path(found).samefile(ours):
        return ours.name
    here = Path.cwd()
    return str(ours.relative_to(here) if ours.is_relative_to(here) else ours)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; where nobody reads any more (`| head`), this and all later ones are dropped.

    What is under way goes on: a start that ends half-way would be worse than one that is not watched.
    """
    try:
        click.echo(line, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
