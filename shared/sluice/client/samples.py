"""The part of a file that is sent to be inferred: its beginning, or the first rows of a workbook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A larger file is inferred from its first bytes; loading it looks at all of them.
SAMPLE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class FileSample:
    """The beginning of a file.

    Attributes:
        data: its bytes, or those of the CSV of a workbook.
        dialect: how it is written, as far as that is known.
        size_bytes: of the complete file; more than that of the data if these are its beginning.
    """

    data: bytes
    dialect: Mapping[str, str]
    size_bytes: int


def take_sample(path: Path, given: Mapping[str, str]) -> FileSample:
    """Return the beginning of a file.

    Args:
        path: of the file.
        given: how it is written, by the keys of a dialect, and the `sheet` of a workbook.

    Raises:
        WorkbookError: it is a large workbook that cannot be read.
    """
    from sluice.csv.contents import is_archive  # noqa: PLC0415  # paid here

    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(SAMPLE_BYTES)
        if len(data) == size_bytes or not is_archive(data):
            return FileSample(data, given, size_bytes)
        from sluice.workbooks.sheet_text import TEXT_KEYS, first_rows  # noqa: PLC0415  # paid here

        text, is_complete = first_rows(file, str(path), given.get("sheet", ""), SAMPLE_BYTES)
    dialect = {**TEXT_KEYS, **{key: value for key, value in given.items() if key != "sheet"}}
    return FileSample(text, dialect, len(text) if is_complete else max(size_bytes, len(text) + 1))
