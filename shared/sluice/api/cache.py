"""Answers kept in memory for a short time, by what was asked; each knows the state of what was read.

Its ETag holds the freshness of every dataset that the answer was made of. The database tells the present
one with each request, and only an answer of the same is given. So no answer from before a write is given
to whom sees the acknowledgement of the write, by whichever process took it.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from sluice.settings import Settings

#: Longest answer that is kept, as a share of all that are.
_LARGEST_SHARE = 16


@dataclass(frozen=True)
class Kept:
    """An answer: its body, complete, and its headers."""

    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...]
    until: float

    @property
    def etag(self) -> str:
        """The state of what it was made of."""
        return dict(self.headers).get("ETag", "")


class AnswerCache:
    """The newest answers, up to a size and an age; any thread may use it.

    Args:
        keep_s: seconds for which an answer is kept; 0 keeps none.
        max_bytes: size of all bodies together.
    """

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._answers: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Kept | None:
        """Return the answer that is kept under a key."""
        with self._lock:
            found = self._answers.get(key)
            if found is None:
                return None
            if found.until < time.monotonic():
                self._forget(key)
                return None
            self._answers.move_to_end(key)
            return found

    def keep(self, key: Hashable, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        """Keep an answer, unless it is a large one."""
        if self._keep_s <= 0 or len(body) * _LARGEST_SHARE > self._max_bytes:
            return
        until = time.monotonic() + self._keep_s
        with self._lock:
            if key in self._answers:
                self._forget(key)
            self._answers[key] = Kept(body, content_type, tuple(headers.items()), until)
            self._size_bytes += len(body)
            while self._size_bytes > self._max_bytes:
                self._forget(next(iter(self._answers)))

    def keeping(
        self, key: Hashable, blocks: Iterable[bytes], content_type: str, headers: dict[str, str]
    ) -> Iterator[bytes]:
        """Yield the blocks of a body, and keep it when all of it was yielded."""
        held: list[bytes] | None = []
        size_bytes = 0
        for block in blocks:
            size_bytes += len(block)
            if held is not None:
                held = [*held, block] if size_bytes * _LARGEST_SHARE <= self._max_bytes else None
            yield block
        if held is not None:
            self.keep(key, b"".join(held), content_type, headers)

    def _forget(self, key: Hashable) -> None:
        self._size_bytes -= len(self._answers.pop(key).body)


@functools.cache
def cache_of(settings: Settings) -> AnswerCache:
    """Return this process's cache for the settings."""
    return AnswerCache(settings.cache_s, settings.cache_bytes)
