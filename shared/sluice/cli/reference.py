"""The command line's reference page, made from the commands: `python -m sluice.cli.reference`.

Prints `docs/cli.md`; with `--write FILE` it writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sluice.cli.main import sluice

WIDTH = 88
INTRODUCTION = """\
# The command line

`sluice` loads CSV files and asks for what became of them. Every command explains itself with
`--help`, of which this page is made (`python -m sluice.cli.reference --write docs/cli.md`).

| Exit code | Meaning |
|---|---|
| 0 | done; for `load` and `watch`, also skipped because the same content was loaded before |
| 1 | a part of the local cloud does not run (`status`) |
| 2 | the command is not right: an unknown name, a malformed filter, no such ingestion |
| 3 | done, with rejected rows |
| 4 | failed, or not possible now |
| 130 | interrupted; what the cloud has begun goes on |

Answers go to stdout; progress, notes and errors to stderr. With `--json`, stdout holds JSON alone:
one document, or one a line where there are many (`load`: a file, `watch`: an event). Colours and
bars appear on a terminal only.

| Variable | Meaning |
|---|---|
| `SLUICE_URL` | where Sluice answers; `http://localhost:8080` if not set |
| `SLUICE_TOKEN` | bearer token, where Sluice asks for one |
| `SLUICE_DEBUG` | when set, an unexpected error shows where it happened |

## Verbs

A query may declare a verb, and is then a command: its arguments are the query's parameters, in
order or as `name=value`. `sluice query DATASET` tells which queries do.
"""


def render() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION, "## Commands\n"]
    parts += [f"### sluice {name}\n\n```text\n{help_of(name)}\n```\n" for name in sluice.commands]
    return "\n".join(parts)


def help_of(name: str) -> str:
    """Return what `sluice NAME --help` prints."""
    root = click.Context(sluice, info_name="sluice", **sluice.context_settings)
    context = click.Context(
        sluice.commands[name],
        info_name=name,
        parent=root,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    return sluice.commands[name].get_help(context)


def main(arguments: list[str]) -> None:
    """Print the page, or write it to the file behind `--write`."""
    match arguments:
        case ["--write", target]:
            Path(target).write_text(render(), "utf-8")
        case _:
            click.echo(render(), nl=False)


if __name__ == "__main__":
    main(sys.argv[1:])
