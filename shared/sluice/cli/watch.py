"""`sluice watch`: events as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.examples import examples
from sluice.cli.outcome import COLORS, exit_code, print_accounts, print_outcome
from sluice.cli.progress import describe
from sluice.cli.session import EXIT_INTERRUPTED, connect, json_option
from sluice.cli.tables import print_json_line

if TYPE_CHECKING:
    from sluice.client import Client, Event, Ingestion


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
    """Show events live: of one ingestion until it ends, or of all from now on.

    With --json, each line is a CloudEvent as Pub/Sub delivers it. The connection is taken up
    again where it broke. For one ingestion, the exit code is that of `sluice load`.
    """
    client = connect(context)
    try:
        if ingestion is None:
            for event in client.events(on_connect=_say_that_it_listens):
                _show(event, as_json=as_json)
        else:
            context.exit(_watch_one(client, ingestion, as_json=as_json))
    except KeyboardInterrupt:
        if ingestion is not None:
            click.echo(f"ingestion {ingestion} goes on in the background", err=True)
        context.exit(EXIT_INTERRUPTED)


def _say_that_it_listens() -> None:
    click.echo("listening to all ingestions; Ctrl-C ends", err=True)


def _watch_one(client: Client, number: int, *, as_json: bool) -> int:
    from sluice.cli.loading import follow  # noqa: PLC0415  # brings the client along
    from sluice.client import Ingestion  # noqa: PLC0415

    for each in follow(client, number):
        if isinstance(each, Ingestion):
            return _conclude(client, each, as_json=as_json)
        _show(each, as_json=as_json)
    raise AssertionError("an ingestion's events end with the ingestion")


def _conclude(client: Client, ingestion: Ingestion, *, as_json: bool) -> int:
    if not as_json:
        print_accounts([ingestion])
        print_outcome(client, ingestion)
    return exit_code(ingestion)


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json_line(event.document)
        return
    at = f"{event.time.astimezone():%H:%M:%S}"
    words = click.style(describe(event), fg=COLORS.get(event.kind))
    click.echo(f"{click.style(at, dim=True)}  {event.ingestion.object}  {words}")
