"""`sluice ingestions`, `rejects`, `output`, `cancel`, `retry`, `undo`: what happened, and changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.examples import examples
from sluice.cli.outcome import print_accounts, reject_rows
from sluice.cli.saving import save
from sluice.cli.session import connect, json_option
from sluice.cli.tables import print_json, print_rows

if TYPE_CHECKING:
    from sluice.client import Ingestion

_ingestion_argument = click.argument("ingestion", type=click.IntRange(1))


@click.command(
    epilog=examples("sluice ingestions", "sluice ingestions --state failed --json"),
)
@click.option("--dataset", metavar="D", help="Only those of this dataset.")
@click.option("--state", metavar="S", help="Only those in this state: done, failed, loading, ...")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Most lines.")
@json_option
@click.pass_context
def ingestions(
    context: click.Context, dataset: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List the newest ingestions: one line for each file that arrived."""
    given = {"dataset": dataset, "state": state, "limit": str(limit)}
    found = connect(context).ingestions(**{k: v for k, v in given.items() if v is not None})
    if as_json:
        print_json({"ingestions": [each.document for each in found]})
    elif found:
        print_accounts(found)
    else:
        click.echo("no ingestions; `sluice load FILE` makes one", err=True)


@click.command(
    epilog=examples("sluice rejects 7", "sluice rejects 7 --format csv -o rejects.csv"),
)
@_ingestion_argument
@click.option(
    "--format", "kind", type=click.Choice(["csv", "json", "ndjson"]), help="All of them, as bytes."
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most lines.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write them there."
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
    """List the rows that an ingestion refused, each with its line, column and reason.

    The CSV holds each of them whole, as it stands in the file.
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
        click.echo(f"ingestion {ingestion} refused no rows", err=True)
    elif found.get("next"):
        click.echo("there are more: --limit N, or all with --format csv", err=True)


@click.command(epilog=examples("sluice output 7 > totals.csv", "sluice output 7 --to totals.csv"))
@_ingestion_argument
@click.option("--to", metavar="FILE", type=click.Path(dir_okay=False), help="Write it there.")
@json_option
@click.pass_context
def output(context: click.Context, ingestion: int, to: str | None, as_json: bool) -> None:
    """Fetch the file that was made of an ingestion, where its dataset declares an output.

    With --json say where it is and how large, and fetch it only with --to.
    """
    client = connect(context)
    if to is not None or not as_json:
        save(client.download_output(ingestion), to)
    if as_json:
        print_json({"output": client.ingestion(ingestion).document.get("output")})


@click.command(epilog=examples("sluice cancel 7"))
@_ingestion_argument
@json_option
@click.pass_context
def cancel(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Stop an ingestion that is under way; nothing of it becomes visible."""
    _tell(connect(context).cancel(ingestion), as_json=as_json)


@click.command(epilog=examples("sluice retry 7 && sluice watch 7"))
@_ingestion_argument
@json_option
@click.pass_context
def retry(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Begin a failed or cancelled ingestion again; what was loaded is not loaded twice."""
    _tell(connect(context).retry(ingestion), as_json=as_json)


@click.command(epilog=examples("sluice undo 7"))
@_ingestion_argument
@json_option
@click.pass_context
def undo(context: click.Context, ingestion: int, as_json: bool) -> None:
    """Take all rows of an ingestion back at once, as if the file had not come."""
    _tell(connect(context).undo(ingestion), as_json=as_json)


def _tell(found: Ingestion, *, as_json: bool) -> None:
    if as_json:
        print_json(found.document)
    else:
        click.echo(f"ingestion {found.id} of {found.object}: {found.state}")
