"""`sluice datasets`: what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sluice.cli.examples import examples
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import QueryInfo


@click.command(
    epilog=examples(
        "sluice datasets",
        "sluice datasets trips",
    )
)
@click.argument("dataset", required=False)
@json_option
@click.pass_context
def datasets(context: click.Context, dataset: str | None, as_json: bool) -> None:
    """List the datasets, or show the columns and queries of one."""
    client = connect(context)
    if dataset is None:
        found = client.datasets()
        if as_json:
            print_json({"datasets": found})
        else:
            print_rows(found, ("name", "rows", "description"))
        return
    declared = client.dataset(dataset)
    if as_json:
        print_json(declared)
    else:
        _print_dataset(declared, client.queries(dataset))


def _print_dataset(declared: Mapping[str, Any], queries: Sequence[QueryInfo]) -> None:
    click.echo(
        f"{click.style(str(declared['name']), bold=True)}  {declared.get('description', '')}"
    )
    click.echo()
    names = ("name", "type", "required", "headers", "description")
    print_rows([{name: each.get(name) for name in names} for each in declared["columns"]], names)
    if queries:
        click.echo()
        print_rows([{"query": each.name, "answers": each.summary} for each in queries])
