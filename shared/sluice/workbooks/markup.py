"""Reads XML as events, in bounded memory whatever it contains.

Expat keeps open elements, a token until it ends, and every name; so depth, tokens and names are bounded. A
document type, which can define entities, is no part of a workbook.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol
from xml.parsers import expat

from sluice.errors import WorkbookError
from sluice.workbooks.archive import damaged

_MAX_NAMES = 10_000
_MAX_DEPTH = 64
#: Of a part that is read as a whole, such as the styles.
MAX_SMALL_PART_ELEMENTS = 1_000_000
#: A block of characters of which no element ends is at most this many times as long.
_MAX_QUIET_BLOCKS = 64
_TEXT_BYTES = 64 * 1024


class Handler(Protocol):
    """Receives the events of a part."""

    def start(self, name: str, attributes: Mapping[str, str], /) -> object:
        """An element begins; names have no prefix."""

    def end(self, name: str, /) -> object:
        """An element ends."""

    def text(self, data: str, /) -> object:
        """Some characters of an element."""


def events(
    blocks: Iterable[bytes], part: str, handler: Handler, max_elements: int
) -> Iterator[None]:
    """Feed a part to a handler, and return control after each block.

    Args:
        blocks: the bytes of the part.
        part: its name, for errors.
        handler: receives its elements.
        max_elements: how many there may be, so that the time to read them is bounded.

    Raises:
        WorkbookError: it is no well-formed XML, or hostile.
    """
    reader = _Reader(part, handler, max_elements)
    for block in blocks:
        reader.feed(block)
        yield
    reader.feed(b"", is_final=True)
    yield


def read(
    blocks: Iterable[bytes],
    part: str,
    handler: Handler,
    max_elements: int = MAX_SMALL_PART_ELEMENTS,
) -> None:
    """Feed a part to a handler; see `events`.

    Raises:
        WorkbookError: it is no well-formed XML, or hostile.
    """
    for _ in events(blocks, part, handler, max_elements):
        pass


class _Reader:
    def __init__(self, part: str, handler: Handler, max_elements: int) -> None:
        self._part = part
        self._max_elements = max_elements
        self._handler = handler
        self._depth = self._starts = self._quiet = 0
        self._names: dict[str, str] = {}
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.buffer_size = _TEXT_BYTES
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = handler.text
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    def feed(self, block: bytes, *, is_final: bool = False) -> None:
        before = self._starts
        try:
            self._parser.Parse(block, is_final)
        except expat.ExpatError as error:
            raise damaged(f"{self._part} is not XML ({error})") from None
        self._quiet = 0 if self._starts > before else self._quiet + 1
        if self._quiet > _MAX_QUIET_BLOCKS:
            raise damaged(f"a text or tag in {self._part} does not end")
        if len(self._parser.intern) > _MAX_NAMES:
            raise damaged(f"{self._part} has too many names")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._starts += 1
        if self._starts > self._max_elements:
            raise WorkbookError(
                f"{self._part} of the workbook has more than {self._max_elements:,} elements: save the"
                " sheet as CSV UTF-8"
            )
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise damaged(f"the elements of {self._part} are too deep")
        local = self._names.get(name)
        if local is None:
            local = self._names[name] = name.rpartition(":")[2]
        self._handler.start(local, attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._handler.end(self._names[name])

    def _refuse_doctype(self, *_: object) -> None:
        raise WorkbookError(f"{self._part} of the workbook has a document type, which none has")
