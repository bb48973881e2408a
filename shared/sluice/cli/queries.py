"""`sluice query`, and the commands that queries declare: `sluice title "Ganglands"`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import connect, examples, json_option, parse_assignments
from sluice.cli.outcome import sentence
from sluice.cli.output import print_json, print_record, print_rows, save
from sluice.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice.client import Client, Near, Query, QueryParameter

DRAWN_FORMATS = ("svg", "html")
INDENT = "    "
MAX_NEAR = 5


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
    help="Draw the answer: as a picture to FILE.svg, or as a page to FILE.html.",
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
    """Run a named query; without QUERY, list the queries of a dataset and their parameters."""
    client = connect(context)
    if plot is not None and name is None:
        raise click.UsageError("--plot draws the answer of a query; name a QUERY")
    if name is not None:
        given = dict(parse_assignments(parameters, "NAME=VALUE"))
        if plot is not None:
            save(client.download_query(dataset, name, given, _drawn_as(plot)), plot)
            return
        print_answer(client.query(dataset, name, given), as_json=as_json)
        return
    found = client.queries(dataset)
    if as_json:
        print_json({"queries": found})
    else:
        _print_queries(dataset, found)


def find_verb(context: click.Context, verb: str) -> click.Command | None:
    """Return the command of the query that declares a verb, or None.

    Raises:
        click.UsageError: the API that knows the verbs is not reachable.
    """
    client = connect(context)
    try:
        query = _find_query(client, verb)
    except TransientError as error:
        raise click.UsageError(
            f"{verb!r} is not a built-in command; a query may declare it, but {sentence(error)}"
        ) from error
    return None if query is None else _command(client, query)


def _drawn_as(plot: str) -> str:
    """Return the format that a file's suffix names."""
    suffix = plot.rpartition(".")[2].lower()
    if suffix not in DRAWN_FORMATS:
        raise click.UsageError(f"--plot {plot}: the file must end in .svg or .html")
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


def _print_queries(dataset: str, queries: Sequence[Query]) -> None:
    for each in queries:
        click.echo(f"{click.style(each.name, bold=True)}  {each.summary}")
        forms = [_form(parameter) for parameter in each.parameters]
        width = max(map(len, forms), default=0)
        for form, parameter in zip(forms, each.parameters, strict=True):
            click.echo(f"    {form:<{width}}  {_meaning(parameter)}".rstrip())
        if each.needs:
            needed = [_all_of(names) for names in each.needs]
            click.echo(f"    give {', or '.join(needed)}")
        if each.verb:
            click.echo(f"    also: sluice {each.verb}")
    if not queries:
        click.echo(f"{dataset} has no queries", err=True)


def _all_of(names: Sequence[str]) -> str:
    return f"all of {' '.join(names)}" if len(names) > 1 else "".join(names) or "none"


def _form(parameter: QueryParameter) -> str:
    return f"{parameter.name}={'|'.join(parameter.one_of) or parameter.type}"


def _meaning(parameter: QueryParameter) -> str:
    if parameter.required:
        return f"{parameter.description} Required."
    if parameter.default is not None:
        return f"{parameter.description} Default: {parameter.default}."
    return parameter.description


def _find_query(client: Client, verb: str) -> Query | None:
    for dataset in client.datasets():
        for query in client.queries(str(dataset["name"])):
            if query.verb == verb:
                return query
    return None


def _command(client: Client, query: Query) -> click.Command:
    @json_option
    def run(texts: tuple[str, ...], as_json: bool) -> None:
        given = _assign(query, texts)
        answer = client.query(query.dataset, query.name, given)
        if as_json:
            print_json(answer)
        elif answer.get("rows") == []:
            _print_near(client, query, next(iter(given.values()), ""))
        elif query.output:
            _print_output(answer, query)
        else:
            print_answer(answer, as_json=False)

    arguments = " ".join(f"[{each.name.upper()}]" for each in query.parameters)
    return click.command(
        query.verb, help=f"{query.summary}\n\nRuns the query {query.name} of {query.dataset}."
    )(click.argument("texts", nargs=-1, metavar=arguments)(run))


def _print_output(answer: Mapping[str, Any], query: Query) -> None:
    """Print the declared output of each row, of several rows with their headings."""
    rows = answer.get("rows", [answer])
    template = query.output if "{" in query.output else f"{{{query.output}}}"
    for row in rows:
        if query.heading and len(rows) > 1:
            click.echo(query.heading.format_map(row))
        click.echo(INDENT + template.format_map(row))


def _print_near(client: Client, query: Query, text: str) -> None:
    """Report that nothing was found, with similar values if the query declares how to find them."""
    found = _find_near(client, query, query.near, text) if query.near and text else []
    click.echo(f"nothing found{'; similar:' if found else ''}", err=True)
    for each in found:
        click.echo(INDENT + each, err=True)


def _find_near(client: Client, query: Query, near: Near, text: str) -> list[str]:
    name = near.query
    (other,) = [each for each in client.queries(query.dataset) if each.name == name]
    rows = client.query(query.dataset, name, {other.parameters[0].name: text}).get("rows", [])
    return list(dict.fromkeys(str(row[near.column]) for row in rows))[:MAX_NEAR]


def _assign(query: Query, texts: Sequence[str]) -> dict[str, str]:
    """Return the parameters given by arguments: by name as `name=value`, else in order.

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
                f"{text!r} is one argument too many; the parameters are {', '.join(names)}"
            )
        given[free[0]] = text
    return given
