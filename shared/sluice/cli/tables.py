"""Tables and records on stdout: drawn on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import json
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.wording import cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table


def print_json(value: object) -> None:
    """Print a value as one JSON document: indented for a person, one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Print objects as a table; without `columns`, of every key in order of appearance."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return
    numeric = [_is_numeric(row.get(name) for row in rows) for name in names]
    lines = [[cell(row.get(name)) for name in names] for row in rows]
    if sys.stdout.isatty():
        _draw(names, lines, numeric)
    else:
        for line in _aligned([names, *lines], numeric):
            click.echo(line)


def print_record(record: Mapping[str, Any]) -> None:
    """Print an object: its plain values first, then each list of objects as a table of its own."""
    plain = {key: value for key, value in record.items() if not _is_list_of_objects(value)}
    width = max((len(key) for key in plain), default=0)
    for key, value in plain.items():
        gap = " " * (width - len(key) + 2)
        click.echo(f"{click.style(key, bold=True)}{gap}{cell(value)}".rstrip())
    for key, value in record.items():
        if key not in plain:
            click.echo(f"\n{click.style(key, bold=True)}")
            print_rows(value)


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) for e in value)


def _is_numeric(values: Iterable[object]) -> bool:
    given = [each for each in values if each is not None]
    return bool(given) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in given
    )


def _aligned(lines: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
    for line in lines:
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _draw(names: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    from rich import box  # noqa: PLC0415  # for a terminal only
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table: Table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, right in zip(names, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text(text) for text in line))
    Console().print(table)
