"""`sluice query`: the named queries of a dataset, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.assignments import parse_assignments
from sluice.cli.examples import examples
from sluice.cli.saving import save
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json, print_record, print_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import QueryInfo, QueryParameter

DRAWN_FORMATS = ("svg", "html")


@click.command(
    epilog=examples(
        "sluice query trips",
        "sluice query trips weekly_average region=Prague",
        "sluice query trips weekly_average min_lon=14 max_lon=14.6 min_lat=49.9 max_lat=50.2",
        "sluice query trips groups --json",
        "sluice query trips groups region=Prague --plot groups.svg",
    )
)
@click.argument("dataset")
@click.argument("name", required=False, metavar="[QUERY]")
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Draw the answer: a picture into FILE.svg, a page into FILE.html.",
)
@json_option
@click.pass_context
def query(
    context: click.Context,
    dataset: str,
    name: str | None,
    parameters: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    """Ask a named query; without QUERY, list the queries of a dataset and their parameters."""
    client = connect(context)
    if plot is not None and name is None:
        raise click.UsageError("--plot draws the answer of a query; name the QUERY")
    if name is not None:
        given = dict(parse_assignments(parameters, "NAME=VALUE"))
        if plot is not None:
            save(client.download_query(dataset, name, given, _drawn_as(plot)), plot)
            return
        print_answer(client.query(dataset, name, given), as_json=as_json)
        return
    found = client.queries(dataset)
    if as_json:
        print_json({"queries": [each.document for each in found]})
    else:
        _print_queries(dataset, found)


def _drawn_as(plot: str) -> str:
    """Return the format that a file's suffix names."""
    suffix = plot.rpartition(".")[2].lower()
    if suffix not in DRAWN_FORMATS:
        raise click.UsageError(f"--plot {plot}: write a file .svg or .html")
    return suffix


def print_answer(answer: Mapping[str, object], *, as_json: bool) -> None:
    """Print the answer of a query: `{"rows": [...]}` as a table, an object as a record."""
    rows = answer.get("rows")
    if as_json:
        print_json(answer)
    elif not isinstance(rows, list):
        print_record(answer)
    elif rows:
        print_rows(rows)
    else:
        click.echo("no rows", err=True)


def _print_queries(dataset: str, queries: Sequence[QueryInfo]) -> None:
    for each in queries:
        click.echo(f"{click.style(each.name, bold=True)}  {each.summary}")
        forms = [_form(parameter) for parameter in each.parameters]
        width = max(map(len, forms), default=0)
        for form, parameter in zip(forms, each.parameters, strict=True):
            click.echo(f"    {form:<{width}}  {_meaning(parameter)}".rstrip())
        if each.needs:
            wanted = [" ".join(names) or "none of them" for names in each.needs]
            click.echo(f"    give {', or '.join(wanted)}")
        if each.verb:
            click.echo(f"    also: sluice {each.verb}")
    if not queries:
        click.echo(f"{dataset} declares no queries", err=True)


def _form(parameter: QueryParameter) -> str:
    return f"{parameter.name}={'|'.join(parameter.one_of) or parameter.type}"


def _meaning(parameter: QueryParameter) -> str:
    if parameter.required:
        return f"{parameter.description} Required."
    if parameter.default is not None:
        return f"{parameter.description} {parameter.default} if not given."
    return parameter.description
