"""What a hostile file of the catalogue is: how its bytes are made, and how its ingestion ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
MIB = 1024 * KIB
DONE = "done"
#: No ingestion: an empty object is a folder.
IGNORED = "ignored"


@dataclass(frozen=True)
class HostileFile:
    """A file that is meant to exhaust a function.

    Attributes:
        name: of the case, and of the object, without its ending.
        dataset: the folder of the inbox; see `hostile_datasets.py`.
        content: makes its bytes.
        end: how its ingestion ends: `done`, `ignored`, or the code of the problem.
        loaded: number of rows that are published, where it is known.
        within_s: how long that may take.
        is_quick: whether it is one of the few that run with all tests.
        suffix: ending of the object's name.
    """

    name: str
    dataset: str
    content: Callable[[], bytes]
    end: str = DONE
    loaded: int | None = None
    within_s: float = 120.0
    is_quick: bool = False
    suffix: str = ".csv"

    @property
    def object_name(self) -> str:
        """Its place in the inbox."""
        return f"{self.dataset}/{self.name}{self.suffix}"


def packed(
    name: str,
    content: Callable[[], bytes],
    end: str = DONE,
    *,
    dataset: str = "numbers",
    **options: object,
) -> HostileFile:
    """Return a case of a compressed file or a workbook."""
    return HostileFile(name, dataset, content, end, **options)  # type: ignore[arg-type]


def repeated(line: bytes, size_bytes: int) -> bytes:
    """Return a line as often as it fits into a size."""
    return line * (size_bytes // len(line))
