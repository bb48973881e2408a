"""`sluice audit`: who did what."""

from __future__ import annotations

import click

from sluice.cli.options import connect, examples, json_option
from sluice.cli.output import print_json, print_rows


@click.command(epilog=examples("sluice audit", "sluice audit --dataset trips --limit 20"))
@click.option("--dataset", metavar="D", help="Only what concerns this dataset.")
@click.option("--actor", metavar="A", help="Only what this caller did, such as key:4f2a8c01zz.")
@click.option("--action", metavar="A", help="Only this, such as dataset.declare.")
@click.option("--limit", type=click.IntRange(1), help="Most entries.  [default: 100]")
@json_option
@click.pass_context
def audit(
    context: click.Context,
    dataset: str | None,
    actor: str | None,
    action: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List who declared, loaded, undid, restored, and made keys: the newest first."""
    given = {"dataset": dataset, "actor": actor, "action": action, "limit": limit}
    asked = {name: str(value) for name, value in given.items() if value is not None}
    found = connect(context).audit(**asked)
    if as_json:
        print_json({"entries": found})
        return
    print_rows(
        [
            {
                "at": each.at,
                "actor": each.actor,
                "action": each.action,
                "dataset": each.dataset or "",
                "subject": each.subject or "",
            }
            for each in found
        ],
        ("at", "actor", "action", "dataset", "subject"),
    )
