"""A workbook: its sheets, the meaning of its number formats, and its shared texts."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from sluice.errors import NotCsvError, WorkbookError
from sluice.workbooks.archive import MAX_PART_BYTES, Archive, damaged, resolve
from sluice.workbooks.fields import field
from sluice.workbooks.markup import read
from sluice.workbooks.number_formats import Kind, kind_of_code, kind_of_id
from sluice.workbooks.values import unescape

#: Of all shared texts of a workbook, which are kept in memory.
MAX_TEXT_BYTES = 96 * 1024 * 1024
#: Shared texts, whose elements take time to read, and those of their runs.
MAX_TEXTS = 4_000_000
_MAX_TEXT_ELEMENTS = 4 * MAX_TEXTS
#: Sheets, relations, formats of numbers, and styles of cells, each: Excel has 65,490 styles at most.
MAX_ENTRIES = 100_000
#: Of a format of numbers, as in Excel: the time to examine one grows with the square of its length.
_MAX_FORMAT_CHARACTERS = 255
_SHORT_BYTES = 256
_ROOT = "_rels/.rels"
_AS_CSV = "save the sheet as CSV UTF-8, and upload that"


@dataclass(frozen=True)
class Sheet:
    """A sheet with cells.

    Attributes:
        part: its part of the archive.
        is_visible: whether Excel shows it.
    """

    name: str
    part: str
    is_visible: bool


@dataclass(frozen=True)
class Relation:
    """A reference of one part to another: its type is the end of its URI."""

    id: str
    type: str
    target: str


class Texts:
    """The shared texts, each as a field of CSV in UTF-8."""

    def __init__(self) -> None:
        self._ends = array("Q")
        self._data = bytearray()
        self._long: dict[int, bytes] = {}

    def append(self, text: str) -> None:
        """Add a text.

        Raises:
            WorkbookError: all are more than `MAX_TEXT_BYTES`, or than `MAX_TEXTS`.
        """
        if len(self._ends) >= MAX_TEXTS:
            raise _too_many("texts", MAX_TEXTS)
        self._data += field(unescape(text))
        self._ends.append(len(self._data))
        if len(self._data) + 8 * len(self._ends) > MAX_TEXT_BYTES:
            raise WorkbookError(
                f"the texts of the workbook have more than {MAX_TEXT_BYTES // 2**20} MiB: save the"
                " sheet as CSV UTF-8"
            )

    def __getitem__(self, number: str) -> bytes:
        try:
            place = int(number)
            first = self._ends[place - 1] if place else 0
            end = self._ends[place]
        except (ValueError, IndexError):
            raise damaged(f"there is no shared text {number[:20]}") from None
        if end - first <= _SHORT_BYTES:
            return bytes(self._data[first:end])
        if place not in self._long:  # many cells may have it: they share one copy
            self._long[place] = bytes(self._data[first:end])
        return self._long[place]


@dataclass(frozen=True)
class Workbook:
    """What is common to the sheets of a workbook.

    Attributes:
        sheets: in the order of their tabs, without charts and macros.
        kinds: the meaning of a number by the style of its cell.
        is_1904: whether dates count from 1904, as in old versions for the Macintosh.
    """

    archive: Archive
    sheets: tuple[Sheet, ...]
    kinds: tuple[Kind, ...]
    is_1904: bool
    texts_part: str | None

    def texts(self) -> Texts:
        """Read the shared texts."""
        texts = Texts()
        if self.texts_part and self.archive.has(self.texts_part):
            blocks = self.archive.blocks(self.texts_part, MAX_PART_BYTES)
            read(blocks, self.texts_part, _TextReader(texts), _MAX_TEXT_ELEMENTS)
        return texts

    def sheet(self, name: str) -> Sheet:
        """Return a sheet by its name.

        Raises:
            WorkbookError: there is none; the error lists those that there are.
        """
        for fold in (str, str.casefold):
            for each in self.sheets:
                if fold(each.name) == fold(name):
                    return each
        names = ", ".join(repr(each.name) for each in self.sheets)
        raise WorkbookError(f"the workbook has no sheet {name!r}; its sheets are {names}")


def open_workbook(file: BinaryIO, name: str) -> Workbook:
    """Read what is common to the sheets of a workbook.

    Args:
        file: the workbook; it can be sought.
        name: what to call it in errors.

    Raises:
        NotCsvError: it is another kind of document.
        WorkbookError: it is damaged, or too large.
    """
    archive = Archive(file)
    part = _document_of(archive, name)
    relations = {each.id: each for each in _relations(archive, part)}
    document = _DocumentReader(name)
    read(archive.blocks(part), part, document)
    parts = {each.type: resolve(part, each.target) for each in relations.values()}
    return Workbook(
        archive=archive,
        sheets=tuple(_sheets(document, relations, part)),
        kinds=_kinds(archive, parts.get("styles")),
        is_1904=document.is_1904,
        texts_part=parts.get("sharedStrings"),
    )


def _too_many(what: str, most: int) -> WorkbookError:
    return WorkbookError(f"the workbook has more than {most:,} {what}: save the sheet as CSV UTF-8")


def _document_of(archive: Archive, name: str) -> str:
    """Return the main part of a document."""
    if not archive.has(_ROOT):
        raise NotCsvError(
            f"{name} is a ZIP archive: unpack it, or compress the CSV file with gzip or zstd, and"
            " upload that"
        )
    found = [each for each in _relations(archive, "") if each.type == "officeDocument"]
    if not found:
        raise damaged("it has no document")
    part = resolve("", found[0].target)
    if part.lower().endswith(".bin"):
        raise NotCsvError(
            f"{name} is a binary Excel workbook (XLSB): save it as .xlsx, and upload that"
        )
    return part


def _relations(archive: Archive, part: str) -> Iterator[Relation]:
    folder, _, own = part.rpartition("/")
    name = f"{folder}/_rels/{own}.rels" if folder else f"_rels/{own}.rels"
    if not archive.has(name):
        return
    reader = _RelationReader()
    read(archive.blocks(name), name, reader)
    yield from reader.found


def _sheets(
    document: _DocumentReader, relations: Mapping[str, Relation], part: str
) -> Iterator[Sheet]:
    for name, relation, state in document.sheets:
        found = relations.get(relation)
        if found is None:
            raise damaged(f"the sheet {name!r} is missing")
        if found.type == "worksheet":
            yield Sheet(name, resolve(part, found.target), state in ("", "visible"))


def _kinds(archive: Archive, part: str | None) -> tuple[Kind, ...]:
    if part is None or not archive.has(part):
        return ()
    reader = _StyleReader()
    read(archive.blocks(part), part, reader)
    return tuple(reader.kinds)


class _Elements:
    """Receives elements; characters are of no interest."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, data: str) -> None:
        """Some characters of an element."""


class _RelationReader(_Elements):
    def __init__(self) -> None:
        self.found: list[Relation] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            if len(self.found) >= MAX_ENTRIES:
                raise _too_many("relations", MAX_ENTRIES)
            kind = attributes.get("Type", "").rpartition("/")[2]
            self.found.append(
                Relation(attributes.get("Id", ""), kind, attributes.get("Target", ""))
            )


class _DocumentReader(_Elements):
    """Reads the main part: the names of the sheets, their relations and states."""

    def __init__(self, name: str) -> None:
        self.sheets: list[tuple[str, str, str]] = []
        self.is_1904 = False
        self._name = name
        self._root = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._root = self._root or name
        if self._root != "workbook":
            raise NotCsvError(f"{self._name} is an Office document without sheets: {_AS_CSV}")
        if name == "workbookPr":
            self.is_1904 = attributes.get("date1904", "0") in ("1", "true", "on")
        elif name == "sheet":
            if len(self.sheets) >= MAX_ENTRIES:
                raise _too_many("sheets", MAX_ENTRIES)
            relation = next((v for k, v in attributes.items() if k.endswith(":id")), "")
            self.sheets.append((attributes.get("name", ""), relation, attributes.get("state", "")))


class _StyleReader(_Elements):
    """Reads the number format of each style of cells."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self._codes: dict[str, Kind] = {}
        self._is_inside = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "numFmt":
            if len(self._codes) >= MAX_ENTRIES:
                raise _too_many("formats", MAX_ENTRIES)
            code = attributes.get("formatCode", "")
            if len(code) > _MAX_FORMAT_CHARACTERS:
                raise damaged(
                    f"a format of numbers has more than {_MAX_FORMAT_CHARACTERS} characters"
                )
            kind = kind_of_code(code)
            self._codes.setdefault(attributes.get("numFmtId", ""), kind)
        elif name == "cellXfs":
            self._is_inside = True
        elif name == "xf" and self._is_inside:
            if len(self.kinds) >= MAX_ENTRIES:
                raise _too_many("styles", MAX_ENTRIES)
            self.kinds.append(self._kind(attributes.get("numFmtId", "0")))

    def end(self, name: str) -> None:
        self._is_inside = self._is_inside and name != "cellXfs"

    def _kind(self, number: str) -> Kind:
        if number in self._codes:
            return self._codes[number]
        return kind_of_id(int(number)) if number.isdecimal() else Kind.NUMBER


class _TextReader(_Elements):
    """Collects shared texts; those of runs are joined, phonetic ones are left out."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._parts: list[str] = []
        self._is_taken = self._is_phonetic = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        if name == "t":
            self._is_taken = not self._is_phonetic
        elif name == "rPh":
            self._is_phonetic = True

    def end(self, name: str) -> None:
        if name == "t":
            self._is_taken = False
        elif name == "rPh":
            self._is_phonetic = False
        elif name == "si":
            self._texts.append("".join(self._parts))
            self._parts.clear()

    def text(self, data: str) -> None:
        if self._is_taken:
            self._parts.append(data)
