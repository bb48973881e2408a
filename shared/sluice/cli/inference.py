"""`sluice infer`: what loading a file would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sluice.cli.options import connect, examples, json_option, parse_assignments
from sluice.cli.output import count, print_json, print_rows

if TYPE_CHECKING:
    from sluice.client import Inference
    from sluice.documents.inference import Evidence

MAX_SHOWN = 10
_ALWAYS_SHOWN = ("encoding", "delimiter", "header")
#: Values of other keys that a reader expects, where these are not empty, false or 0.
_USUAL = {"quote": '"', "header_lines": 1}


@click.command(
    epilog=examples(
        "sluice infer prices.csv",
        "sluice infer prices.csv --toml > dataset.toml",
        "sluice infer prices.csv --dialect delimiter=';' --dialect header=false",
        "sluice infer prices.csv --dataset prices   # checks it against a declaration",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", metavar="D", help="Dataset.  [default: from the name of the file]")
@click.option(
    "--dialect",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="How the file is written, instead of what is detected: delimiter=';', header=false.",
)
@click.option("--toml", "as_toml", is_flag=True, help="Print the declaration as a dataset.toml.")
@json_option
@click.pass_context
def infer(
    context: click.Context,
    file: Path,
    dataset: str | None,
    options: tuple[str, ...],
    as_toml: bool,
    as_json: bool,
) -> None:
    """Show what loading a file would do: its dialect, types and first problems; nothing is loaded.

    The types of a large file come from its first 8 MiB, of a large workbook from the rows that are
    8 MiB as CSV; loading it decides them by all rows.
    """
    given = dict(parse_assignments(options, "KEY=VALUE"))
    found = connect(context).infer_file(file, dataset, given)
    if as_json:
        from sluice.client import to_json  # noqa: PLC0415

        print_json(to_json(found))
    elif as_toml:
        click.echo(found.toml, nl=False)
    else:
        _print(file, found)


def _print(file: Path, found: Inference) -> None:
    is_changed = any(each.evidence for each in found.columns)
    what = "would be declared as follows"
    if found.is_declared:
        what = "declared, would be changed" if is_changed else "declared"
    click.echo(f"{file}: dataset {click.style(found.dataset, bold=True)}, {what}")
    for each in filter(_is_notable, found.evidence):
        click.echo(f"  {each.key} = {each.value!r}: {each.reason}")
    for warning in found.warnings:
        click.echo(f"  warning: {warning}", err=True)
    click.echo()
    names = ("name", "type", "headers", "evidence")
    print_rows([{name: getattr(each, name) for name in names} for each in found.columns], names)
    click.echo()
    part = "" if found.is_complete else "the first "
    click.echo(
        f"{part}{count(found.records, 'record')}: {found.rows:,} would be loaded,"
        f" {found.rejected:,} rejected; loading takes about {_seconds(found.seconds)}"
    )
    for reject in found.rejects[:MAX_SHOWN]:
        column = f", column {reject.column}" if reject.column else ""
        click.echo(f"  line {reject.line}{column}: {reject.reason}")


def _is_notable(evidence: Evidence) -> bool:
    """Whether a key of the dialect is worth a line: those of every file, and unusual values."""
    if evidence.key in _USUAL:
        return bool(evidence.value != _USUAL[evidence.key])
    return evidence.key in _ALWAYS_SHOWN or bool(evidence.value)


def _seconds(seconds: float) -> str:
    return "a second" if seconds < 1 else f"{seconds:.0f} s"
