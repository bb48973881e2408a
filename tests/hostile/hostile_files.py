"""The catalogue of hostile files, each made from a short description.

Most are what an accident makes of a file of a few megabytes; those that are compressed have more content, as
`SLUICE_MAX_EXPANSION` allows.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence

from hostile_compressed import COMPRESSED
from hostile_datasets import WIDTH
from hostile_file import DONE, IGNORED, KIB, MIB, HostileFile, repeated
from hostile_workbooks import WORKBOOKS

_MIXED = b"id,name,amount,ratio,day,doc\n"
_PAIR = b"a,b\n"
_BOM = b"\xef\xbb\xbf"


def _file(
    name: str, dataset: str, content: Callable[[], bytes], end: str = DONE, **options: object
) -> HostileFile:
    return HostileFile(name, dataset, content, end, **options)  # type: ignore[arg-type]


def _mixed(cells: bytes, count: int = 1) -> bytes:
    return _MIXED + (cells + b"\n") * count


def _numbered(count: int, line: str = "{},x\n") -> bytes:
    return "".join(map(line.format, range(count))).encode()


def _nested(depth: int) -> bytes:
    return b'1,x,1,1,2020-01-01,"' + b"[" * depth + b"]" * depth + b'"'


def _document(value: object) -> bytes:
    text = json.dumps(value).replace('"', '""')
    return b'1,x,1,1,2020-01-01,"' + text.encode() + b'"'


def _names(count: int, name: str = "c{}") -> bytes:
    return ",".join(map(name.format, range(count))).encode() + b"\n"


SIZES = (
    _file("empty", "pairs", lambda: b"", IGNORED),
    _file("one_byte", "pairs", lambda: b"a", loaded=0),
    _file("one_line_end", "pairs", lambda: b"\n", "CSV101"),
    _file("only_a_quote", "pairs", lambda: b'"', "CSV104"),
    _file("only_a_mark", "pairs", lambda: _BOM, "CSV101"),
    _file("only_half_a_mark", "pairs", lambda: _BOM[:2], "CSV104"),
    _file("only_marks", "pairs", lambda: _BOM * MIB, "CSV104"),
    _file("only_a_header", "pairs", lambda: _PAIR, loaded=0),
    _file("only_nul", "pairs", lambda: b"\0" * 8 * MIB, "CSV104"),
    _file("one_byte_undeclared", "nobody_one_byte", lambda: b"a", "CSV101"),
)

LINES = (
    _file("line_ends", "pairs", lambda: _PAIR + b"\n" * 8 * MIB, loaded=0),
    _file("carriage_returns", "pairs", lambda: _PAIR + b"\r" * 32 * MIB, loaded=0),
    _file("crlfs", "pairs", lambda: _PAIR + b"\r\n" * 16 * MIB, loaded=0),
    _file("line_ends_before_header", "pairs", lambda: b"\n" * 32 * MIB + _PAIR, "CSV104"),
    _file("line_ends_undeclared", "nobody_lines", lambda: b"\n" * 32 * MIB, "CSV101"),
    _file("delimiters", "pairs", lambda: _PAIR + b"," * 30 * MIB, "CSV201"),
    _file("lines_of_delimiters", "pairs", lambda: _PAIR + b",\n" * 8 * MIB, loaded=8 * MIB, within_s=180.0),
    _file("lines_of_many_delimiters", "pairs", lambda: _PAIR + repeated(b"," * 99 + b"\n", 30 * MIB), "CSV106"),
    _file("a_line_of_64_mib", "pairs", lambda: _PAIR + b"x" * 64 * MIB, "CSV112"),
    _file("a_line_of_31_mib", "pairs", lambda: _PAIR + b"1," + b"x" * 31 * MIB + b"\n"),
    _file("a_field_of_8_mib", "pairs", lambda: _PAIR + b"1," + b"x" * 8 * MIB + b"\n"),
    _file("a_long_line_undeclared", "nobody_long_line", lambda: b"x" * 40 * MIB, "CSV104"),
    _file("mixed_line_ends", "pairs", lambda: _PAIR + repeated(b"1,2\r3,4\r\n5,6\n", 4 * MIB), within_s=120.0),
    _file("footer_of_long_lines", "framed", lambda: b"x\n" * 3 + _PAIR + b"1,2\n" * 9 + b"y" * 40 * MIB + b"\n1\n2\n", "CSV112"),
    _file("preamble_of_long_lines", "framed", lambda: b"x" * 40 * MIB + b"\n1\n2\n" + _PAIR, "CSV112"),
)  # fmt: skip

QUOTES = (
    _file("unclosed_before_short_lines", "pairs", lambda: _PAIR + b'"\n' + b"1,2\n" * MIB, within_s=120.0),
    _file("unclosed_before_1_byte_lines", "numbers", lambda: b'n\n"\n' + b"1\n" * 4 * MIB, within_s=120.0),
    _file("a_quoted_field_of_40_mib", "pairs", lambda: _PAIR + b'1,"' + b"x" * 40 * MIB + b'"\n', "CSV112", is_quick=True),
    _file("a_quoted_field_of_40_mib_of_lines", "pairs", lambda: _PAIR + b'1,"' + b"x\n" * 20 * MIB + b'"\n', "CSV106"),
    _file("a_quoted_field_of_31_mib_of_lines", "texts", lambda: b't\n"' + b"xyz\n" * (31 * MIB // 4) + b'"\n'),
    _file("a_quoted_field_of_30_mib", "pairs", lambda: _PAIR + b'1,"' + b"x" * 30 * MIB + b'"\n'),
    _file("a_quoted_field_of_30_mib_of_quotes", "pairs", lambda: _PAIR + b'1,"' + b'""' * 15 * MIB + b'"\n'),
    _file("a_quoted_field_of_line_ends", "pairs", lambda: _PAIR + b'1,"' + b"\n" * 30 * MIB + b'"\n'),
    _file("quotes", "pairs", lambda: _PAIR + b'"' * 30 * MIB, "CSV201"),
    _file("an_odd_number_of_quotes", "pairs", lambda: _PAIR + b'"' * (30 * MIB + 1), "CSV201"),
    _file("lines_of_quotes", "pairs", lambda: _PAIR + b'"\n' * 8 * MIB, "CSV106"),
    _file("lines_of_two_quotes", "texts", lambda: b"t\n" + b'""\n' * 4 * MIB, within_s=180.0),
    _file("lines_of_three_quotes", "pairs", lambda: _PAIR + b'"""\n' * 4 * MIB, "CSV106"),
    _file("stray_quotes", "pairs", lambda: _PAIR + b'a"b,c\n' * 2 * MIB, "CSV106"),
    _file("stray_quotes_as_text", "literal", lambda: _PAIR + b'a"b,c\n' * 2 * MIB, "CSV106", within_s=180.0),
    _file("junk_after_quotes", "pairs", lambda: _PAIR + b'"a"b,c\n' * 2 * MIB, "CSV106"),
    _file("half_quoted_records", "pairs", lambda: _PAIR + b'"a,b\n"c",d\n' * MIB, "CSV106"),
    _file("malformed_records_of_many_lines", "pairs", lambda: _PAIR + (b'a"b,"' + b"\n1,2" * 1000 + b'"\n') * 200, within_s=120.0),
    _file("an_unclosed_quote_in_the_header", "pairs", lambda: b'"a,b\n' + b"1,2\n" * MIB, "CSV104"),
    _file("quotes_with_spaces", "spaced", lambda: _PAIR + repeated(b'  "a"  ,' + b" " * 99 + b'"b"\n', 16 * MIB)),
    _file("spaces_around_nothing", "spaced", lambda: _PAIR + b"1," + b" " * 30 * MIB + b"\n"),
    _file("spaces_before_quotes", "spaced", lambda: _PAIR + b"1," + b' "' * 12 * MIB + b"\n", "CSV201"),
)  # fmt: skip

DIALECTS = (
    _file("comments", "commented", lambda: _PAIR + b"#\n" * 15 * MIB, loaded=0),
    _file("comments_before_header", "commented", lambda: b"#\n" * 8 * MIB + _PAIR, "CSV104"),
    _file("comments_between_records", "commented", lambda: _PAIR + b"#\n1,2\n" * MIB, loaded=MIB, within_s=120.0),
    _file("comments_in_quotes", "commented", lambda: _PAIR + b'1,"' + b"\n#" * 12 * MIB + b'"\n'),
    _file("comments_in_quotes_and_outside", "commented", lambda: _PAIR + b'1,"\n#"\n#\n' * MIB, loaded=MIB, within_s=120.0),
    _file("a_comment_of_40_mib", "commented", lambda: _PAIR + b"#" * 40 * MIB + b"\n1,2\n", "CSV112"),
    _file("comments_with_marks", "commented", lambda: _PAIR + (_BOM * 9 + b"#\n") * 256 * KIB, loaded=0),
    _file("escapes", "escaped", lambda: _PAIR + b"\\" * 30 * MIB, "CSV201"),
    _file("escaped_line_ends", "escaped", lambda: _PAIR + b"1," + b"\\\n" * 12 * MIB + b"\n"),
    _file("escaped_line_ends_of_comments", "escaped", lambda: _PAIR + b"#\\\n" * 8 * MIB, loaded=0),
    _file("escaped_quotes", "escaped", lambda: _PAIR + b'1,"' + b'\\"' * 12 * MIB + b'"\n'),
    _file("half_delimiters", "long_delimiter", lambda: b"a||b\n" + b"|" * (30 * MIB + 1) + b"\n", "CSV201"),
    _file("triple_bars", "long_delimiter", lambda: b"a||b\n" + b"|||\n" * 4 * MIB, within_s=120.0),
    _file("trailing_delimiters", "trailing", lambda: b"a,b,\n" + b"1,2,\n1,2\n" * MIB, loaded=2 * MIB, within_s=120.0),
    _file("unquoted_quotes", "unquoted", lambda: b'a\tb\n' + b'"\t"\n' * 4 * MIB, loaded=4 * MIB, within_s=120.0),
    _file("short_records_padded", "padded", lambda: _PAIR + b"1\n" * 4 * MIB, loaded=4 * MIB, within_s=180.0),
    _file("short_records_of_many_columns", "wide_padded", lambda: _names(WIDTH) + b"1\n" * MIB, "CSV116"),
    _file("long_records_rescued", "rescued", lambda: _PAIR + b"1,2,3,4,5,6,7,8,9\n" * 256 * KIB, within_s=180.0),
    _file("a_record_of_many_rescued_cells", "rescued", lambda: _PAIR + b"1," * 2 * MIB + b"\n"),
)  # fmt: skip

ENCODINGS = (
    _file("invalid_utf8", "unicode", lambda: _PAIR + b"\xff,\xff\n" * 2 * MIB, "CSV106", is_quick=True),
    _file("invalid_utf8_in_one_field", "unicode", lambda: _PAIR + b"1," + b"\xff" * 30 * MIB + b"\n", "CSV201"),
    _file("some_invalid_utf8", "unicode", lambda: _PAIR + (b"1,\xff\n" + b"1,2\n" * 50) * 80_000, within_s=180.0),
    _file("half_characters", "unicode", lambda: _PAIR + b"\xe2\x82,\xf0\x9f\n" * 2 * MIB, "CSV106"),
    _file("invalid_utf8_undeclared", "nobody_invalid", lambda: b"a,b\n" + b"\xc3\x28,\xff\n" * 2 * MIB, within_s=180.0),
    _file("utf8_after_windows", "pairs", lambda: _PAIR + b"1,\xe9\n" * MIB + "1,łódź\n".encode() * MIB, "CSV106", within_s=120.0),
    _file("undefined_windows_bytes", "western", lambda: _PAIR + b"\x81,\x8d\n" * 2 * MIB, "CSV106"),
    _file("broken_japanese", "japanese", lambda: _PAIR + b"\x81,\xff\n" * 2 * MIB, "CSV106"),
    _file("utf16", "pairs", lambda: "a,b\n".encode("utf-16") + "1,2\n".encode("utf-16-le") * MIB, loaded=MIB, within_s=120.0),
    _file("utf16_surrogates", "pairs", lambda: "a,b\n".encode("utf-16") + b"\x00\xd8,\x00\x00\xdc\n\x00" * MIB, "CSV108"),
    _file("utf16_of_odd_size", "pairs", lambda: "a,b\n1,2".encode("utf-16") + b"x", "CSV108"),
    _file("utf16_of_one_line", "pairs", lambda: "a,b\n1,".encode("utf-16") + b"x\0" * 16 * MIB),
    _file("utf32", "pairs", lambda: "a,b\n1,2\n".encode("utf-32")),
    _file("marks_before_records", "pairs", lambda: _PAIR + (_BOM + b"1,2\n") * MIB, loaded=MIB, within_s=120.0),
    _file("marks_in_the_middle", "pairs", lambda: _PAIR + b"1," + _BOM * 8 * MIB + b"\n"),
    _file("many_marks_before_a_record", "pairs", lambda: _PAIR + _BOM * 8 * MIB + b"1,2\n"),
    _file("marks_and_quotes", "pairs", lambda: _PAIR + (_BOM + b'"1","2"\n') * MIB, loaded=MIB, within_s=120.0),
    _file("lines_of_marks", "pairs", lambda: _PAIR + (_BOM + b"\n") * 2 * MIB, "CSV106"),
    _file("nul_in_each_record", "pairs", lambda: _PAIR + b"1,\0\n" * 4 * MIB, "CSV106"),
    _file("a_field_of_nul", "pairs", lambda: _PAIR + b"1," + b"\0" * 30 * MIB + b"\n", "CSV201"),
    _file("control_characters", "pairs", lambda: _PAIR + b"\x01\x02\x1b,\x7f\x04\x05\n" * MIB, loaded=MIB, within_s=120.0),
    _file("wide_characters", "pairs", lambda: _PAIR + b"1," + "\N{PILE OF POO}".encode() * 7 * MIB + b"\n"),
)  # fmt: skip

VALUES = (
    _file("rejects", "numbers", lambda: b"n\n" + b"x\n" * 4 * MIB, "CSV106"),
    _file("rejects_all_or_nothing", "all_or_nothing", lambda: b"n\n" + b"x\n" * 4 * MIB, "CSV106"),
    _file("rejects_without_header", "bare", lambda: b"x\n" * 4 * MIB, "CSV106"),
    _file("rejects_of_long_fields", "numbers", lambda: b"n\n" + repeated(b"x" * 10_000 + b"\n", 30 * MIB), "CSV201"),
    _file("rejects_among_rows", "numbers", lambda: b"n\n" + (b"1\n" * 9 + b"x\n") * MIB, "CSV106", within_s=180.0),
    _file("headers_repeated", "pairs", lambda: _PAIR * 4 * MIB, "CSV106"),
    _file("digits", "mixed", lambda: _mixed(b"1,x," + b"9" * 5_000 + b",1,,", 2_000), within_s=120.0),
    _file("more_digits", "mixed", lambda: _mixed(b"1,x," + b"9" * 8 * MIB + b",1,,"), "CSV201"),
    _file("digits_of_integers", "numbers", lambda: b"n\n" + repeated(b"9" * 5_000 + b"\n", 16 * MIB), "CSV201"),
    _file("digits_of_floats", "mixed", lambda: _mixed(b"1,x,1," + b"9" * 5_000 + b",,", 2_000), "CSV201", within_s=120.0),
    _file("leading_zeros", "numbers", lambda: b"n\n" + repeated(b"0" * 5_000 + b"1\n", 16 * MIB)),
    _file("exponents", "mixed", lambda: _mixed(b"1,x,1e999999999,1e999999999,,", 50_000), "CSV201"),
    _file("large_exponents", "mixed", lambda: _mixed(b"1,x,1e14999,1,,", 20_000), "CSV201", within_s=180.0),
    _file("negative_exponents", "mixed", lambda: _mixed(b"1,x,1e-16000,1e-999,,", 20_000), "CSV201", within_s=180.0),
    _file("dates", "mixed", lambda: _mixed(b"1,x,1,1,99999999999-99-99,", 200_000), "CSV106"),
    _file("far_dates", "mixed", lambda: _mixed(b"1,x,1,1,5874897-12-31,", 50_000), "CSV201"),
    _file("nested_json", "mixed", lambda: _mixed(_nested(2_000), 2_000), "CSV201", is_quick=True),
    _file("deeply_nested_json", "mixed", lambda: _mixed(_nested(2 * MIB)), "CSV201"),
    _file("unfinished_json", "mixed", lambda: _mixed(b'1,x,1,1,,"' + b"[" * 8 * MIB + b'"'), "CSV201"),
    _file("json_of_many_members", "mixed", lambda: _mixed(_document({str(n): n for n in range(300_000)}))),
    _file("json_of_one_name", "mixed", lambda: _MIXED + b'1,x,1,1,,"{' + b",".join([b'""a"":1'] * 500_000) + b'}"\n', "CSV201"),
    _file("json_of_many_digits", "mixed", lambda: _mixed(b"1,x,1,1,," + b"9" * 100_000, 100)),
    _file("json_exponents", "mixed", lambda: _mixed(b"1,x,1,1,,1e99999", 50_000)),
    _file("json_surrogates", "mixed", lambda: _mixed(b'1,x,1,1,,"""' + b"\\ud800" * 100_000 + b'"""'), "CSV201"),
    _file("patterns", "patterned", lambda: b"t\n" + repeated(b"a" * 5_000 + b"\n", 8 * MIB), "CSV201"),
    _file("a_long_pattern", "patterned", lambda: b"t\n" + b"a" * 900_000 + b"\n", "CSV201"),
    _file("texts_of_one_byte", "texts", lambda: b"t\n" + b"x\n" * 8 * MIB, loaded=8 * MIB, within_s=180.0),
    _file("different_codes", "coded", lambda: b"t\n" + _numbered(500_000, "{}\n"), "CSV111"),
    _file("long_codes", "coded", lambda: b"t\n" + b"".join(b"%d" % n + b"x" * 8_000 + b"\n" for n in range(2_000)), "CSV111"),
    _file("many_groups", "summed", lambda: _PAIR + _numbered(1_000_000), loaded=1_000_000, within_s=180.0),
)  # fmt: skip

KEYS = (
    _file("one_key_ignored", "first", lambda: b"id,v\n" + b"1,x\n" * MIB, loaded=1, within_s=180.0),
    _file("one_key_updated", "last", lambda: b"id,v\n" + b"1,x\n" * MIB, loaded=1, within_s=180.0),
    _file("one_key_refused", "unique", lambda: b"id,v\n" + b"1,x\n" * MIB, "CSV106", within_s=180.0),
    _file("each_key_twice", "first", lambda: b"id,v\n" + _numbered(400_000) * 2, within_s=180.0),
    _file("each_key_twice_refused", "unique", lambda: b"id,v\n" + _numbered(400_000) * 2, "CSV106", within_s=180.0),
    _file("keys_of_long_rows", "last", lambda: b"id,v\n" + b"".join(b"%d," % n + b"x" * 10_000 + b"\n" for n in range(3_000)), within_s=120.0),
)  # fmt: skip

HEADERS = (
    _file("a_header_of_2_mib", "pairs", lambda: b"x" * 2 * MIB + b",b\n1,2\n", "CSV104"),
    _file("a_header_of_delimiters", "pairs", lambda: b"," * MIB + b"\n1,2\n", "CSV104"),
    _file("a_header_of_many_names", "pairs", lambda: _names(120_000) + b"1,2\n", "CSV104"),
    _file("a_header_of_one_name", "pairs", lambda: b",".join([b"a"] * 100_000) + b"\n1,2\n", "CSV104"),
    _file("a_header_of_quotes", "pairs", lambda: b'"' * 900 * KIB + b"\n1,2\n", "CSV201"),
    _file("a_header_of_spaces", "pairs", lambda: b" " * 500 * KIB + b",b\n1,2\n", "CSV201"),
    _file("a_long_header_of_prefixes", "pairs", lambda: b",".join(b"a" * n for n in range(1, 1_200)) + b"\n1,2\n", "CSV104"),
    _file("wide_rows", "wide", lambda: _names(WIDTH) + (b"," * (WIDTH - 1) + b"\n") * 20_000, within_s=300.0),
    _file("wide_short_cells", "wide", lambda: _names(WIDTH) + (b",".join([b"x"] * WIDTH) + b"\n") * 10_000, within_s=300.0),
    _file("undeclared_columns", "nobody_wide", lambda: _names(3_000) + b",".join([b"1"] * 3_000) + b"\n", "CSV102"),
    _file("undeclared_names_repeated", "nobody_repeated", lambda: _names(1_000, "a") + b",".join([b"1"] * 1_000) + b"\n"),
    _file("undeclared_long_names", "nobody_long_names", lambda: _names(100, "x" * 9_000 + "{}") + b",".join([b"1"] * 100) + b"\n"),
    _file("new_columns", "widened", lambda: b"n," + _names(2_000) + b"1" + b",2" * 2_000 + b"\n", "CSV102"),
    _file("widened_texts", "widened", lambda: b"n\n" + b"1\n" * MIB + b"x\n", within_s=180.0),
)  # fmt: skip

UNDECLARED = (
    _file("every_delimiter", "nobody_delimiters", lambda: repeated(b"a,b;c\td|e\n", 4 * MIB), within_s=180.0),
    _file("ragged_rows", "nobody_ragged", lambda: b"".join(b",".join([b"1"] * (n % 50)) + b"\n" for n in range(200_000)), within_s=180.0),
    _file("only_quotes_undeclared", "nobody_quotes", lambda: b'"' * 8 * MIB),
    _file("only_delimiters_undeclared", "nobody_commas", lambda: b"," * 8 * MIB, "CSV102"),
    _file("random_bytes", "nobody_random", lambda: bytes(n * n * 7 % 251 for n in range(2 * MIB)), "CSV102"),
    _file("long_cells_undeclared", "nobody_cells", lambda: b"a,b\n" + (b"x" * 500_000 + b",1\n") * 40, within_s=120.0),
    _file("undeclared_rows_of_one_byte", "nobody_short", lambda: b"n\n" + b"1\n" * 8 * MIB, within_s=240.0),
    _file("undeclared_different_texts", "nobody_texts", lambda: b"t,u\n" + _numbered(800_000, "x{0},y{0}\n"), within_s=240.0),
    _file("undeclared_json", "nobody_json", lambda: b"id,doc\n" + b'1,"' + b"[" * 100_000 + b"]" * 100_000 + b'"\n'),
    _file("undeclared_numbers", "nobody_numbers", lambda: b"id,n\n" + (b"1," + b"9" * 20_000 + b"\n") * 200),
    _file("detected_dialect", "detected", lambda: _PAIR + repeated(b"'a\"b';\"c'd\"\n", 4 * MIB), "CSV106", within_s=120.0),
    _file("a_file_of_comments", "nobody_comments", lambda: b"# c\n" * 4 * MIB, within_s=180.0),
    _file("html", "nobody_html", lambda: b"<!DOCTYPE html>" + b"<div>" * MIB, "CSV102"),
    _file("json_lines", "nobody_json_lines", lambda: b'{"a":1}\n' * MIB, "CSV102", within_s=180.0),
)  # fmt: skip

FILES: Sequence[HostileFile] = tuple(
    itertools.chain(
        SIZES, LINES, QUOTES, DIALECTS, ENCODINGS, VALUES, KEYS, HEADERS, UNDECLARED, COMPRESSED, WORKBOOKS
    )
)  # fmt: skip
