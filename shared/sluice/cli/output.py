"""What commands print on stdout or save in a file: values, tables, records, JSON, bytes."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table

BINARY_FORMATS = frozenset(("parquet", "arrow"))
#: Their files are not replaced, whatever they are, except in the file system of the memory.
_KERNEL_FOLDERS = ("/dev/", "/proc/")
_MEMORY = "/dev/shm/"  # noqa: S108  # compared, not used
_UNITS = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"), (10**12, "TB"))


class TargetError(click.ClickException):
    """The output cannot be written; prints one sentence on stderr."""

    exit_code = EXIT_FAILED


def size(size_bytes: float) -> str:
    """Return a size for a reader: 812 bytes, 3.4 MB."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} bytes"
    power, unit = next((each for each in _UNITS if size_bytes < each[0] * 999.5), _UNITS[-1])
    scaled = size_bytes / power
    return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 12,000 rows."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cell(value: object) -> str:
    """Return a value as one line of text without control characters.

    Values come from other people's files: an escape code in one must not reach the terminal.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() if all(isinstance(each, str) for each in value):
            text = ", ".join(value)
        case dict() | list():
            text = _dumps(value)
        case _:
            text = str(value)
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def print_json(value: object) -> None:
    """Print a value as a JSON document, indented on a terminal, else on one line."""
    click.echo(_dumps(value, indent=2 if sys.stdout.isatty() else 0))


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON and flush it."""
    click.echo(_dumps(value))


def _dumps(value: object, indent: int = 0) -> str:
    from sluice.client import write_json  # noqa: PLC0415  # 0.1 s, and `--help` needs none of it

    return write_json(value, indent)


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
    """Print an object: first its plain values, then each list of objects as a table."""
    plain = {key: value for key, value in record.items() if not _is_list_of_objects(value)}
    width = max((len(key) for key in plain), default=0)
    for key, value in plain.items():
        gap = " " * (width - len(key) + 2)
        click.echo(f"{click.style(key, bold=True)}{gap}{cell(value)}".rstrip())
    for key, value in record.items():
        if key not in plain:
            click.echo(f"\n{click.style(key, bold=True)}")
            print_rows(value)


def check_target(kind: str, target: str | None) -> None:
    """Refuse to write a binary format to a terminal.

    Raises:
        click.UsageError: the format is binary, and stdout is a terminal.
    """
    if kind in BINARY_FORMATS and target is None and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is binary; write it to a file with -o FILE, or to a pipe")


def save(blocks: Iterable[bytes], target: str | None) -> None:
    """Stream blocks to stdout, or to a file that appears once it is complete.

    A pipe, a device or a file with several names is written to as it is; a link leads to its file. A file
    that is replaced keeps its mode and, if possible, its owner.

    Raises:
        TargetError: the target cannot be written.
        BrokenPipeError: the reader has closed the pipe.
    """
    if target is None or target == "-":
        with click.open_file("-", "wb") as stdout:
            stdout.writelines(blocks)
        return
    try:
        found = _status(target)
        is_kernel = target.startswith(_KERNEL_FOLDERS) and not target.startswith(_MEMORY)
        if is_kernel or (found and not _is_replaceable(found)):
            with Path(target).open("wb") as file:
                file.writelines(blocks)
        else:
            _replace(Path(os.path.realpath(target)), blocks, found)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TargetError(f"{target}: {reason_of(error)}; nothing is saved") from error


def reason_of(error: OSError) -> str:
    """Return why the operating system refused something, with the hint that helps."""
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError):
        return f"{reason}; create the folder first, or name another one"
    return reason


def _status(target: str) -> os.stat_result | None:
    try:
        return os.stat(target)  # the result of `Path.stat`, by a text
    except FileNotFoundError:
        return None


def _is_replaceable(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _replace(path: Path, blocks: Iterable[bytes], found: os.stat_result | None) -> None:
    """Write a file next to another one, and replace that by it."""
    if found and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    partial = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            if found:
                with suppress(PermissionError):
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            file.writelines(blocks)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return {"\n": "⏎", "\r": "", "\t": " "}[character]
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


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
