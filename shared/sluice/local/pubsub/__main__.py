"""`python -m sluice.local.pubsub`: the embedded Pub/Sub as a process."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from sluice.local.pubsub.faults import NO_FAULTS, Faults
from sluice.local.pubsub.push import DEFAULT_PUSH_WINDOW
from sluice.local.pubsub.server import PubsubServer


class _FaultsType(click.ParamType[Faults]):
    name = "faults"

    def convert(
        self, value: str | Faults, param: click.Parameter | None, ctx: click.Context | None
    ) -> Faults:
        if isinstance(value, Faults):
            return value
        try:
            return Faults.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8085, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option("--project", help="The only project with resources; by default any project.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps topics, subscriptions and unacked messages across restarts.",
)
@click.option(
    "--faults",
    type=_FaultsType(),
    default=NO_FAULTS,
    help="Faults to inject: duplicate=0.3,delay=0.5s,reorder,drop_acks=0.2,seed=7,subscription=S",
)
@click.option(
    "--push-window",
    default=DEFAULT_PUSH_WINDOW,
    show_default=True,
    help="Concurrent pushes of each subscription.",
)
@click.option(
    "--clock-speed",
    default=1.0,
    show_default=True,
    help="How fast deadlines and backoffs pass, for tests.",
)
def main(
    host: str,
    port: int,
    project: str | None,
    journal: Path | None,
    faults: Faults,
    push_window: int,
    clock_speed: float,
) -> None:
    """Serve google.pubsub.v1 until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    PubsubServer(
        host=host,
        port=port,
        project=project,
        journal=journal,
        faults=faults,
        clock_speed=clock_speed,
        push_window=push_window,
    ).run()


if __name__ == "__main__":
    main()
