"""Group commit: what waits at the same time is loaded in one transaction, as databases do with commits.

Most of the cost of a small file or of a request with rows is the same for one and for many: a parse, a
transaction, a commit. One thread at a time does a group. Each dataset has a queue of its own, so that one
whose lock is held does not keep the others waiting. Knows neither files nor rows.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from sluice.errors import TransientError
from sluice.logs import describe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.datasets.model import Dataset

LOGGER = logging.getLogger(__name__)
#: Attribute of events that need no further work; the subscription of finish filters them out.
GROUP_COMMIT = "group_commit"
_MAX_MEMBERS = 64
#: The content of a group.
MAX_GROUP_BYTES = 8 * 1024 * 1024
R = TypeVar("R")


@dataclass(eq=False)
class Waiting(Generic[R]):
    """What waits to be loaded.

    Attributes:
        size_bytes: of its content.
        result: what became of it; None where it must be loaded alone.
    """

    name: str
    dataset: Dataset
    size_bytes: int
    result: Future[R | None] = field(default_factory=Future, init=False, repr=False)

    def fits(self, group: Sequence[Self]) -> bool:
        """Whether it can be loaded with a group: by the same declaration, and not like another."""
        size_bytes = self.size_bytes + sum(each.size_bytes for each in group)
        return (
            len(group) < _MAX_MEMBERS
            and size_bytes <= MAX_GROUP_BYTES
            and self.dataset == group[0].dataset
            and not any(self.is_like(each) for each in group)
        )

    def is_like(self, other: Self) -> bool:
        """Whether it cannot be in one group with another."""
        return self.name == other.name


W = TypeVar("W", bound=Waiting[Any])


class Queue(Generic[W]):
    """What waits for one dataset in this process."""

    def __init__(self) -> None:
        self._waiting: list[W] = []
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def load(self, own: W, load: Callable[[Sequence[W]], Sequence[object]]) -> None:
        """Return once `own` was loaded, by this thread or by another one: it has its result.

        Args:
            own: what to load.
            load: loads a group, all or nothing, and returns the result of each. If it raises anything but
                a transient error, the halves of the group are loaded, so that no member fails because of
                another; one that fails by itself gets the result None.
        """
        self.load_all([own], load)

    def load_all(self, owns: Sequence[W], load: Callable[[Sequence[W]], Sequence[object]]) -> None:
        """As `load`, of several."""
        with self._lock:
            self._waiting.extend(owns)
        with self._loading:
            for own in owns:
                if not own.result.done():
                    _load(self._take_group(own), load)

    def _take_group(self, own: W) -> list[W]:
        """Take `own` out of the queue, and all that can be loaded with it."""
        with self._lock:
            group = [own]
            for each in self._waiting:
                if each is not own and each.fits(group):
                    group.append(each)
            self._waiting = [each for each in self._waiting if each not in group]
            return group


def _load(group: Sequence[W], load: Callable[[Sequence[W]], Sequence[object]]) -> None:
    try:
        for waiting, result in zip(group, load(group), strict=True):
            waiting.result.set_result(result)
    except TransientError as error:
        for waiting in group:
            waiting.result.set_exception(error)
    except Exception as error:  # noqa: BLE001  # who loads it alone finds its own error again
        fields = {"members": [each.name for each in group]}
        LOGGER.warning("group commit failed: %s", describe(error), extra={"fields": fields})
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]) if middle else ():
            _load(half, load)
    finally:
        for waiting in group:
            if not waiting.result.done():
                waiting.result.set_result(None)


class Queues(Generic[W]):
    """The queues of this process, by database and dataset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: weakref.WeakKeyDictionary[Engine, dict[str, Queue[W]]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, engine: Engine, dataset: str) -> Queue[W]:
        """Return the queue of a dataset."""
        with self._lock:
            return self._of.setdefault(engine, {}).setdefault(dataset, Queue())
