"""`sluice load`: upload files, follow their ingestions, print the account."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sluice.cli.examples import examples
from sluice.cli.naming import guess_dataset
from sluice.cli.progress import choose_view
from sluice.cli.report import Report
from sluice.cli.session import EXIT_INTERRUPTED, connect, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sluice.cli.loading import Plan, Step
    from sluice.client import Client


@click.command(
    epilog=examples(
        "sluice load trips.csv",
        "sluice load exports/*.csv.gz --dataset trips",
        "sluice load trips.csv --json | jq .account",
        "sluice load trips.ndjson --via http",
    )
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--dataset", metavar="D", help="The dataset of all files; else each file names its own."
)
@click.option(
    "--via",
    type=click.Choice(["storage", "http"]),
    default="storage",
    show_default=True,
    help="Upload the files to Cloud Storage, or send their rows to the API.",
)
@click.option("--no-wait", is_flag=True, help="Return when the files are uploaded.")
@json_option
@click.pass_context
def load(
    context: click.Context,
    files: tuple[Path, ...],
    dataset: str | None,
    via: str,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Load CSV files: upload them, follow them live, print the account.

    A file goes straight to Cloud Storage, in pieces that are sent again where the network
    fails. Without --dataset, it belongs to the dataset that its folder or its name names.

    With --via http the rows of CSV or NDJSON files are sent to the API instead, a thousand at a
    time, each published when it is answered. It needs no way to Cloud Storage.

    The exit code is 0 for loaded, or skipped because the same content was loaded before; 2 for
    a command that is not right; 3 for loaded with rejected rows; 4 for failed.
    """
    client = connect(context)
    plans = _plans(client, files, dataset)
    if via == "http":
        from sluice.cli.sending import send_files  # noqa: PLC0415  # brings the client along

        context.exit(send_files(client, plans, as_json=as_json))
    report = Report()
    try:
        with choose_view(is_silent=as_json) as view:
            for step in _steps(client, plans, no_wait=no_wait):
                report.take(step, view)
    except KeyboardInterrupt:
        report.print_what_goes_on(plans)
        context.exit(EXIT_INTERRUPTED)
    if as_json:
        report.print_json(plans)
    else:
        report.print(client, plans)
    context.exit(report.exit_code)


def _plans(client: Client, files: Sequence[Path], dataset: str | None) -> list[Plan]:
    from sluice.cli.loading import Plan  # noqa: PLC0415  # brings the client along

    known = [] if dataset else [str(each["name"]) for each in client.datasets()]
    return [
        Plan(path, dataset or guess_dataset(path, known), path.stat().st_size)
        for path in dict.fromkeys(files)
    ]


def _steps(client: Client, plans: Sequence[Plan], *, no_wait: bool) -> Iterator[Step]:
    from sluice.cli.loading import load_all, upload_all  # noqa: PLC0415

    return upload_all(client, plans) if no_wait else load_all(client, plans)
