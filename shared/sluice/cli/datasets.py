"""`sluice datasets` and `sluice rows`: declarations, and rows in any format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import connect, examples, json_option, parse_assignments
from sluice.cli.output import check_target, print_json, print_rows, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import Query

FORMATS = ("json", "ndjson", "csv", "parquet", "arrow")
TABLE_ROWS = 20


class _Datasets(click.Group):
    """A group in which the name of a dataset is short for `show`, and no argument for `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        word = next((each for each in args if not each.startswith("-")), None)
        is_help = any(each in ctx.help_option_names for each in args)
        if word not in self.commands and not is_help:
            args = ["list" if word is None else "show", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Datasets,
    epilog=examples(
        "sluice datasets",
        "sluice datasets trips",
        "sluice datasets show trips --toml > dataset.toml",
        "sluice datasets declare trips dataset.toml",
    ),
)
def datasets() -> None:
    """List the datasets, show one, or declare one."""


@datasets.command("list")
@json_option
@click.pass_context
def list_datasets(context: click.Context, as_json: bool) -> None:
    """List the datasets; the same as no command."""
    found = connect(context).datasets()
    if as_json:
        print_json({"datasets": found})
    else:
        print_rows(found, ("name", "rows", "description"))


@datasets.command("show")
@click.argument("dataset")
@click.option("--toml", "as_toml", is_flag=True, help="Print the declaration as a dataset.toml.")
@json_option
@click.pass_context
def show_dataset(context: click.Context, dataset: str, as_toml: bool, as_json: bool) -> None:
    """Show the columns and queries of a dataset, or its declaration."""
    client = connect(context)
    declared = client.dataset(dataset)
    if as_toml:
        click.echo(declared["toml"], nl=False)
    elif as_json:
        print_json(declared)
    else:
        _print_dataset(declared, client.queries(dataset))


@datasets.command("declare")
@click.argument("dataset")
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FILE")
@json_option
@click.pass_context
def declare_dataset(context: click.Context, dataset: str, path: Path, as_json: bool) -> None:
    """Declare a dataset by a dataset.toml, or by a folder that has one and its SQL files.

    A dataset.toml alone keeps the queries, roll-ups, projections of SQL and the table that are declared.
    """
    declared = connect(context).declare_file(path, dataset)
    if as_json:
        from sluice.client import to_json  # noqa: PLC0415

        print_json(to_json(declared))
    else:
        state = "declared" if declared.changed else "unchanged"
        click.echo(f"{declared.name}: {state}, version {declared.version}")


@click.command(
    epilog=examples(
        "sluice rows trips",
        "sluice rows trips region=eq.Prague started_at=ge.2018-05-01 --order started_at.desc",
        'sluice rows trips "region=in.(Prague,Turin)" --format csv | wc -l',
        "sluice rows trips -o trips.parquet",
        "sluice rows trips --group region --measure count",
    )
)
@click.argument("dataset")
@click.argument("filters", nargs=-1, metavar="[COLUMN=OP.VALUE]...")
@click.option("--select", metavar="A,B", help="Only these columns.")
@click.option("--order", metavar="A.desc,B", help="Order by these columns.")
@click.option(
    "--group", metavar="A,B", help="One row for each value of these columns; see --measure."
)
@click.option("--measure", metavar="M", help="Aggregates of each group: count, sum(x), avg(x).")
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Maximum number of rows.  [default: {TABLE_ROWS} in a table]",
)
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="Stream all rows in this format."
)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write to this file."
)
@json_option
@click.pass_context
def rows(
    context: click.Context,
    /,
    dataset: str,
    filters: tuple[str, ...],
    limit: int | None,
    kind: str | None,
    output: str | None,
    as_json: bool,
    **clauses: str | None,
) -> None:
    """Show the rows of a dataset that match all filters.

    A filter is COLUMN=OP.VALUE; the operators are eq ne lt le gt ge in like ilike is. The first
    rows are printed as a table; with --format or -o all of them are streamed. Without --format,
    -o takes the format from the suffix of the file.
    """
    given = parse_assignments(filters, "COLUMN=OP.VALUE")
    given += [(name, value) for name, value in clauses.items() if value]
    kind = kind or _format_of(output)
    client = connect(context)
    if kind:
        check_target(kind, output)
        limited = [*given, ("limit", str(limit))] if limit else given
        save(client.download_rows(dataset, limited, kind), output)
        return
    found = client.rows_page(dataset, [*given, ("limit", str(limit or TABLE_ROWS))])
    if as_json:
        print_json(found)
        return
    print_rows(found["rows"])
    if not found["rows"]:
        click.echo(f"{dataset}: no rows match", err=True)
    elif found.get("next"):
        click.echo("there are more rows: use --limit N, or --format csv for all", err=True)


def _print_dataset(declared: Mapping[str, Any], queries: Sequence[Query]) -> None:
    click.echo(
        f"{click.style(str(declared['name']), bold=True)}  {declared.get('description', '')}"
    )
    click.echo()
    names = ("name", "type", "required", "headers", "description")
    print_rows([{name: each.get(name) for name in names} for each in declared["columns"]], names)
    if queries:
        click.echo()
        print_rows([{"query": each.name, "answers": each.summary} for each in queries])


def _format_of(output: str | None) -> str | None:
    """Return the format named by a file's suffix; ndjson for a file without one.

    Raises:
        click.UsageError: no format has this suffix.
    """
    if output is None:
        return None
    suffix = Path(output).suffix.lower().removeprefix(".")
    if suffix and suffix not in FORMATS:
        allowed = ", ".join(f".{each}" for each in FORMATS)
        raise click.UsageError(
            f"{output}: no format has the suffix .{suffix}; use one of {allowed}, or name a --format"
        )
    return suffix or "ndjson"
