"""Hostile workbooks: archives that expand, and parts that no writer would make."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from hostile_file import KIB, MIB, packed

import workbooks

_ROW = '<row><c t="inlineStr"><is><t>n</t></is></c></row>'
_NUMBERS = _ROW + "<row><c><v>1</v></c></row>"
_SHEET = "xl/sheets/one.xml"
_MAIN = f'<worksheet xmlns="{workbooks.MAIN}"><sheetData>'
_END = "</sheetData></worksheet>"


def _sheet(rows: str) -> bytes:
    return workbooks.raw(_ROW + rows)


def _part(name: str, data: str | bytes, rows: str = _NUMBERS, **options: str) -> bytes:
    return workbooks.raw(rows, parts={name: data}, **options)


@functools.cache
def _spaces(size_bytes: int) -> str:
    return " " * size_bytes


def _relations(each: str, count: int) -> str:
    namespace = "http://schemas.openxmlformats.org/package/2006/relationships"
    own = (
        f'<Relationship Id="s" Type="{workbooks.RELATIONS}/worksheet" Target="sheets/one.xml"/>'
        f'<Relationship Id="t" Type="{workbooks.RELATIONS}/sharedStrings" Target="/xl/texts.xml"/>'
    )
    rest = "".join(each.format(number) for number in range(count))
    return f'<Relationships xmlns="{namespace}">{rest}{own}</Relationships>'


def _entities() -> str:
    lines = ['<!ENTITY a "xxxxxxxxxx">']
    for last, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f'<!ENTITY {name} "{f"&{last};" * 10}">')
    return f"<!DOCTYPE x [{''.join(lines)}]>{_MAIN}<row><c t='str'><v>&i;</v></c></row>{_END}"


def _many_parts(count: int) -> Mapping[str, bytes]:
    return {f"xl/media/{number}.bin": b"" for number in range(count)}


def _styles(count: int) -> str:
    formats = "".join(f'<numFmt numFmtId="{n}" formatCode="{"0" * 200}"/>' for n in range(count))
    styles = "".join(f'<xf numFmtId="{n}"/>' for n in range(count))
    return f'<styleSheet xmlns="{workbooks.MAIN}"><numFmts>{formats}</numFmts><cellXfs>{styles}</cellXfs></styleSheet>'


_STYLES = f'<Relationship Id="y" Type="{workbooks.RELATIONS}/styles" Target="styles.xml"/>'


_file = functools.partial(packed, suffix=".xlsx")


WORKBOOKS = (
    _file("xlsx_of_120_mib_of_spaces", lambda: workbooks.raw(_ROW + _spaces(120 * MIB)), "CSV114", is_quick=True),
    _file("xlsx_of_empty_rows", lambda: _sheet("<row/>" * 8 * MIB), "CSV114", within_s=120.0),
    _file("xlsx_of_far_rows", lambda: _sheet('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'), "CSV201"),
    _file("xlsx_of_far_cells", lambda: _sheet("".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(2, 20_000))), "CSV201", within_s=120.0),
    _file("xlsx_of_rows_beyond_the_last", lambda: _sheet('<row r="999999999999"><c><v>1</v></c></row>')),
    _file("xlsx_of_many_cells", lambda: _sheet("<row><c><v>1</v></c></row>" * 400_000), within_s=120.0),
    _file("xlsx_of_one_long_row", lambda: _sheet("<row>" + "<c><v>1</v></c>" * 300_000 + "</row>"), "CSV114"),
    _file("xlsx_of_long_texts", lambda: _sheet('<row><c t="str"><v>' + "x" * 40 * MIB + "</v></c></row>"), "CSV114", dataset="texts"),
    _file("xlsx_of_shared_texts", lambda: workbooks.raw(_NUMBERS, shared="<si><t>x</t></si>" * 4 * MIB), "CSV114", within_s=120.0),
    _file("xlsx_of_empty_shared_texts", lambda: workbooks.raw(_NUMBERS, shared="<si/>" * 4 * MIB), "CSV114", within_s=120.0),
    _file("xlsx_of_one_long_shared_text", lambda: workbooks.raw(_NUMBERS, shared="<si><t>" + "x" * 60 * MIB + "</t></si>"), "CSV114"),
    _file("xlsx_of_a_shared_text_in_many_runs", lambda: workbooks.raw(_NUMBERS, shared="<si>" + "<r><t>x</t></r>" * 3 * MIB + "</si>")),
    _file("xlsx_of_a_long_text_used_often", lambda: workbooks.raw('<row><c t="s"><v>0</v></c></row>' * 2_000, shared="<si><t>" + "x" * 300 * KIB + "</t></si>"), "CSV115"),
    _file("xlsx_of_many_long_texts", lambda: workbooks.raw("".join(f'<row><c t="s"><v>{n}</v></c></row>' for n in range(200_000)), shared="".join(f"<si><t>{n}{'x' * 300}</t></si>" for n in range(200_000))), "CSV104", within_s=120.0),
    _file("xlsx_that_counts_too_many_texts", lambda: _part("xl/texts.xml", f'<sst xmlns="{workbooks.MAIN}" count="4294967295" uniqueCount="4294967295"/>')),
    _file("xlsx_of_missing_texts", lambda: _sheet('<row><c t="s"><v>99999999999999999999</v></c></row>'), "CSV114"),
    _file("xlsx_of_a_text_of_many_digits", lambda: _sheet('<row><c t="s"><v>' + "9" * MIB + "</v></c></row>"), "CSV114"),
    _file("xlsx_of_relations", lambda: _part("xl/_rels/book.xml.rels", _relations('<Relationship Id="i{0}" Type="x" Target="y"/>', 500_000)), "CSV114"),
    _file("xlsx_of_long_relations", lambda: _part("xl/_rels/book.xml.rels", _relations('<Relationship Id="i{0}" Type="x" Target="' + "../" * 5_000 + '"/>', 1_500))),
    _file("xlsx_of_relations_to_itself", lambda: _part("xl/_rels/book.xml.rels", _relations(f'<Relationship Id="b{{0}}" Type="{workbooks.RELATIONS}/officeDocument" Target="book.xml"/>', 10))),
    _file("xlsx_whose_sheet_is_the_workbook", lambda: _part("xl/_rels/book.xml.rels", _relations("", 0).replace("sheets/one.xml", "book.xml")), "CSV101"),
    _file("xlsx_of_sheets", lambda: _part("xl/book.xml", f'<workbook xmlns="{workbooks.MAIN}" xmlns:r="{workbooks.RELATIONS}"><sheets>' + '<sheet name="x" sheetId="1" r:id="s"/>' * 300_000 + "</sheets></workbook>"), "CSV114", within_s=120.0),
    _file("xlsx_of_entities", lambda: _part(_SHEET, _entities()), "CSV114"),
    _file("xlsx_of_nested_elements", lambda: _part(_SHEET, _MAIN + "<a>" * 2 * MIB), "CSV114"),
    _file("xlsx_of_a_long_attribute", lambda: _sheet('<row r="' + "1" * 16 * MIB + '"/>'), "CSV114"),
    _file("xlsx_of_many_attributes", lambda: _sheet("<row " + " ".join(f'a{n}="1"' for n in range(500_000)) + "/>"), "CSV114"),
    _file("xlsx_of_a_long_name", lambda: _sheet("<" + "x" * 16 * MIB + "/>"), "CSV114"),
    _file("xlsx_of_a_long_comment", lambda: _sheet("<!--" + "x" * 32 * MIB + "-->"), "CSV114"),
    _file("xlsx_of_unfinished_text", lambda: _part(_SHEET, _MAIN + '<row><c t="str"><v>' + "x" * 30 * MIB), "CSV114"),
    _file("xlsx_of_styles", lambda: workbooks.raw(_NUMBERS, parts={"xl/styles.xml": _styles(60_000), "xl/_rels/book.xml.rels": _relations(_STYLES, 1)})),
    _file("xlsx_of_a_long_format", lambda: workbooks.raw(_NUMBERS, parts={"xl/styles.xml": _styles(0).replace("<numFmts>", '<numFmts><numFmt numFmtId="1" formatCode="' + "[" * MIB + '"/>'), "xl/_rels/book.xml.rels": _relations(_STYLES, 1)}), "CSV114"),
    _file("xlsx_of_parts", lambda: workbooks.raw(_NUMBERS, parts=_many_parts(60_000)), "CSV114"),
    _file("xlsx_of_formulas", lambda: _sheet("<row><c><f>" + "1+" * MIB + "</f></c></row>"), "CSV114"),
    _file("xlsx_of_long_numbers", lambda: _sheet("<row><c><v>" + "9" * 5_000 + "</v></c></row>"), "CSV201"),
    _file("xlsx_of_exponents", lambda: _sheet("<row><c><v>1E999999999</v></c></row>" * 1_000), "CSV201"),
    _file("xlsx_truncated", lambda: workbooks.raw(_NUMBERS)[:-30], "CSV114"),
    _file("only_a_zip_signature", lambda: b"PK\x03\x04" + bytes(MIB), "CSV114"),
)  # fmt: skip
