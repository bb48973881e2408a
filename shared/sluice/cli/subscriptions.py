"""`sluice subscribe`, `subscriptions` and `unsubscribe`: push events to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.options import as_called, connect, examples, json_option
from sluice.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from sluice.client import Subscription


@click.command(
    epilog=examples(
        "sluice subscribe https://example.com/hook",
        "sluice subscribe http://localhost:9000 --dataset trips --state done --state failed",
    )
)
@click.argument("endpoint")
@click.option("--dataset", metavar="D", help="Only events of this dataset.")
@click.option(
    "--state", "states", metavar="S", multiple=True, help="Only events of this state; repeatable."
)
@json_option
@click.pass_context
def subscribe(
    context: click.Context,
    endpoint: str,
    dataset: str | None,
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Push events to an HTTP endpoint, which receives each CloudEvent as a POST."""
    made = connect(context).subscribe(endpoint, dataset, states)
    if as_json:
        print_json(made)
    else:
        click.echo(f"subscription {made.id}: events are pushed to {made.endpoint}")


@click.command(epilog=examples("sluice subscriptions"))
@json_option
@click.pass_context
def subscriptions(context: click.Context, as_json: bool) -> None:
    """List the push subscriptions."""
    found = connect(context).subscriptions()
    if as_json:
        print_json({"subscriptions": found})
    elif found:
        print_rows([_row(each) for each in found])
    else:
        click.echo(as_called("no subscriptions; `sluice subscribe ENDPOINT` creates one"), err=True)


@click.command(epilog=examples("sluice unsubscribe sub-4f2a"))
@click.argument("subscription")
@json_option
@click.pass_context
def unsubscribe(context: click.Context, subscription: str, as_json: bool) -> None:
    """Delete a push subscription."""
    connect(context).unsubscribe(subscription)
    if as_json:
        print_json({"id": subscription})
    else:
        click.echo(f"subscription {subscription} is deleted")


def _row(subscription: Subscription) -> dict[str, object]:
    return {
        "subscription": subscription.id,
        "endpoint": subscription.endpoint,
        "dataset": subscription.dataset or "all",
        "states": " ".join(subscription.states) or "all",
    }
