"""`sluice rows`: the rows of a dataset, filtered, in any format."""

from __future__ import annotations

import click

from sluice.cli.assignments import parse_assignments
from sluice.cli.examples import examples
from sluice.cli.saving import check_target, save
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json, print_rows

FORMATS = ("json", "ndjson", "csv", "parquet", "arrow")
TABLE_ROWS = 20


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
@click.option("--group", metavar="A,B", help="One row for each of their values; see --measure.")
@click.option("--measure", metavar="M", help="What to tell of each group: count, sum(x), avg(x).")
@click.option(
    "--limit", type=click.IntRange(1), help=f"Most rows.  [default: {TABLE_ROWS} in a table]"
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Bytes of this format.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write them there."
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
    """Show the rows of a dataset that pass every filter.

    A filter is COLUMN=OP.VALUE, with one of the operators eq ne lt le gt ge in like ilike is.
    The first rows are shown as a table; with --format or -o all of them are streamed, whatever
    their number. Without --format, -o takes the format from the file's suffix.
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
        click.echo(f"{dataset}: no rows pass", err=True)
    elif found.get("next"):
        click.echo("there are more rows: --limit N, or all with --format csv", err=True)


def _format_of(output: str | None) -> str | None:
    """Return the format that a file's suffix names; ndjson for a file whose suffix names none."""
    if output is None:
        return None
    suffix = output.rpartition(".")[2].lower()
    return suffix if suffix in FORMATS else "ndjson"
