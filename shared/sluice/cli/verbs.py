"""Commands that queries ask for: `sluice title "Ganglands"` is the query that declares the verb.

The API is asked only for a command that is not built in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sluice.cli.query import print_answer
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json
from sluice.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import Client, QueryInfo

INDENT = "    "
MAX_NEAR = 5


def find_verb(context: click.Context, verb: str) -> click.Command | None:
    """Return the command of the query that declares a verb, or None.

    Raises:
        click.UsageError: nothing answers that could know the verb.
    """
    client = connect(context)
    try:
        query = _find_query(client, verb)
    except TransientError as error:
        raise click.UsageError(
            f"{verb!r} is no command of sluice; a query may declare it, but {error.detail}"
        ) from error
    return None if query is None else _command(client, query)


def assign(query: QueryInfo, texts: Sequence[str]) -> dict[str, str]:
    """Return the parameters that arguments give: by name as `name=value`, else in order.

    Raises:
        click.UsageError: there are more arguments than parameters.
    """
    given: dict[str, str] = {}
    names = [each.name for each in query.parameters]
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name in names:
            given[name] = value
            continue
        free = [each for each in names if each not in given]
        if not free:
            raise click.UsageError(
                f"{text!r} is one argument too many; it takes {', '.join(names)}"
            )
        given[free[0]] = text
    return given


def _find_query(client: Client, verb: str) -> QueryInfo | None:
    for dataset in client.datasets():
        for query in client.queries(str(dataset["name"])):
            if query.verb == verb:
                return query
    return None


def _command(client: Client, query: QueryInfo) -> click.Command:
    @json_option
    def ask(texts: tuple[str, ...], as_json: bool) -> None:
        given = assign(query, texts)
        answer = client.query(query.dataset, query.name, given)
        if as_json:
            print_json(answer)
        elif answer.get("rows") == []:
            _print_near(client, query, next(iter(given.values()), ""))
        elif query.output:
            _print_output(answer, query.output)
        else:
            print_answer(answer, as_json=False)

    arguments = " ".join(f"[{each.name.upper()}]" for each in query.parameters)
    return click.command(
        query.verb, help=f"{query.summary}\n\nThe query {query.name} of {query.dataset}."
    )(click.argument("texts", nargs=-1, metavar=arguments)(ask))


def _print_output(answer: Mapping[str, Any], output: str) -> None:
    rows = answer.get("rows", [answer])
    template = output if "{" in output else f"{{{output}}}"
    for row in rows:
        click.echo(INDENT + template.format_map(row))


def _print_near(client: Client, query: QueryInfo, text: str) -> None:
    """Say that nothing is found, and what is near it, where the query declares how to find that."""
    found = _find_near(client, query, text) if query.near and text else []
    click.echo(f"nothing found{'; near it:' if found else ''}", err=True)
    for each in found:
        click.echo(INDENT + each, err=True)


def _find_near(client: Client, query: QueryInfo, text: str) -> list[str]:
    name, column = query.near or ("", "")
    (other,) = [each for each in client.queries(query.dataset) if each.name == name]
    rows = client.query(query.dataset, name, {other.parameters[0].name: text}).get("rows", [])
    return list(dict.fromkeys(str(row[column]) for row in rows))[:MAX_NEAR]
