"""`sluice backup`, `backups`, `restore` and `compare`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import EXIT_REJECTS, as_called, connect, examples, json_option
from sluice.cli.output import count, print_json, print_rows

if TYPE_CHECKING:
    from sluice.client import Client

NEWEST = "newest"
_BYTES_A_MB = 1_000_000


@click.command(epilog=examples("sluice backup", "sluice backup trips --format parquet"))
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["avro", "parquet"]),
    default="avro",
    show_default=True,
    help="File format of the rows.",
)
@json_option
@click.pass_context
def backup(context: click.Context, datasets: tuple[str, ...], kind: str, as_json: bool) -> None:
    """Back up the given datasets, or all, to the outbox: one consistent snapshot."""
    with _steps("backing up") as steps:
        made = connect(context).backups.make(datasets, kind, steps)
    if as_json:
        print_json(made)
        return
    print_rows(made["datasets"], ("name", "rows", "size_bytes", "parts"))
    click.echo(f"backup {made['id']}: {_size(made)}")


@click.command(epilog=examples("sluice backups"))
@json_option
@click.pass_context
def backups(context: click.Context, as_json: bool) -> None:
    """List the newest backups."""
    found = connect(context).backups.all()
    if as_json:
        print_json({"backups": found})
    elif found:
        print_rows([_row(each) for each in found])
    else:
        click.echo(as_called("no backups; `sluice backup` creates one"), err=True)


@click.command(
    epilog=examples(
        "sluice restore newest",
        "sluice restore newest jobs --suffix _before",
        "sluice restore 20260102T030405Z-a1b2c3 trips --in-place",
    )
)
@click.argument("backup_id", metavar="BACKUP")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--suffix", help="Suffix of the names of the copies.  [default: 2]")
@click.option("--in-place", is_flag=True, help="Replace the current rows.")
@json_option
@click.pass_context
def restore(
    context: click.Context,
    backup_id: str,
    datasets: tuple[str, ...],
    suffix: str | None,
    in_place: bool,
    as_json: bool,
) -> None:
    """Restore datasets of a backup, or all: as copies, or in place of the current rows.

    BACKUP is an id of `sluice backups`, or `newest`. A restore is atomic and can be repeated.
    """
    if in_place and suffix:
        raise click.UsageError("--in-place and --suffix exclude each other")
    client = connect(context)
    number = _find(client, backup_id)
    with _steps("restoring") as steps:
        found = client.backups.restore(
            number, datasets, suffix=suffix, in_place=in_place, steps=steps
        )
    if as_json:
        print_json({"backup": number, "restored": found})
    else:
        print_rows(found)


@click.command(epilog=examples("sluice compare newest", "sluice compare newest jobs --suffix 2"))
@click.argument("backup_id", metavar="BACKUP")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--suffix", help="Suffix of the names of the copies.  [default: 2]")
@json_option
@click.pass_context
def compare(
    context: click.Context,
    backup_id: str,
    datasets: tuple[str, ...],
    suffix: str | None,
    as_json: bool,
) -> None:
    """Compare datasets with their restored copies; exit code 3 if they differ."""
    client = connect(context)
    found = client.backups.compare(_find(client, backup_id), datasets, suffix)
    if as_json:
        print_json(found)
    else:
        plain = ("dataset", "copy", "equal", "rows", "rows_of_copy", "only_here", "only_there")
        print_rows(found["datasets"], plain)
        _print_samples(found["datasets"])
    context.exit(0 if found["equal"] else EXIT_REJECTS)


def _print_samples(comparisons: list[dict[str, Any]]) -> None:
    for each in comparisons:
        for name, side in ((each["dataset"], "sample_here"), (each["copy"], "sample_there")):
            if each[side]:
                click.echo(f"\nonly in {name}; _times is the number of occurrences")
                print_rows(each[side])


def _find(client: Client, backup_id: str) -> str:
    if backup_id != NEWEST:
        return backup_id
    for each in client.backups.all():
        if each["state"] == "done":
            return str(each["id"])
    raise click.UsageError(as_called("there is no backup yet; `sluice backup` creates one"))


def _row(found: Mapping[str, Any]) -> dict[str, object]:
    return {
        "backup": found["id"],
        "state": found["state"],
        "format": found["format"],
        "datasets": ", ".join(each["name"] for each in found["datasets"]),
        "rows": found["rows"],
        "size_bytes": found["size_bytes"],
        "problem": (found["problem"] or {}).get("detail"),
    }


def _size(found: Mapping[str, Any]) -> str:
    return f"{count(found['rows'], 'row')}, {found['size_bytes'] / _BYTES_A_MB:,.1f} MB"


@contextmanager
def _steps(verb: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show the progress as a bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # for a terminal only
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(verb, total=None, note="")
        yield lambda step: progress.update(
            task, completed=step["parts"], total=step["parts_total"], note=_size(step)
        )
