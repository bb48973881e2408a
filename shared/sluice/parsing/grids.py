"""Where each field of a regular chunk is; knows the bytes, not what they mean.

Regular is a chunk without quotes in which every record has as many fields as the file has columns, and
every line end is the same. There a delimiter or line end is a border between two fields, whatever stands
between them, so that one pass over the bytes finds all fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.csv.records import RecordIndex
from sluice.csv.scanning import CR, LF

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

Codes = NDArray[np.uint8]
Places = NDArray[np.int32]

#: Larger data has offsets that need more than 32 bits.
_LARGEST_BYTES = 2**31 - 1
#: So much is looked at in one step that it stays in the processor's cache.
_TILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The fields of a regular chunk.

    Attributes:
        codes: the bytes of the chunk.
        starts: offset of the first byte of each field: a row for each record, a column for each field.
        ends: offset behind its last byte.
    """

    codes: Codes
    starts: Places
    ends: Places

    def __len__(self) -> int:
        return len(self.starts)

    def index(self) -> RecordIndex:
        """Return where the records are: each on a line of its own."""
        starts, ends = self.starts[:, 0].astype(np.intp), self.ends[:, -1].astype(np.intp)
        return RecordIndex(starts, ends, np.arange(len(self)), (), 0)


def find_grid(data: bytes, dialect: Dialect, width: int) -> Grid | None:
    """Return the fields of a chunk, or None if it is not regular.

    Args:
        data: whole records: no BOM, no header.
        dialect: how they are written.
        width: number of the file's columns.
    """
    found = _find_borders(data, dialect) if 0 < len(data) < _LARGEST_BYTES else None
    if found is None:
        return None
    codes, lines = np.frombuffer(data, np.uint8), found.line_feeds
    borders = np.concatenate(found.places)
    if is_cut := not data.endswith(b"\n"):
        borders = np.append(borders, np.int32(len(data)))
    if len(borders) % width or len(borders) // width != lines + is_cut:
        return None
    ends = borders.reshape(-1, width)
    # There are as many line feeds as last borders; if all stand there, none stands anywhere else.
    line_feeds = ends[:lines, -1]
    if not (codes[line_feeds] == LF).all():
        return None
    starts = np.concatenate(([np.int32(0)], borders[:-1] + 1)).reshape(ends.shape)
    if found.has_cr:
        if data.count(b"\r") != lines or not (codes[line_feeds - 1] == CR).all():
            return None
        line_feeds -= 1
    is_blank = width == 1 and bool((starts >= ends).any())
    return None if is_blank else Grid(codes, starts, ends)


class _Borders(NamedTuple):
    """Where delimiters and line feeds are, tile by tile, and how many of them are line feeds."""

    places: list[Places]
    line_feeds: int
    has_cr: bool


def _find_borders(data: bytes, dialect: Dialect) -> _Borders | None:
    """Return what separates fields; None where a quote or NUL byte makes that a matter of more than bytes."""
    codes, delimiter, quote = (
        np.frombuffer(data, np.uint8),
        dialect.delimiter_byte[0],
        dialect.quote_byte,
    )
    places, line_feeds, has_cr = [], 0, False
    is_border, is_line_feed = np.empty(_TILE_BYTES, bool), np.empty(_TILE_BYTES, bool)
    for first in range(0, len(data), _TILE_BYTES):
        end = min(first + _TILE_BYTES, len(data))
        if data.find(quote, first, end) >= 0 or data.find(b"\0", first, end) >= 0:
            return None
        has_cr = has_cr or data.find(b"\r", first, end) >= 0
        tile = codes[first:end]
        border = np.equal(tile, delimiter, out=is_border[: len(tile)])
        line_feed = np.equal(tile, LF, out=is_line_feed[: len(tile)])
        line_feeds += int(np.count_nonzero(line_feed))
        np.logical_or(border, line_feed, out=border)
        places.append(np.flatnonzero(border).astype(np.int32) + np.int32(first))
    return _Borders(places, line_feeds, has_cr)
