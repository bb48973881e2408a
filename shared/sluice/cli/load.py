"""`sluice load`: uploads files, shows their progress, prints their accounts."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import (
    EXIT_INTERRUPTED,
    as_called,
    connect,
    examples,
    json_option,
    parse_assignments,
)
from sluice.cli.outcome import (
    error_code,
    exit_code,
    print_accounts,
    print_addresses,
    print_outcome,
    sentence,
)
from sluice.cli.output import print_json_line
from sluice.cli.progress import choose_view
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sluice.cli.file_loader import Plan, Step
    from sluice.cli.progress import View
    from sluice.client import Client, Ingestion, IngestionProgress, Upload


@click.command(
    epilog=examples(
        "sluice load trips.csv",
        "sluice load exports/*.csv.gz --dataset trips",
        "sluice load trips.csv --json | jq .account",
        "sluice load trips.ndjson --via http",
        "sluice rejects 7 -o fixed.csv  # edit it, then:",
        "sluice load fixed.csv --fixes 7",
    )
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--dataset", metavar="D", help="Dataset of all files.  [default: from their names]")
@click.option(
    "--fixes",
    metavar="I",
    type=click.IntRange(1),
    help="The files are fixed rejects of this ingestion: their rows join it.",
)
@click.option(
    "--via",
    type=click.Choice(["storage", "http"]),
    default="storage",
    show_default=True,
    help="Upload the files to Cloud Storage, or send their rows to the API.",
)
@click.option(
    "--dialect",
    multiple=True,
    metavar="KEY=VALUE",
    help="How the files are written, if not as declared or detected: delimiter=';', header=false.",
)
@click.option("--no-wait", is_flag=True, help="Return when the files are uploaded.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait without any progress of an ingestion, which continues in the background.",
)
@json_option
@click.pass_context
def load(
    context: click.Context,
    /,
    files: tuple[Path, ...],
    dataset: str | None,
    fixes: int | None,
    via: str,
    no_wait: bool,
    timeout: float,
    as_json: bool,
    **written: tuple[str, ...],
) -> None:
    """Load CSV files and Excel workbooks: upload them, show their progress, print their accounts.

    Files go directly to Cloud Storage, and an upload that breaks off goes on from there. Without
    --dataset, a file goes into the dataset that its folder or the file itself is named after. If
    there is none, one is declared under the name of the file: its dialect and types are inferred.

    With --fixes, the files are rejects of an ingestion that were fixed: their rows join it, and its
    account counts them as loaded instead of rejected.

    With --via http the rows of CSV or NDJSON files are sent to the API instead, a thousand in a
    request. Their rows are published before the request returns. This needs no access to Cloud
    Storage.

    Exit codes: 0 loaded, or skipped because the same content was loaded before; 2 usage error;
    3 loaded, with rejected rows; 4 failed, or no progress within --timeout.
    """
    client = connect(context)
    if fixes is not None and via == "http":
        raise click.UsageError("--fixes needs --via storage: the rows join those of a file")
    plans = _plans(
        client, files, dataset, fixes, dict(parse_assignments(written["dialect"], "KEY=VALUE"))
    )
    if via == "http":
        from sluice.cli.row_sender import send_files  # noqa: PLC0415  # imports the client

        context.exit(send_files(client, plans, as_json=as_json))
    from sluice.cli.file_loader import load_all, upload_all  # noqa: PLC0415  # imports the client

    report = _Report()
    try:
        with choose_view(is_silent=as_json) as view:
            steps = upload_all(client, plans) if no_wait else load_all(client, plans, timeout)
            for step in steps:
                report.add(step, view)
    except KeyboardInterrupt:
        report.print_unfinished(plans)
        context.exit(EXIT_INTERRUPTED)
    if as_json:
        report.print_json(plans)
    else:
        report.print(client, plans)
    context.exit(report.exit_code)


def _plans(
    client: Client,
    files: Sequence[Path],
    dataset: str | None,
    fixes: int | None,
    dialect: Mapping[str, str],
) -> list[Plan]:
    from sluice.cli.file_loader import Plan  # noqa: PLC0415  # imports the client

    if fixes is not None and not dataset:
        dataset = client.ingestion(fixes).dataset
    known = [] if dataset else [str(each["name"]) for each in client.datasets()]
    return [
        Plan(path, dataset or _guess_dataset(path, known), path.stat().st_size, fixes, dialect)
        for path in dict.fromkeys(files)
    ]


def _guess_dataset(path: Path, datasets: Collection[str]) -> str:
    """Return the dataset named by the file's folder, else by its name without suffixes."""
    from sluice.client import dataset_name  # noqa: PLC0415  # takes 0.1 s

    folder, stem = path.resolve().parent.name, path.name.split(".", 1)[0]
    names = [re.sub(r"[^a-z0-9]+", "_", each.lower()).strip("_") for each in (folder, stem)]
    declared = next((each for each in names if each in datasets), None)
    return declared or dataset_name(stem)


@dataclass
class _Report:
    """The latest known state of each file of one `sluice load`."""

    uploads: dict[Path, Upload] = field(default_factory=dict)
    running: dict[Path, IngestionProgress] = field(default_factory=dict)
    ended: dict[Path, Ingestion] = field(default_factory=dict)
    errors: dict[Path, SluiceError] = field(default_factory=dict)

    def add(self, step: Step, view: View) -> None:
        """Record a step and show it."""
        from sluice.cli import file_loader  # noqa: PLC0415  # imports the client

        path, name = step.plan.path, str(step.plan.path)
        match step:
            case file_loader.BytesSent():
                view.sent(name, step.sent_bytes, step.plan.size_bytes)
            case file_loader.Uploaded():
                self.uploads[path] = step.upload
            case file_loader.EventReceived():
                self.running[path] = step.event.data
                view.received(name, step.event)
            case file_loader.Ended():
                self.ended[path] = step.ingestion
                view.ended(name)
            case file_loader.Failed(error=SluiceError() as error):
                self.errors[path] = error
                view.ended(name)
            case file_loader.Failed():
                raise step.error

    @property
    def exit_code(self) -> int:
        """The highest exit code of all files."""
        codes = [exit_code(each) for each in self.ended.values()]
        return max([0, *codes, *(error_code(each) for each in self.errors.values())])

    def print(self, client: Client, plans: Sequence[Plan]) -> None:
        """Print the accounts of all files, then the problems and first rejects of each."""
        ended = [self.ended[plan.path] for plan in plans if plan.path in self.ended]
        print_accounts(ended)
        for each in ended:
            print_outcome(client, each)
        print_addresses(client, ended)
        for path, upload in self.uploads.items():
            if path not in self.ended and path not in self.errors:
                click.echo(f"{path}: uploaded to gs://{upload.bucket}/{upload.object}")
        for error in self.errors.values():
            click.echo(f"Error: {sentence(error)}", err=True)

    def print_json(self, plans: Sequence[Plan]) -> None:
        """Print one line of JSON for each file."""
        for plan in plans:
            print_json_line({"file": str(plan.path), **self._document(plan.path)})

    def print_unfinished(self, plans: Sequence[Plan]) -> None:
        """Print, after an interruption, which files the cloud continues to load."""
        for path in (plan.path for plan in plans if plan.path not in self.ended):
            if path in self.running:
                number = self.running[path].id
                text = f"ingestion {number} continues in the background; `sluice watch {number}`"
                click.echo(as_called(f"{path}: {text} follows it"), err=True)
            elif path in self.uploads:
                text = "uploaded, and its ingestion continues in the background; `sluice watch`"
                click.echo(as_called(f"{path}: {text} follows it"), err=True)
            else:
                click.echo(f"{path}: not uploaded, nothing is loaded", err=True)

    def _document(self, path: Path) -> dict[str, Any]:
        from sluice.client import to_json  # noqa: PLC0415

        if path in self.ended:
            document: dict[str, Any] = to_json(self.ended[path])
            return document
        if path in self.errors:
            return {"problem": self.errors[path].problem()}
        return asdict(self.uploads[path])
