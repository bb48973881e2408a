"""`sluice query`: the named queries of a dataset, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.assignments import parse_assignments
from sluice.cli.examples import examples
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json, print_record, print_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import QueryInfo, QueryParameter


@click.command(
    epilog=examples(
        "sluice query trips",
        "sluice query trips weekly_average region=Prague",
        "sluice query trips weekly_average min_lon=14 max_lon=14.6 min_lat=49.9 max_lat=50.2",
        "sluice query trips groups --json",
    )
)
@click.argument("dataset")
@click.argument("name", required=False, metavar="[QUERY]")
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@json_option
@click.pass_context
def query(
    context: click.Context,
    dataset: str,
    name: str | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask a named query; without QUERY, list the queries of a dataset and their parameters."""
    client = connect(context)
    if name is not None:
        given = dict(parse_assignments(parameters, "NAME=VALUE"))
        print_answer(client.query(dataset, name, given), as_json=as_json)
        return
    found = client.queries(dataset)
    if as_json:
        print_json({"queries": [each.document for each in found]})
    else:
        _print_queries(dataset, found)


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
        for parameter in each.parameters:
            click.echo(f"    {_describe(parameter)}")
        if each.needs:
            click.echo(f"    give {', or '.join(' '.join(names) for names in each.needs)}")
        if each.verb:
            click.echo(f"    also: sluice {each.verb}")
    if not queries:
        click.echo(f"{dataset} declares no queries", err=True)


def _describe(parameter: QueryParameter) -> str:
    values = "|".join(parameter.one_of) or parameter.type
    default = "" if parameter.default is None else f", {parameter.default} if not given"
    required = ", required" if parameter.required else ""
    return f"{parameter.name}={values}{required}{default}  {parameter.description}".rstrip()
