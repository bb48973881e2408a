"""Workbooks for tests, in memory: written by XlsxWriter, or as parts of an archive where no writer would."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xlsxwriter

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(rows: Sequence[Sequence[Any]] = (), **sheets: Sequence[Sequence[Any]]) -> bytes:
    """Return a workbook with the cells of `Sheet1`, if there are any, and of other sheets."""

    def fill(book: Any) -> None:
        for name, cells in (({"Sheet1": rows} if rows else {}) | sheets).items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(cells):
                sheet.write_row(number, 0, row)

    return written(fill)


def written(fill: Callable[[Any], object], **options: Any) -> bytes:
    """Return the workbook that a function fills."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True, **options}) as book:
        fill(book)
    return file.getvalue()


def raw(
    sheet_data: str,
    *,
    shared: str = "",
    workbook_properties: str = "",
    parts: Mapping[str, bytes | str] = {},
) -> bytes:
    """Return a workbook of one sheet with the XML of its rows, and parts that replace or join its own."""
    every = {
        "_rels/.rels": _relations(f'Id="a" Type="{RELATIONS}/officeDocument" Target="xl/book.xml"'),
        "xl/_rels/book.xml.rels": _relations(
            f'Id="s" Type="{RELATIONS}/worksheet" Target="sheets/one.xml"',
            f'Id="t" Type="{RELATIONS}/sharedStrings" Target="/xl/texts.xml"',
        ),
        "xl/book.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}">{workbook_properties}<sheets>'
        '<sheet name="One" sheetId="1" r:id="s"/></sheets></workbook>',
        "xl/texts.xml": f'<sst xmlns="{MAIN}">{shared}</sst>',
        "xl/sheets/one.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{sheet_data}</sheetData>'
        "</worksheet>",
        **parts,
    }
    return archive(every)


def archive(parts: Mapping[str, bytes | str]) -> bytes:
    """Return a ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def _relations(*each: str) -> str:
    found = "".join(f"<Relationship {attributes}/>" for attributes in each)
    namespace = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{namespace}">{found}</Relationships>'


def _protected() -> bytes:
    """Return the header and directory of a compound file with the stream of a protected workbook."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[30:32] = (9).to_bytes(2, "little")
    header[48:52] = (1).to_bytes(4, "little")
    names = ("Root Entry", "EncryptedPackage")
    directory = b"".join(each.encode("utf-16-le").ljust(128, b"\0") for each in names)
    return bytes(header) + bytes(512) + directory


PROTECTED = _protected()
