"""Callers of the API by their keys, for tests of what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.access.keys import create_key
from sluice.documents.access import KeyRequest
from sluice.documents.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client, TestResponse

BOOTSTRAP = "the first administrator's"


@dataclass
class Keyring:
    """Sends requests to the functions with keys, as any number of callers."""

    serve: Serve
    engine: Engine

    def __post_init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def key(self, role: Role, datasets: Sequence[str] | None = None, **rights: Any) -> str:
        """Create a key and return it."""
        listed = None if datasets is None else list(datasets)
        request = KeyRequest(name="test", role=role, datasets=listed, **rights)
        made = create_key(self.engine, request, "test")
        assert made.key is not None
        return made.key

    def send(
        self, function: str, key: str | None, method: str, path: str, **options: Any
    ) -> TestResponse:
        """Send a request to a function; None sends no key."""
        if function not in self._clients:
            self._clients[function] = self.serve(
                function, token=BOOTSTRAP, outbox="outbox", failures_per_minute="0"
            )
        headers = {**options.pop("headers", {})}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return self._clients[function].open(path, method=method, headers=headers, **options)
