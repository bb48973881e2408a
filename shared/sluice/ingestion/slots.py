"""Slots: how many handlers of one dataset work in a process at a time; knows neither files nor rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass
class Slot:
    """A handler's slot.

    Attributes:
        is_free: whether the handler got one.
        refused_others: after its end, whether another handler was refused meanwhile.
    """

    is_free: bool
    refused_others: bool = False


class Slots:
    """Slots of each dataset, by database.

    Args:
        limit: how many a dataset has.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: dict[tuple[Engine, str], list[Slot]] = {}

    @contextmanager
    def slot(self, engine: Engine, dataset: str) -> Iterator[Slot]:
        """Take a slot of a dataset, if one is free, and give it back at the end."""
        key = (engine, dataset)
        slot = self._take(key)
        try:
            yield slot
        finally:
            if slot.is_free:
                self._give_back(key, slot)

    def _take(self, key: tuple[Engine, str]) -> Slot:
        with self._lock:
            taken = self._taken.setdefault(key, [])
            slot = Slot(is_free=len(taken) < self._limit)
            if slot.is_free:
                taken.append(slot)
            for each in () if slot.is_free else taken:
                each.refused_others = True
            return slot

    def _give_back(self, key: tuple[Engine, str], slot: Slot) -> None:
        with self._lock:
            taken = [each for each in self._taken[key] if each is not slot]
            self._taken[key] = taken
            if not taken:
                del self._taken[key]
