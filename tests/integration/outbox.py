"""The outbox in memory, as backups see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Store:
    """The outbox in memory; `before_keep` may raise an error."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.before_keep: Callable[[str], object] = lambda _name: None

    def fetch(self, bucket: str, name: str, max_bytes: int) -> bytes | None:
        data = self.objects.get(name)
        return None if data is None else data[: max_bytes + 1]

    def keep(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        self.before_keep(name)
        self.objects[name] = data

    def folders(self, bucket: str, prefix: str) -> list[str]:
        found = {n.removeprefix(prefix).split("/")[0] for n in self.objects if n.startswith(prefix)}
        return sorted(found)
