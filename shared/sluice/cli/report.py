"""What became of each file of a `sluice load`, gathered step by step and told at the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from sluice.cli.outcome import exit_code, print_accounts, print_outcome
from sluice.cli.session import EXIT_FAILED
from sluice.cli.tables import print_json_line
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sluice.cli.loading import Plan, Step
    from sluice.cli.progress import View
    from sluice.client import Client, Ingestion, Upload


@dataclass
class Report:
    """The newest that is known of each file."""

    uploads: dict[Path, Upload] = field(default_factory=dict)
    running: dict[Path, Ingestion] = field(default_factory=dict)
    ended: dict[Path, Ingestion] = field(default_factory=dict)
    errors: dict[Path, SluiceError] = field(default_factory=dict)

    def take(self, step: Step, view: View) -> None:
        """Note a step and show it."""
        from sluice.cli import loading  # noqa: PLC0415  # brings the client along

        path, name = step.plan.path, str(step.plan.path)
        match step:
            case loading.Sent():
                view.sent(name, step.sent_bytes, step.plan.size_bytes)
            case loading.Uploaded():
                self.uploads[path] = step.upload
            case loading.Told():
                self.running[path] = step.event.ingestion
                view.told(name, step.event)
            case loading.Ended():
                self.ended[path] = step.ingestion
                view.ended(name)
            case loading.Broke(error=SluiceError() as error):
                self.errors[path] = error
                view.ended(name)
            case loading.Broke():
                raise step.error

    @property
    def exit_code(self) -> int:
        """The worst of all files."""
        codes = [exit_code(each) for each in self.ended.values()]
        return max([0, *codes, *(EXIT_FAILED for _ in self.errors)])

    def print(self, client: Client, plans: Sequence[Plan]) -> None:
        """Print the accounts of all files, then what each of them needs to have said."""
        ended = [self.ended[plan.path] for plan in plans if plan.path in self.ended]
        print_accounts(ended)
        for each in ended:
            print_outcome(client, each)
        for path, upload in self.uploads.items():
            if path not in self.ended and path not in self.errors:
                click.echo(f"{path}: uploaded to gs://{upload.bucket}/{upload.object}")
        for error in self.errors.values():
            click.echo(f"Error: {error.detail}", err=True)

    def print_json(self, plans: Sequence[Plan]) -> None:
        """Print one line of JSON for each file."""
        for plan in plans:
            print_json_line({"file": str(plan.path), **self._document(plan.path)})

    def print_what_goes_on(self, plans: Sequence[Plan]) -> None:
        """Tell, after an interruption, what the cloud goes on with and what is lost."""
        for path in (plan.path for plan in plans if plan.path not in self.ended):
            if path in self.running:
                number = self.running[path].id
                word = f"ingestion {number} goes on in the background; `sluice watch {number}`"
                click.echo(f"{path}: {word} follows it", err=True)
            elif path in self.uploads:
                word = "uploaded, its ingestion goes on in the background; `sluice watch`"
                click.echo(f"{path}: {word} follows it", err=True)
            else:
                click.echo(f"{path}: not uploaded, so nothing of it is loaded", err=True)

    def _document(self, path: Path) -> dict[str, object]:
        if path in self.ended:
            return dict(self.ended[path].document)
        if path in self.errors:
            return {"problem": self.errors[path].problem()}
        return asdict(self.uploads[path])
