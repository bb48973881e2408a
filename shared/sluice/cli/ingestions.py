"""Commands about ingestions: watch, list, show what came of them, verify, cancel, retry, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    as_called,
    connect,
    examples,
    json_option,
)
from sluice.cli.outcome import COLORS, exit_code, print_accounts, print_outcome, reject_rows
from sluice.cli.output import print_json, print_json_line, print_rows, save
from sluice.cli.progress import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice.client import Client, Event, Ingestion

_ingestion_argument = click.argument("ingestion", type=click.IntRange(1))


@click.command(
    epilog=examples(
        "sluice watch",
        "sluice watch 7",
        "sluice watch --json | jq -r 'select(.data.state == \"done\") | .data.object'",
    )
)
@click.argument("ingestion", required=False, type=click.IntRange(1))
@json_option
@click.pass_context
def watch(context: click.Context, ingestion: int | None, as_json: bool) -> None:
    """Show events live: of one ingestion until it ends, or of all ingestions from now on.

    With --json, each line is a CloudEvent as Pub/Sub delivers it. A lost connection is resumed
    after the last event received. For one ingestion, the exit code is that of `sluice load`.
    """
    client = connect(context)
    try:
        if ingestion is None:
            for event in client.events(on_connect=_print_listening):
                _show(event, as_json=as_json)
        else:
            context.exit(_watch_one(client, ingestion, as_json=as_json))
    except KeyboardInterrupt:
        if ingestion is not None:
            click.echo(f"ingestion {ingestion} continues in the background", err=True)
        context.exit(EXIT_INTERRUPTED)


@click.command(
    epilog=examples("sluice ingestions", "sluice ingestions --state failed --json"),
)
@click.option("--dataset", metavar="D", help="Only ingestions of this dataset.")
@click.option("--state", metavar="S", help="Only ingestions in this state: done, failed, ...")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Maximum number of lines.",
)
@json_option
@click.pass_context
def ingestions(
    context: click.Context, dataset: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List the newest ingestions: one line for each file that arrived."""
    given = {"dataset": dataset, "state": state, "limit": str(limit)}
    found = connect(context).ingestions(**{k: v for k, v in given.items() if v is not None})
    if as_json:
        print_json({"ingestions": found})
    elif found:
        print_accounts(found)
    else:
        click.echo(as_called("no ingestions; `sluice load FILE` starts one"), err=True)


@click.command(
    epilog=examples(
        "sluice rejects 7",
        "sluice rejects 7 -o fixed.csv",
        "sluice rejects 7 --format reasons -o reasons.csv",
    ),
)
@_ingestion_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "reasons", "json", "ndjson"]),
    help="Stream all in this format.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Maximum number of lines.",
)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write to this file."
)
@json_option
@click.pass_context
def rejects(
    context: click.Context,
    ingestion: int,
    kind: str | None,
    limit: int,
    output: str | None,
    as_json: bool,
) -> None:
    """List the rejected rows of an ingestion, with line, column and reason.

    With -o, or --format csv, the rejected lines exactly as they came, under the header of the file
    and in its encoding: fix them and load the file. The format `reasons` is a CSV with the line,
    record, column, rule, value and reason of each.
    """
    client = connect(context)
    if kind or output:
        save(client.download_rejects(ingestion, kind or "csv"), output)
        return
    found = client.rejects_page(ingestion, limit)
    if as_json:
        print_json(found)
        return
    print_rows(reject_rows(found["rejects"]))
    if not found["rejects"]:
        click.echo(f"ingestion {ingestion} has no rejected rows", err=True)
    elif found.get("next"):
        click.echo("there are more: use --limit N, or --format csv for all", err=True)


@click.command(epilog=examples("sluice duplicates 7", "sluice duplicates 7 --limit 1000 --json"))
@_ingestion_argument
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Maximum number of lines.",
)
@json_option
@click.pass_context
def duplicates(context: click.Context, ingestion: int, limit: int, as_json: bool) -> None:
    """List the rows that an ingestion left out because of their key, and the row that counts."""
    found = connect(context).duplicates_page(ingestion, limit)
    if as_json:
        print_json(found)
        return
    print_rows([_duplicate_row(each) for each in found["duplicates"]])
    if not found["duplicates"]:
        click.echo(f"ingestion {ingestion} has no duplicates", err=True)
    elif found.get("next"):
        click.echo("there are more: use --limit N", err=True)


def _duplicate_row(duplicate: Mapping[str, Any]) -> dict[str, object]:
    winner = duplicate["won_by"]
    return {
        "line": duplicate["line"],
        "record": duplicate["record"],
        "key": ", ".join(f"{name}={value}" for name, value in duplicate["key"].items()),
        "won by ingestion": winner["ingestion"],
        "line of it": winner["line"],
        "record of it": winner["record"],
    }


@click.command(epilog=examples("sluice output 7 > totals.csv", "sluice output 7 -o totals.csv"))
@_ingestion_argument
@click.option(
    "-o",
    "--output",
    "--to",
    "to",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write to this file.",
)
@json_option
@click.pass_context
def output(context: click.Context, ingestion: int, to: str | None, as_json: bool) -> None:
    """Download the output file of an ingestion, if its dataset declares an output.

    With --json print its location and size, and download it only with -o.
    """
    client = connect(context)
    if to is not None or not as_json:
        save(client.download_output(ingestion), to)
    if as_json:
        print_json({"output": client.ingestion(ingestion).output})


@click.command(
    epilog=examples(
        "sluice verify 7", "sluice verify 7 --json | jq '.figures[] | select(.ok == false)'"
    )
)
@_ingestion_argument
@json_option
@click.pass_context
def verify(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Read the file of an ingestion again and compare it, and the tables, with its account.

    Exit codes: 0 everything that could be checked is right; 2 usage error; 4 something differs.
    """
    from sluice.client import to_json  # noqa: PLC0415  # imports the client

    found = connect(context).verify(ingestion)
    if as_json:
        print_json(found)
    else:
        print_rows([{**to_json(each), "ok": _OKS[each.ok]} for each in found.figures])
        words = "verified" if found.verified else f"differs: {', '.join(found.differs)}"
        click.echo(f"ingestion {ingestion}: {words}")
    context.exit(0 if found.verified else EXIT_FAILED)


_OKS = {True: "yes", False: "NO", None: "not checked"}


@click.command(epilog=examples("sluice cancel 7"))
@_ingestion_argument
@json_option
@click.pass_context
def cancel(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Stop a running ingestion; none of its rows become visible."""
    _print_state(connect(context).cancel(ingestion), as_json=as_json)


@click.command(epilog=examples("sluice retry 7 && sluice watch 7"))
@_ingestion_argument
@json_option
@click.pass_context
def retry(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Start a failed, cancelled or skipped ingestion again; no row is loaded twice.

    If it failed and nothing changed since, it continues where it ended.
    """
    _print_state(connect(context).retry(ingestion), as_json=as_json)


@click.command(epilog=examples("sluice undo 7"))
@_ingestion_argument
@json_option
@click.pass_context
def undo(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Remove all rows of an ingestion, as if the file had not been uploaded."""
    _print_state(connect(context).undo(ingestion), as_json=as_json)


@click.command(epilog=examples("sluice redo 7"))
@_ingestion_argument
@json_option
@click.pass_context
def redo(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Bring the rows of an undone ingestion back, until garbage collection has deleted them."""
    _print_state(connect(context).redo(ingestion), as_json=as_json)


def _print_listening() -> None:
    click.echo("listening to all ingestions; Ctrl-C stops", err=True)


def _watch_one(client: Client, number: int, *, as_json: bool) -> int:
    from sluice.cli.file_loader import follow  # noqa: PLC0415  # imports the client
    from sluice.client import Ingestion  # noqa: PLC0415

    for each in follow(client, number):
        if isinstance(each, Ingestion):
            return _conclude(client, each, as_json=as_json)
        _show(each, as_json=as_json)
    raise AssertionError("the events of an ingestion end with its final state")


def _conclude(client: Client, ingestion: Ingestion, *, as_json: bool) -> int:
    if not as_json:
        print_accounts([ingestion])
        print_outcome(client, ingestion)
    return exit_code(ingestion)


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json_line(event)
        return
    at = f"{event.time.astimezone():%H:%M:%S}"
    words = click.style(describe(event), fg=COLORS.get(event.name))
    click.echo(f"{click.style(at, dim=True)}  {event.data.object}  {words}")


def _print_state(found: Ingestion, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(f"ingestion {found.id} of {found.object}: {found.state}")
