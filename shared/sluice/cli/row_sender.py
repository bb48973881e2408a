"""`sluice load --via http`: sends the rows of files to the API, a thousand in a request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import EXIT_FAILED, EXIT_REJECTS, as_called
from sluice.cli.outcome import REJECTS_SHOWN, error_code, reject_rows, sentence
from sluice.cli.output import count, print_json_line, print_rows
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluice.cli.file_loader import Plan
    from sluice.client import Account, Client, RowReject, SentRows


@dataclass
class _Sent:
    """The outcome so far of the rows of one file."""

    plan: Plan
    requests: list[SentRows] = field(default_factory=list)
    error: SluiceError | None = None

    @property
    def rejects(self) -> list[RowReject]:
        return [reject for each in self.requests for reject in each.rejects]

    @property
    def account(self) -> dict[str, int]:
        accounts: list[Account] = [each.account for each in self.requests]
        names = ("read", "loaded", "rejected", "duplicates")
        return {name: sum(getattr(each, name) for each in accounts) for name in names}

    @property
    def published(self) -> str:
        """What was published before an error, and how to remove it."""
        done = [each for each in self.requests if each.state == "done"]
        loaded = count(sum(each.account.loaded for each in done), "row")
        numbers = ", ".join(str(each.ingestion) for each in done)
        if not done:
            return "; nothing of the file was published"
        return (
            f"; {loaded} before that are published, as ingestions {numbers}: `sluice undo` removes"
            " those of one"
        )

    @property
    def exit_code(self) -> int:
        if self.error:
            return EXIT_FAILED if self.requests else error_code(self.error)
        return EXIT_REJECTS if self.rejects else 0

    def document(self) -> dict[str, Any]:
        return {
            "file": str(self.plan.path),
            "dataset": self.plan.dataset,
            "ingestions": [each.ingestion for each in self.requests],
            "account": self.account,
            "rejects": [asdict(each) for each in self.rejects],
            "problem": self.error.problem() if self.error else None,
        }


def send_files(client: Client, plans: Sequence[Plan], *, as_json: bool) -> int:
    """Send the rows of files, print their outcome, return the exit code."""
    sent = [_send(client, plan, is_silent=as_json) for plan in plans]
    if as_json:
        for each in sent:
            print_json_line(each.document())
    else:
        _print(sent)
    return max(each.exit_code for each in sent)


def _send(client: Client, plan: Plan, *, is_silent: bool) -> _Sent:
    sent = _Sent(plan)
    try:
        for rows in client.send_file(plan.path, plan.dataset):
            sent.requests.append(rows)
            if not is_silent:
                click.echo(f"{plan.path}: {count(sent.account['read'], 'row')} sent", err=True)
    except SluiceError as error:
        sent.error = error
    return sent


def _print(files: Sequence[_Sent]) -> None:
    print_rows(
        [
            {"file": each.plan.path, "dataset": each.plan.dataset, **each.account}
            for each in files
            if each.requests
        ]
    )
    for each in files:
        if each.rejects:
            click.echo(f"\n{each.plan.path}: {count(len(each.rejects), 'row')} rejected")
            print_rows(reject_rows(asdict(reject) for reject in each.rejects[:REJECTS_SHOWN]))
            if len(each.rejects) > REJECTS_SHOWN:
                click.echo(f"and {len(each.rejects) - REJECTS_SHOWN:,} more: --json prints all")
        if each.error:
            click.echo(
                f"{each.plan.path}: {sentence(each.error)}{as_called(each.published)}", err=True
            )
