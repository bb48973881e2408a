"""Pub/Sub of the local cloud as a part: our embedded server, or Google's emulator."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.local.errors import MissingPartError
from sluice.local.parts import Part, is_listening
from sluice.local.state import CHECKOUT, PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTION = "--pubsub-port"


class Provider(StrEnum):
    """Which Pub/Sub runs."""

    EMBEDDED = "embedded"
    GOOGLE = "google"


def part(provider: Provider, folder: Path, port: int) -> Part:
    """Describe Pub/Sub as a part of the local cloud.

    Raises:
        MissingPartError: Google's emulator is not installed.
    """
    command = _emulator(port) if provider is Provider.GOOGLE else _embedded(folder, port)
    return Part(
        name="pubsub",
        command=command,
        ports={OPTION: port},
        address=f"localhost:{port}",
        is_ready=lambda: is_listening(port),
        prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
        env={"PYTHONPATH": str(CHECKOUT / "shared")},
    )


def _embedded(folder: Path, port: int) -> Sequence[str]:
    return [
        sys.executable, "-m", "sluice.local.pubsub",
        "--port", str(port),
        "--journal", str(folder / "journal"),
        "--project", PROJECT,
    ]  # fmt: skip


def _emulator(port: int) -> Sequence[str]:
    # `gcloud beta emulators pubsub start` runs this program, after a second of Python.
    gcloud = shutil.which("gcloud")
    sdk = Path(gcloud).resolve().parents[1] if gcloud else Path("google-cloud-sdk")
    program = sdk / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    if not program.exists():
        raise MissingPartError(
            "Google's Pub/Sub emulator is not installed:"
            " `gcloud components install pubsub-emulator`, or omit --pubsub google"
        )
    return [str(program), "--host=127.0.0.1", f"--port={port}"]
