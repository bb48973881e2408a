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
        answer = client.query(query.dataset, query.name, assign(query, texts))
        if as_json:
            print_json(answer)
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
    if not rows:
        click.echo("nothing found", err=True)
