"""What a file is by its name, and by its first bytes: compression, wide encoding, or not CSV at all."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from sluice.csv.dialects import Dialect
from sluice.errors import NotCsvError

#: Bytes from which the kind of a file is known.
HEAD_BYTES = 4096
#: Names of CSV files and workbooks; a compressed CSV file has the ending of its compression too.
ENDINGS = ".csv, .tsv or .txt, also with .gz or .zst, .xlsx or .xlsm"
_NAME = re.compile(r"\.(?:(?:csv|tsv|txt)(?:\.(gz|zst))?|(xlsx|xlsm))\Z", re.IGNORECASE)
_CONTENT_TYPES = {
    "gz": "application/gzip",
    "zst": "application/zstd",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
}
#: The first bytes of compressed content; a zstd stream may begin with a skippable frame (RFC 8878, 3.1.2).
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + n, 0x2A, 0x4D, 0x18]): "zstd" for n in range(16)},
}
#: Byte order marks, those of UTF-32 first: one of them begins like one of UTF-16.
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
#: Which of four bytes are zero in ASCII text, and in what share of the text at least.
_ZERO_PATTERNS = {
    "x0x0": "utf-16-le",
    "0x0x": "utf-16-be",
    "x000": "utf-32-le",
    "000x": "utf-32-be",
}
_MOSTLY = 0.6
#: Bytes of a file that are those of its header at least.
_HEADER_BYTES = 16
_AS_CSV = "export the data as CSV in UTF-8, and upload that"
_AS_SHEET = "save the sheet as CSV UTF-8, and upload that"
_AS_IT_IS = f"upload it to the inbox as it is, or {_AS_SHEET}"
_UNPACK = "unpack it, or compress the CSV file with gzip or zstd, and upload that"
_RECOMPRESS = "compress it with gzip or zstd, and upload that"
#: What files begin with that are no CSV: what they are, and what to do.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FOREIGN = (
    (_COMPOUND, "an Excel workbook (XLS)", _AS_SHEET),
    (b"PAR1\x15", "a Parquet file", _AS_CSV),
    (b"Obj\x01", "an Avro file", _AS_CSV),
    (b"ARROW1\0\0", "an Arrow file", _AS_CSV),
    (b"\x89HDF\r\n", "an HDF5 file", _AS_CSV),
    (b"\x93NUMPY", "a NumPy file", _AS_CSV),
    (b"\x80\x04\x95", "a Python pickle", _AS_CSV),
    (b"\x80\x05\x95", "a Python pickle", _AS_CSV),
    (b"SQLite format 3\0", "an SQLite database", _AS_CSV),
    (b"%PDF-", "a PDF document", _AS_CSV),
    (b"{\\rtf", "an RTF document", _AS_CSV),
    *((b"BZh%d1AY&SY" % n, "compressed with bzip2", _RECOMPRESS) for n in range(1, 10)),
    (b"\xfd7zXZ\0", "compressed with xz", _RECOMPRESS),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", _RECOMPRESS),
    (b"\x1f\x9d", "compressed with compress (.Z)", _RECOMPRESS),
    (b"\xff\x06\0\0sNaPpY", "compressed with Snappy", _RECOMPRESS),
    (b"]\0\0", "compressed with LZMA", _RECOMPRESS),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x89PNG\r\n", "a PNG picture", _AS_CSV),
    (b"\xff\xd8\xff", "a JPEG picture", _AS_CSV),
    (b"GIF87a", "a GIF picture", _AS_CSV),
    (b"GIF89a", "a GIF picture", _AS_CSV),
    (b"MZ\x90\0", "a Windows program", _AS_CSV),
    (b"\x7fELF", "a Linux program", _AS_CSV),
)
#: The same for files that begin like a text: patterns of their first bytes.
_FOREIGN_PATTERNS = (
    (re.compile(rb"ORC[\s\S]{0,60}[\0-\x08]"), "an ORC file", _AS_CSV),
    (re.compile(rb"\xff{4}[\s\S]{2}\0\0"), "an Arrow stream", _AS_CSV),
    (re.compile(rb"[^\0]{1,100}\0[\s\S]{156,255}ustar"), "a tar archive", _UNPACK),
)
_ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
#: Control characters that no text needs, and how many different ones a text has at most: some are
#: delimiters, and some are garbage in cells.
_CONTROLS = frozenset((*range(8), *range(0x0E, 0x1B)))
_MAX_CONTROLS = 7
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a]")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OTHER_ARCHIVES = (b"opendocument.", b"word/")
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\s", re.IGNORECASE)
_JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*"[^"\n]*"\s*:')
_UTF_8_MARK = b"\xef\xbb\xbf"


def is_csv_name(name: str) -> bool:
    """Whether a name ends like that of a CSV file or workbook, in any case."""
    return _NAME.search(name) is not None


def content_type_of(name: str) -> str:
    """Return the content type of a CSV file by its name."""
    found = _NAME.search(name)
    ending = (found[1] or found[2] or "").lower() if found else ""
    if ending:
        return _CONTENT_TYPES[ending]
    return "text/tab-separated-values" if name.lower().endswith(".tsv") else "text/csv"


@dataclass(frozen=True)
class Foreign:
    """Content that is not CSV: what it is, and what to do instead."""

    what: str
    advice: str

    def refuse(self, name: str) -> NotCsvError:
        """Return the error of a file with this content."""
        return NotCsvError(f"{name} is {self.what}: {self.advice}")


def compression_of(head: bytes) -> str:
    """Return the compression of content by its first bytes: `gzip`, `zstd` or an empty string."""
    return next((kind for magic, kind in _COMPRESSIONS.items() if head.startswith(magic)), "")


def wide_encoding_of(head: bytes) -> str:
    """Return the encoding of content whose characters have two or four bytes, else an empty string.

    Without a byte order mark it is recognised by the zero bytes of ASCII characters.
    """
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" not in head or _binary_kind_of(head):
        return ""
    # A header in ASCII may come before text of another script, which has few zero bytes.
    return _zero_pattern_of(head) or _zero_pattern_of(head[:_HEADER_BYTES])


def _zero_pattern_of(head: bytes) -> str:
    head = head[: len(head) // 4 * 4]
    if not head:
        return ""
    zeros = (head[at::4].count(0) * 4 / len(head) for at in range(4))
    pattern = "".join("0" if share > _MOSTLY else "x" for share in zeros)
    return _ZERO_PATTERNS.get(pattern, "")


def with_byte_order(head: bytes, encoding: str) -> str:
    """Return the name of a wide encoding with its byte order, which a mark may have stated."""
    if encoding.endswith(("-le", "-be")):
        return encoding
    return f"{encoding}-le" if head.startswith(b"\xff\xfe") else f"{encoding}-be"


def is_archive(head: bytes) -> bool:
    """Whether content is a ZIP archive, as an Excel workbook is, and no document of another kind."""
    return head.startswith(_ZIP) and not any(each in head for each in _OTHER_ARCHIVES)


def is_compound(head: bytes) -> bool:
    """Whether content is a compound file, as an Excel workbook with a password is."""
    return head.startswith(_COMPOUND)


def foreign_kind_of(head: bytes, dialect: Dialect) -> Foreign | None:
    """Return what content is that is not CSV, by its first bytes; None where it may be CSV.

    Without header and quotes, a cell may be JSON.
    """
    if binary := _binary_kind_of(head):
        return binary
    text = head.removeprefix(_UTF_8_MARK)
    if _HTML.match(text):
        return Foreign("an HTML page, which a link to a sign-in page gives", _AS_CSV)
    if _XML.match(text):
        return Foreign("an XML document", _AS_CSV)
    if (dialect.header or dialect.quote) and _JSON.match(text):
        return Foreign("JSON", f"{_AS_CSV}, or send its rows to POST /v1/datasets/{{d}}/rows")
    if len(_CONTROLS.intersection(head[:HEAD_BYTES])) > _MAX_CONTROLS:
        return Foreign("binary data, not text", _AS_CSV)
    return None


def is_csv(data: bytes, dialect: Dialect) -> bool:
    """Whether content may be CSV as it is: not compressed, of one byte units, and of no other kind."""
    head = data[:HEAD_BYTES]
    return not (compression_of(head) or wide_encoding_of(head) or foreign_kind_of(head, dialect))


def _binary_kind_of(head: bytes) -> Foreign | None:
    if head.startswith(_ZIP):
        return _zip_kind(head)
    for magic, what, advice in _FOREIGN:
        if head.startswith(magic):
            return Foreign(what, advice)
    for pattern, what, advice in _FOREIGN_PATTERNS:
        if pattern.match(head):
            return Foreign(what, advice)
    return Foreign("compressed with zlib", _RECOMPRESS) if _is_zlib(head) else None


def _is_zlib(head: bytes) -> bool:
    """Whether content is a zlib stream, whose first two bytes a text may have."""
    if not (head.startswith(_ZLIB) and _CONTROL.search(head)):
        return False
    try:
        return bool(zlib.decompressobj().decompress(head))
    except zlib.error:
        return False


def _zip_kind(head: bytes) -> Foreign:
    if b"opendocument.spreadsheet" in head:
        return Foreign("an OpenDocument spreadsheet (ODS)", _AS_SHEET)
    if b"word/" in head:
        return Foreign("a Word document (DOCX)", _AS_CSV)
    if b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/" in head:
        return Foreign("an Excel workbook (XLSX)", _AS_IT_IS)
    return Foreign("a ZIP archive", _UNPACK)
