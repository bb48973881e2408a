"""Workbooks that are damaged, hostile or of another kind are refused by name, in bounded memory."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from contextlib import suppress

import pytest

from sluice.datasets.model import Dataset
from sluice.errors import FileError, NotCsvError, RecordTooLongError, WorkbookError
from sluice.workbooks.archive import Archive
from sluice.workbooks.compound_file import is_protected
from sluice.workbooks.sheet_text import open_sheet
from workbooks import PROTECTED, RELATIONS, archive, raw, workbook

UNDECLARED = Dataset("any", "", ())
MIB = 1024 * 1024
ROW = "<row><c><v>1</v></c></row>"


def read(data: bytes) -> int:
    """Read the first sheet; return the size of its text."""
    blocks = open_sheet(io.BytesIO(data), "a.xlsx", UNDECLARED).blocks()
    return sum(len(each) for each in blocks)


def test_a_cell_in_the_last_row_and_column_costs_no_memory() -> None:
    row = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    tracemalloc.start()
    try:
        assert read(raw(f'<row r="1"><c r="A1"><v>1</v></c></row>{row}')) > 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 48 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("sheet", "words"),
    [
        ('<row r="1048577"><c><v>1</v></c></row>', "row 1048577"),
        ('<row r="5"><c><v>1</v></c></row><row r="5"><c><v>1</v></c></row>', "follows row 5"),
        ('<row><c r="XFE1"><v>1</v></c></row>', "no column 'XFE'"),
        ('<row><c r="B1"><v>1</v></c><c r="A1"><v>1</v></c></row>', "not in order"),
        ('<row><c t="s"><v>7</v></c></row>', "no shared text 7"),
        ('<row><c t="s"><v>-1</v></c></row>', "no shared text -1"),
        ("<row><c><v>1</v></row>", "is not XML"),
        ("<a>" * 100, "too deep"),
        ("".join(f"<a{n}/>" for n in range(20_000)), "too many names"),
        (f"<!--{'x' * 8 * MIB}-->", "does not end"),
    ],
)
def test_a_damaged_sheet_is_refused(sheet: str, words: str) -> None:
    with pytest.raises(WorkbookError, match=words):
        read(raw(sheet))


def test_entities_are_refused() -> None:
    entities = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><worksheet>&b;</worksheet>'
    with pytest.raises(WorkbookError, match="document type"):
        read(raw("", parts={"xl/sheets/one.xml": entities}))


def test_a_row_of_large_shared_texts_is_refused_before_it_fills_the_memory() -> None:
    cells = '<c t="s"><v>0</v></c>' * 1000
    data = raw(f"<row>{cells}</row>", shared=f"<si><t>{'x' * MIB}</t></si>")
    tracemalloc.start()
    try:
        with pytest.raises(RecordTooLongError, match="row 1 of One is larger than 32 MiB"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 96 * MIB
    finally:
        tracemalloc.stop()


def test_shared_texts_have_a_limit() -> None:
    shared = f"<si><t>{'x' * 2 * MIB}</t></si>" * 50
    with pytest.raises(WorkbookError, match="the texts of the workbook have more than 96 MiB"):
        read(raw("<row><c><v>1</v></c></row>", shared=shared))


def test_the_number_of_shared_texts_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.workbooks.workbook.MAX_TEXTS", 1000)
    assert read(raw(ROW, shared="<si/>" * 1000)) == len("1\n")
    with pytest.raises(WorkbookError, match="the workbook has more than 1,000 texts"):
        read(raw(ROW, shared="<si/>" * 1001))


RELATION = f'<Relationship Id="s" Type="{RELATIONS}/worksheet" Target="sheets/one.xml"/>'
SHEET = '<sheet name="One" r:id="s"/>'
STYLES = f'<Relationship Id="y" Type="{RELATIONS}/styles" Target="styles.xml"/>'


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"xl/_rels/book.xml.rels": f"<r>{RELATION * 100_001}</r>"}, "100,000 relations"),
        (
            {"xl/book.xml": f'<workbook xmlns:r="{RELATIONS}">{SHEET * 100_001}</workbook>'},
            "100,000 sheets",
        ),
        (
            {
                "xl/_rels/book.xml.rels": f"<r>{RELATION}{STYLES}</r>",
                "xl/styles.xml": f"<s><cellXfs>{'<xf/>' * 100_001}</cellXfs></s>",
            },
            "100,000 styles",
        ),
        ({"xl/book.xml": f"<workbook>{'<x/>' * 1_000_001}</workbook>"}, "1,000,000 elements"),
    ],
    ids=["relations", "sheets", "styles", "elements"],
)
def test_the_entries_of_a_part_have_a_limit(parts: dict[str, str], words: str) -> None:
    with pytest.raises(WorkbookError, match=f"more than {words}"):
        read(raw(ROW, parts=parts))


def test_a_format_of_numbers_has_a_limit() -> None:
    parts = {
        "xl/_rels/book.xml.rels": f"<r>{RELATION}{STYLES}</r>",
        "xl/styles.xml": f'<s><numFmts><numFmt numFmtId="1" formatCode="{"[" * MIB}"/></numFmts></s>',
    }
    with pytest.raises(WorkbookError, match="a format of numbers has more than 255 characters"):
        read(raw(ROW, parts=parts))


def test_junk_between_rows_costs_no_memory() -> None:
    data = raw("<row/>" + "<x/>" * 2_000_000 + "<row><c><v>1</v></c></row>")
    tracemalloc.start()
    try:
        assert read(data) == len("\n1\n")
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


def test_a_part_has_a_limit_when_it_is_decompressed() -> None:
    bomb = Archive(io.BytesIO(archive({"bomb.xml": b"\0" * 8 * MIB})))
    with pytest.raises(WorkbookError, match=r"bomb.xml of the workbook has more than 1 MiB"):
        list(bomb.blocks("bomb.xml", MIB))


def test_a_directory_of_the_archive_has_a_limit() -> None:
    parts = {f"{n:0>200}": b"" for n in range(5000)}
    with pytest.raises(WorkbookError, match="directory of its archive is too large"):
        Archive(io.BytesIO(archive(parts)))


def test_a_truncated_workbook_is_refused() -> None:
    data = workbook([["id"], *([n] for n in range(1000))])
    for size in (30, len(data) // 2, len(data) - 1):
        with pytest.raises(WorkbookError, match="damaged"):
            read(data[:size])


@pytest.mark.parametrize("seed", range(8))
def test_a_workbook_with_changed_bytes_is_read_or_refused(seed: int) -> None:
    data = bytearray(workbook([["id", "name"], *([n, f"name {n}"] for n in range(200))]))
    chosen = random.Random(seed)
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(chosen.randrange(1, 5)):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        with suppress(FileError):
            assert read(bytes(changed)) >= 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"a.csv": "a,b"}, "a ZIP archive: unpack it"),
        (
            {
                "_rels/.rels": '<r><Relationship Type="x/officeDocument" Target="xl/workbook.bin"/></r>'
            },
            "XLSB",
        ),
        (
            {
                "_rels/.rels": '<r><Relationship Type="x/officeDocument" Target="word/a.xml"/></r>',
                "word/a.xml": "<w:document xmlns:w='w'/>",
            },
            "without sheets",
        ),
    ],
)
def test_other_archives_are_refused_by_name(parts: dict[str, str], words: str) -> None:
    with pytest.raises(NotCsvError, match=words):
        read(archive(parts))


def test_a_missing_part_is_named() -> None:
    file = io.BytesIO(raw("<row/>"))
    with zipfile.ZipFile(file) as whole:
        parts = {name: whole.read(name) for name in whole.namelist() if "one.xml" not in name}
    with pytest.raises(WorkbookError, match=r"xl/sheets/one.xml is missing"):
        read(archive(parts))


def test_a_protected_workbook_is_known_by_its_streams() -> None:
    assert is_protected(io.BytesIO(PROTECTED))
    assert not is_protected(io.BytesIO(PROTECTED[:1100]))
    assert not is_protected(io.BytesIO(b"\xd0\xcf\x11\xe0"))
