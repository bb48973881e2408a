"""The dialect of a file is what the person who wrote it would say."""

from __future__ import annotations

import gzip
import os
import random
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialect_files import Records, read_records, read_rows, write_records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from real_files import DATA, needs_real_files
from sluice.csv.dialects import Dialect
from sluice.errors import EmptyFileError, EncodingMismatchError
from sluice.inference.detection.dialects import Detection, detect_dialect

CASES = Path(__file__).parents[1] / "cases" / "dialects"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((CASES / "expected.toml").read_text("utf-8"))
CORPORA = {
    "duckdb": DATA.parent / "cases" / "duckdb",
    "csvlint": DATA.parent / "cases" / "csvlint",
    "csv-spectrum": DATA / "any" / "csv-spectrum" / "csvs",
    "data": DATA,
}

#: Not detected: it has to be declared.
SHIFT_JIS = "cp932"
NO_HEADER = {"header": False}
PIPES = {"delimiter": "|", "header": False}
SEMICOLONS = {"delimiter": ";", "header": False}
TABS = {"delimiter": "\t", "header": False}
OPEN_HEADER = {"header": None}
COMMENTED = {"delimiter": ";", "comment": "#"}
#: One column, of which only that is certain.
ONE_COLUMN = {"delimiter": None, "header": None, "quote": None, "width": 1}
#: What the files of other projects mean, read by eye: keys that are not the default; None is open.
MEANT: list[tuple[str, dict[str, Any], str]] = [
    (
        "duckdb",
        {},
        """
        auto/14177.csv auto/date_format_bug_linux.csv auto/duplicate_header_col.csv
        auto/duplicate_header_collision.csv auto/duplicate_header_columns.csv
        auto/early_out_error.csv auto/int_bol.csv auto/issue_1254.csv auto/issue_1254_rn.csv
        auto/missing_header_col.csv auto/missing_many_col.csv auto/mock_duckdb_test_data.csv
        auto/normalize_names_1.csv auto/normalize_names_2.csv auto/normalize_names_3.csv
        auto/normalize_names_4.csv auto/normalize_names_5.csv auto/normalize_names_6.csv
        auto/sample.csv auto/single_header.csv auto/test_header_mix.csv
        auto/test_multiple_columns.csv auto/test_multiple_columns_rn.csv
        auto/test_single_column.csv auto/test_single_column_rn.csv auto/time.csv
        auto/time_date_timestamp.csv auto/time_date_timestamp_dd-mm-yy.csv
        auto/time_date_timestamp_dd-mm-yyyy.csv auto/time_date_timestamp_mm-dd-yy.csv
        auto/time_date_timestamp_mm-dd-yyyy.csv auto/time_date_timestamp_trailing.csv
        auto/time_date_timestamp_yy.mm.dd.csv auto/time_date_timestamp_yyyy.mm.dd.csv
        auto/utf8bom.csv auto/glob/0.csv auto/glob/1.csv auto_date/date_example_1.csv
        auto_date/date_example_2.csv auto_date/device_metadata_1.csv comments/14635.csv
        dateformat/not_working.csv dateformat/working.csv
        decimal_separators/decimal_separators_csv.csv decimal_separators/invalid_char.csv
        encodings/utf16.csv encodings/utf16.csv.gz headers/all_varchar.csv
        headers/borked_type.csv headers/empty_1.csv headers/empty_2.csv headers/empty_3.csv
        headers/empty_4.csv headers/escaped_quote.csv headers/single_line.csv
        headers/unescaped_quote.csv inconsistencies/inconsistent_columns_3.csv
        inconsistencies/inconsistent_columns_6.csv null/hive_partition_null_overwrite.csv
        null/multiple_nulls.csv null/multiple_quoted_nulls.csv rejects/dr_who.csv
        rejects/flush.csv rejects/incorrect_columns/few_columns.csv
        rejects/incorrect_columns/many_columns.csv rejects/incorrect_columns/mix_columns.csv
        rejects/incorrect_columns/small_mix.csv rejects/maximum_line/max_10.csv
        rejects/maximum_line/over_vector.csv rejects/multiple_errors/cast_and_less_col.csv
        rejects/multiple_errors/cast_and_maxline.csv
        rejects/multiple_errors/cast_and_more_col.csv
        rejects/multiple_errors/less_col_and_max_line.csv
        rejects/multiple_errors/more_col_and_max_line.csv
        rejects/multiple_errors/multiple_cast_implicit.csv
        rejects/multiple_errors/multiple_casts_flush.csv
        rejects/multiple_errors/multiple_casts_mixed.csv
        rejects/multiple_errors/multiple_errors.csv rejects/multiple_errors/unquoted_cast.csv
        rejects/multiple_errors/unquoted_less.csv rejects/multiple_errors/unquoted_maxline.csv
        rejects/multiple_errors/unquoted_more.csv rejects/unquoted/basic.csv
        rejects/unquoted/unquoted_new_line.csv thousands_separator/integers.csv
        thousands_separator/multi_column_quote.csv unescaped_quotes/stops.csv
        unquoted_escape/identical.csv
        """,
    ),
    (
        "duckdb",
        {"encoding": "cp1252"},
        """
        rejects/frankstein/nightmare.csv rejects/multiple_errors/invalid_utf_cast.csv
        rejects/multiple_errors/invalid_utf_less.csv
        rejects/multiple_errors/invalid_utf_max_line.csv
        rejects/multiple_errors/invalid_utf_more.csv
        rejects/multiple_errors/invalid_utf_unquoted.csv encodings/latin1.csv
        encodings/latin1.csv.gz
        """,
    ),
    (
        "duckdb",
        NO_HEADER,
        """
        auto/leading_space_numerics.csv auto/mixed_single_line.csv auto/no_header.csv
        auto/rfc_conform.csv auto/rfc_conform_quote.csv auto/single_numeric.csv
        auto/unnamed_columns.csv auto/varchar_multi_line.csv auto/various_time_formats.csv
        encodings/only_utf16.csv headers/integer.csv thousands_separator/simple_quoted.csv
        thousands_separator/thousands_broken.csv validator/single_column.csv
        validator/single_column_notquoted_newline.csv validator/single_column_quoted_newline.csv
        """,
    ),
    (
        "duckdb",
        {**NO_HEADER, "encoding": "cp1252"},
        """
        encodings/all_latin1.csv encodings/only_latin1.csv
        """,
    ),
    (
        "duckdb",
        {**OPEN_HEADER, "encoding": SHIFT_JIS},
        """
        encodings/shift_jis.csv
        """,
    ),
    (
        "duckdb",
        OPEN_HEADER,
        """
        auto/empty_header.csv auto/single_value.csv auto/varchar_single_line.csv
        comments/14648.csv rejects/unquoted/unquoted_last_value.csv
        """,
    ),
    (
        "duckdb",
        PIPES,
        """
        auto/multi_column_string_mix.csv auto/multi_column_string_mix_r_n.csv
        auto/multi_column_string_r.csv auto/multi_column_string_r_n.csv auto/pipe_delim.csv
        auto/pipe_delim_quote.csv auto/quote_escape.csv
        """,
    ),
    (
        "duckdb",
        {**PIPES, "escape": "\\"},
        """
        auto/backslash_escape.csv
        """,
    ),
    (
        "duckdb",
        {**PIPES, "escape": "\\", "quote": "'"},
        """
        auto/single_quote_backslash.csv
        """,
    ),
    (
        "duckdb",
        SEMICOLONS,
        """
        auto/semicolon_delim.csv auto/semicolon_escape.csv auto/semicolon_quote.csv
        comments/mid_line_invalid.csv comments/only_midline.csv
        unescaped_quotes/unescaped_quote.csv unescaped_quotes/unescaped_quote_new_line.csv
        unescaped_quotes/unescaped_quote_new_line_rn.csv
        """,
    ),
    (
        "duckdb",
        {**SEMICOLONS, "quote": "'", "spaces_around_quotes": True, "width": 3},
        """
        validator/quoted_new_value.csv
        """,
    ),
    (
        "duckdb",
        {**SEMICOLONS, "comment": None, "skip_lines": None},
        """
        comments/empty_space.csv
        """,
    ),
    (
        "duckdb",
        {**SEMICOLONS, "comment": "#"},
        """
        comments/mid_line.csv
        """,
    ),
    (
        "duckdb",
        {"delimiter": ";"},
        """
        decimal_separators/decimal_separators.csv thousands_separator/multi_column.csv
        """,
    ),
    (
        "duckdb",
        COMMENTED,
        """
        comments/big.csv comments/error.csv comments/mid_line_header.csv
        comments/mid_line_null.csv comments/mid_line_quote.csv comments/midline_empty_space.csv
        comments/simple.csv comments/simple_mid_line.csv
        """,
    ),
    (
        "duckdb",
        {**COMMENTED, "skip_lines": 5},
        """
        comments/invalid_rows.csv
        """,
    ),
    (
        "duckdb",
        {"delimiter": ";", "comment": None, "skip_lines": None, "footer_lines": None},
        """
        comments/simple_comma.csv
        """,
    ),
    (
        "duckdb",
        {"comment": "#"},
        """
        comments/17226.csv
        """,
    ),
    (
        "duckdb",
        {"comment": "#", "skip_lines": 2},
        """
        comments/comment_skip.csv
        """,
    ),
    (
        "duckdb",
        TABS,
        """
        auto/tab.csv
        """,
    ),
    (
        "duckdb",
        {**TABS, "quote": "'"},
        """
        auto/tab_single_quote.csv auto/tab_single_quote_varchar.csv
        """,
    ),
    (
        "duckdb",
        {**TABS, "escape": "\\"},
        """
        unquoted_escape/basic.tsv unquoted_escape/human_eval.tsv
        """,
    ),
    (
        "duckdb",
        {**NO_HEADER, "escape": "\\"},
        """
        unquoted_escape/human_eval.csv unquoted_escape/plain.csv
        """,
    ),
    (
        "duckdb",
        {"escape": "\\"},
        """
        unquoted_escape/mixed.csv
        """,
    ),
    (
        "duckdb",
        {"skip_lines": 1},
        """
        auto/skip_row.csv inconsistencies/line_with_spaces.csv
        """,
    ),
    (
        "duckdb",
        {"skip_lines": 2},
        """
        auto/multiple_skip_row.csv
        """,
    ),
    (
        "duckdb",
        {"delimiter": None, "width": 1},
        """
        decimal_separators/mixed_format_fail.csv headers/undetected_type.csv
        """,
    ),
    (
        "duckdb",
        {**NO_HEADER, "delimiter": None, "width": 1},
        """
        thousands_separator/simple.csv auto/invalid_time.csv
        """,
    ),
    (
        "duckdb",
        {**NO_HEADER, "delimiter": "\\|", "trailing_delimiter": True, "width": 3},
        """
        multidelimiter/many_bytes.csv
        """,
    ),
    (
        "duckdb",
        ONE_COLUMN,
        """
        multidelimiter/aa_delim.csv multidelimiter/aa_delim_quoted.csv
        multidelimiter/aa_delim_quoted_2.csv multidelimiter/aa_delim_small.csv
        multidelimiter/aaa_delim.csv multidelimiter/aaaa_delim.csv
        multidelimiter/aaaa_delim_rn.csv multidelimiter/aaab_delim.csv
        multidelimiter/aab_delim.csv multidelimiter/ab_delim.csv multidelimiter/abac.csv
        multidelimiter/abac_incomplete_quote.csv multidelimiter/abac_mix.csv
        multidelimiter/abac_newline_in_quote.csv multidelimiter/carriage_feed_newline.csv
        multidelimiter/windows_newline.csv unescaped_quotes/end_quote.csv
        unescaped_quotes/end_quote_2.csv unescaped_quotes/end_quote_3.csv
        unescaped_quotes/end_quote_mixed.csv unescaped_quotes/some_escaped_some_not.csv
        """,
    ),
    (
        "csvlint",
        {},
        """
        crlf-line-endings.csv cr-line-endings.csv lf-line-endings.csv
        inconsistent-line-endings.csv inconsistent-line-endings-unquoted.csv valid.csv
        valid_many_rows.csv invalid_many_rows.csv white%20space%20in%20filename.csv
        windows-line-endings.csv
        """,
    ),
    (
        "csvlint",
        {"skip_lines": 1},
        """
        title-row.csv
        """,
    ),
    (
        "csvlint",
        {"encoding": "cp1252", "trailing_delimiter": True, "width": 6},
        """
        invalid-byte-sequence.csv
        """,
    ),
    (
        "csv-spectrum",
        {},
        """
        comma_in_quotes.csv empty.csv empty_crlf.csv escaped_quotes.csv json.csv newlines.csv
        newlines_crlf.csv quotes_and_newlines.csv simple.csv simple_crlf.csv utf8.csv
        location_coordinates.csv
        """,
    ),
    (
        "data",
        {},
        """
        any/citibike_2017_01.csv any/movielens_small/movies.csv any/movielens_small/ratings.csv
        people/people.csv plays/spec_example.csv plays/spotify_charts.csv
        plays/spotify_us_2days.csv titles/netflix_titles.csv trips/jersey_city_2017.csv
        trips/trips.csv
        """,
    ),
    (
        "data",
        {"encoding": "cp1252"},
        """
        titles/netflix_titles_cp1252.csv
        """,
    ),
    (
        "data",
        NO_HEADER,
        """
        hr/departments.csv hr/hired_employees.csv hr/jobs.csv
        """,
    ),
]
#: Files of those projects that mean nothing without the options of their tests.
_MEANINGLESS = """
    comments/mixed_options.csv multidelimiter/complex_unterminated_quote.csv
    multidelimiter/escape_non_quote_escape.csv
    multidelimiter/escape_non_quote_escape_complex.csv
    multidelimiter/file_ends_in_quoted_value.csv
    multidelimiter/incomplete_multibyte_delimiter.csv
    multidelimiter/simple_unterminated_quote.csv multidelimiter/trailing_delimiter.csv
    multidelimiter/trailing_delimiter_complex.csv
    multidelimiter/unquote_without_delimiter.csv multidelimiter/unterminated_escape.csv
    multidelimiter/unterminated_escape_complex.csv
    multidelimiter/unterminated_quote_escape.csv
    multidelimiter/unterminated_quote_escape_complex.csv
    multidelimiter/unterminated_quote_multi_line.csv
    multidelimiter/unterminated_quote_with_escape.csv
    multidelimiter/unterminated_quote_with_escape_complex.csv
"""
MEANINGLESS = _MEANINGLESS.split()


def detect(text: str, **given: str | int | bool) -> Detection:
    return detect_dialect(text.encode(), is_complete=True, given=given)


def differences(found: Detection, meant: dict[str, Any]) -> dict[str, Any]:
    """Return what was detected otherwise than it is meant; keys that are None are open."""
    keys = {**Dialect().to_json(), **meant}
    keys.pop("names", None)
    got = {**found.dialect.to_json(), "width": found.width}
    wrong = {
        key: got[key] for key, value in keys.items() if value is not None and got[key] != value
    }
    if meant.get("names") and keys["header"] and list(found.header) != meant["names"]:
        wrong["names"] = found.header
    return wrong


def content_of(path: Path) -> bytes:
    """Return the content of a file, decompressed, and UTF-16 as UTF-8."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-16").encode() if data[:2] == b"\xff\xfe" else data


@pytest.mark.parametrize(
    "header", ['id,city,"country', "id,city,the,country", "id;city;country"], ids=repr
)
def test_a_declared_header_that_does_not_fit_costs_no_row(header: str) -> None:
    rows = "".join(f"{number},Ghent,{number}.5\n" for number in range(12))
    found = detect(f"{header}\n{rows}", header=True)
    assert (found.dialect.header, found.dialect.skip_lines, found.width) == (False, 1, 3)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_understood_as_it_is_meant(name: str) -> None:
    meant = dict(EXPECTED[name])
    meant |= dict.fromkeys(meant.pop("open", ()))
    warning = meant.pop("warning", "")
    found = detect_dialect((CASES / f"{name}.csv").read_bytes(), is_complete=True)
    assert differences(found, meant) == {}
    assert any(warning in each for each in found.warnings) or not warning


def test_each_file_has_an_expected_dialect() -> None:
    assert sorted(each.stem for each in CASES.glob("*.csv")) == sorted(EXPECTED)


OF_OTHERS = [
    pytest.param(corpus, name, meant, id=f"{corpus}/{name}")
    for corpus, meant, names in MEANT
    for name in names.split()
]


@needs_real_files
@pytest.mark.parametrize(("corpus", "name", "meant"), OF_OTHERS)
def test_a_file_of_another_project_is_understood_as_it_is_meant(
    corpus: str, name: str, meant: dict[str, Any]
) -> None:
    path = CORPORA[corpus] / name.replace("%20", " ")
    data, encoding = content_of(path), meant.get("encoding")
    if encoding == SHIFT_JIS:
        with pytest.raises(EncodingMismatchError, match=f"in {SHIFT_JIS}"):
            detect_dialect(data, is_complete=True)
    found = detect_dialect(
        data, is_complete=True, given={"encoding": SHIFT_JIS} if encoding == SHIFT_JIS else {}
    )
    assert differences(found, meant) == {}


@needs_real_files
@pytest.mark.parametrize("corpus", ["duckdb", "csvlint", "csv-spectrum"])
def test_each_file_of_another_project_is_listed(corpus: str) -> None:
    folder = CORPORA[corpus]
    listed = {name for each, _, names in MEANT for name in names.split() if each == corpus}
    listed |= set(MEANINGLESS) if corpus == "duckdb" else set()
    found = {
        str(path.relative_to(folder)).replace(" ", "%20")
        for path in folder.rglob("*.*")
        if path.suffix in (".csv", ".tsv", ".gz")
    }
    assert found == listed


@needs_real_files
@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_meaningless_file_is_read_in_some_way(name: str) -> None:
    data = content_of(CORPORA["duckdb"] / name)
    found = detect_dialect(data, is_complete=True)
    assert found.width > 0


def test_decimal_commas_are_no_delimiters() -> None:
    found = detect("commas;periods\n1,1;1.1\n0,25;0.25\n1,5;1.5\n")
    assert found.dialect == Dialect(delimiter=";")
    assert found.header == ("commas", "periods")


def test_each_decision_has_a_reason() -> None:
    found = detect("id;name\n1;Ann\n2;Bob, Jr\n")
    reasons = {each.key: each.reason for each in found.evidence}
    assert reasons["delimiter"] == (
        "3 of 3 records have 2 fields with it; with ',' they have 1 to 2"
    )
    values = {each.key: each.value for each in found.evidence}
    assert values == {key: getattr(found.dialect, key) for key in values}
    assert all(reasons.values())


def test_given_keys_are_not_detected() -> None:
    found = detect("id;name\n1;Ann\n2;Bob\n", delimiter=",", header=False)
    assert found.dialect == Dialect(delimiter=",", header=False)
    assert {"delimiter", "header"}.isdisjoint(each.key for each in found.evidence)


def test_the_header_is_found_after_given_lines() -> None:
    found = detect("id;name\n1;Ann\nkey;title\n2;Bob\n3;Cas\n", skip_lines=2)
    assert found.header == ("key", "title")
    assert found.dialect.skip_lines == 2


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_text_is_refused(data: bytes) -> None:
    with pytest.raises(EmptyFileError):
        detect_dialect(data, is_complete=True)


def test_the_footer_is_found_in_the_tail() -> None:
    rows = "".join(f"{number};2021-03-01;{number * 7}\n" for number in range(50_000))
    data = f"id;day;count\n{rows}\nTotal;;99\nSource: hand\n".encode()
    found = detect_dialect(data[:100_000], data[-30_001:], is_complete=False)
    assert found.dialect == Dialect(delimiter=";", footer_lines=2)


def test_a_sample_that_ends_in_a_record_says_nothing_about_the_footer() -> None:
    rows = "".join(f'{number},"a note, {number}"\n' for number in range(900))
    data = f"id,note\n{rows}".encode()
    for end in range(8_000, 8_020):
        found = detect_dialect(data[:end], is_complete=False)
        assert found.dialect == Dialect()
        assert found.warnings == ()


def test_quotes_that_begin_late_are_found() -> None:
    rows = "".join(f"{number};Ghent;{number * 3}\n" for number in range(30_000))
    data = f"id;city;count\n{rows}1;'Lyon; France';7\n2;'Brno';8\n".encode()
    assert detect_dialect(data, is_complete=True).dialect == Dialect(delimiter=";", quote="'")


ODD = {
    "one line of 10 MiB": b"abc def " * (1280 * 1024),
    "one record of 10 MiB": b"1,abc," * (10 * 1024 * 1024 // 6),
    "random bytes": random.Random(1).randbytes(1024 * 1024),
    "delimiters": b"," * 1024 * 1024,
    "lines of delimiters": b",;\t|:^~ \n" * 120_000,
    "quotes": b'"' * 1024 * 1024,
    "lines of quotes": b'"\n' * 500_000,
    "pairs of quotes": b'"",' * 300_000,
    "an open quote": b'id,note\n1,"' + b"text, more\n" * 90_000,
    "backslashes": b"\\" * 1024 * 1024,
    "blank lines": b"a\n" + b"\n" * 1024 * 1024,
    "carriage returns": b"a,b\r" * 250_000,
    "zero bytes": b"\0" * 1024 * 1024,
    "control characters": bytes(range(1, 32)) * 30_000,
    "many columns": b"1,2,3,4,5,6,7,8,9," * 5_000 + b"\n" + b"1,2,3,4,5,6,7,8,9," * 5_000,
    "comments": b"# note\n" * 150_000,
    "spaces before quotes": (b" " * 1000 + b'"a",') * 1000,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_take_bounded_time(name: str) -> None:
    started = time.process_time()
    found = detect_dialect(ODD[name], ODD[name][-65536:], is_complete=False)
    assert found.width > 0
    assert time.process_time() - started < 2  # 0.2 s on an idle machine, see benchmarks


def test_detection_is_deterministic() -> None:
    data = (CASES / "metadata.csv").read_bytes()
    assert detect_dialect(data, is_complete=True) == detect_dialect(data, is_complete=True)


PLAIN = ["alpha", "beta", "O'Brien", "Zoë", "naïve"]
MARKED = [
    "river,",
    "stone|12",
    "3/4",
    "see:below",
    "a;b",
    r"c\d",
    "it's",
    "<tag>",
    "#1",
    "100%",
    "_x",
]
WORDS = st.sampled_from([*PLAIN, *MARKED])
CELLS = {
    "id": st.integers(0, 10**6).map(str),
    "amount": st.decimals(-1000, 1000, places=2).map(str),
    "price": st.decimals(0, 1000, places=2).map(lambda number: str(number).replace(".", ",")),
    "day": st.dates().map(str),
    "at": st.times().map(lambda each: each.strftime("%H:%M")),
    "seen_at": st.datetimes().map(lambda each: each.strftime("%Y-%m-%d %H:%M:%S")),
    "full name": st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    "remark": st.lists(WORDS, max_size=8).map(" ".join),
    "note": st.lists(WORDS, max_size=3).map("\n".join),
    "quoted": st.lists(WORDS, max_size=3).map('"'.join),
    "page": WORDS.map(lambda word: f"https://example.org/{word}?x=1"),
    "is_open": st.sampled_from(["true", "false"]),
}
TYPED = ["id", "amount", "day", "seen_at"]
DELIMITERS = [",", ";", "\t", "|", ":", "^", "~", " ", "\x01", "\x1f", "||", "::", ";;", "\t\t"]
PREAMBLES = ["", "", "", "Monthly report", "Report of May, 2021\n", "Source: hand\nUnit: m\n", "\n"]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], Records]:
    names = [draw(st.sampled_from(TYPED))]
    others = st.sampled_from(sorted(set(CELLS) - set(names)))
    names += draw(st.lists(others, min_size=1, max_size=6, unique=True))
    columns = [draw(st.lists(CELLS[name], min_size=20, max_size=30)) for name in names]
    return names, [list(record) for record in zip(*columns, strict=False)]


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    return Dialect(
        delimiter=draw(st.sampled_from(DELIMITERS)),
        quote=draw(st.sampled_from(['"', '"', "'"])),
        escape=draw(st.sampled_from(["", "", "\\"])),
        header=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    table=tables(),
    dialect=dialects(),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quotes_all=st.booleans(),
    preamble=st.sampled_from(PREAMBLES),
)
def test_a_table_is_read_back_or_a_warning_says_why_not(
    table: tuple[list[str], Records],
    dialect: Dialect,
    line_end: str,
    quotes_all: bool,
    preamble: str,
) -> None:
    names, rows = table
    records = [names, *rows] if dialect.header else rows
    text = write_records(records, dialect, line_end=line_end, quotes_all=quotes_all)
    text = (f"{preamble}\n".replace("\n", line_end) if preamble else "") + text
    found = detect(text)
    read = read_rows(text, found.dialect)
    assert read == rows or found.warnings, found.dialect
    if read == rows and dialect.header:
        assert list(found.header) == names


class Pollutions:
    """Ways in which files are damaged, as in "Pollock: A Data Loading Benchmark" (VLDB 2023)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["DAY", "HOUR", "Units", "ITEM", "Cost", "Kind", "Details", "Link", "Remarks"]
        self.rows = [self._row(number) for number in range(40)]

    def _row(self, number: int) -> list[str]:
        choice, digits = self.random.choice, self.random.randint
        return [
            f"{digits(1, 28):02}/{digits(1, 12):02}/2021",
            f"{number // 4:02}:{number % 4 * 15:02}",
            str(digits(0, 9)),
            f"{choice('AB')}X-{digits(1000, 9999)}",
            f"${digits(1, 9)}.{digits(10, 99)}",
            choice(["Men's Trail Boots", "Jacket", "Kid's Cap", "Tent (3-person)"]),
            choice(["Light, warm; don't miss it.", "By day, or by night.", 'All of 10" width']),
            f"https://shop.example.org/item/{digits(1000, 9999)}.html",
            "",
        ]

    def text(self, dialect: Dialect = Dialect(), line_end: str = "\r\n") -> str:  # noqa: B008
        records = [self.names, *self.rows] if dialect.header else self.rows
        return write_records(records, dialect, line_end=line_end, quotes_all=False)

    def with_change(self, at: int, column: int, change: str) -> str:
        """Return the file with one more or less delimiter, or one more quote, in a cell."""
        lines = self.text().split("\r\n")
        cells = self.rows[at - 1]
        written = [
            write_records([[cell]], Dialect(), line_end="", quotes_all=False) for cell in cells
        ]
        if change == "less":
            written[column : column + 2] = ["".join(written[column : column + 2])]
        else:
            written[column] = {"more": ",", "quote": '"'}[change] + written[column]
        lines[at] = ",".join(written)
        return "\r\n".join(lines)


def dialect_pollutions() -> Iterator[tuple[str, Dialect, str]]:
    for delimiter in [";", "\t", ", ", " ", "|", ":", "\t\t", "^", "\x01", "||"]:
        yield f"delimiter {delimiter!r}", Dialect(delimiter=delimiter), "\r\n"
    for line_end in ["\n", "\r"]:
        yield f"line end {line_end!r}", Dialect(), line_end
    yield "quote", Dialect(quote="'"), "\r\n"
    yield "escape", Dialect(escape="\\"), "\r\n"
    yield "no header", Dialect(header=False), "\r\n"
    yield "trailing delimiter", Dialect(trailing_delimiter=True), "\r\n"


@pytest.mark.parametrize(
    ("dialect", "line_end"),
    [pytest.param(dialect, line_end, id=name) for name, dialect, line_end in dialect_pollutions()],
)
def test_another_dialect_gives_the_same_rows(dialect: Dialect, line_end: str) -> None:
    file = Pollutions(1)
    text = file.text(dialect, line_end)
    found = detect(text)
    assert read_rows(text, found.dialect) == file.rows
    assert found.dialect.header == dialect.header


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\r\n"),
        ("Export of the shop\r\n\r\n", ""),
        ("Export of the shop,,,,,,,,\r\n,,,,,,,,\r\n", ""),
        ("Export of the shop,,,,,,,,\r\n" * 3, ""),
        ("", "Provisional data\r\n" * 3),
        ("", "Provisional data,,,,,,,,\r\n"),
        ("", ",,,,,,,,\r\nProvisional data,,,,,,,,\r\n"),
        ("", "\r\nProvisional data\r\n"),
    ],
    ids=str,
)
def test_lines_around_the_table_are_no_rows(before: str, after: str) -> None:
    file = Pollutions(2)
    text = before + file.text() + after
    assert read_rows(text, detect(text).dialect) == file.rows


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_rows_suffice(count: int) -> None:
    file = Pollutions(3)
    file.rows = file.rows[:count]
    text = file.text()
    assert read_records(text, detect(text).dialect) == [file.names, *file.rows]


@pytest.mark.parametrize("change", ["more", "less", "quote"])
def test_one_broken_record_changes_nothing(change: str) -> None:
    file = Pollutions(4)
    wrong = []
    for at in (1, 2, 20, len(file.rows)):
        for column in range(len(file.names) - 1):
            found = detect(file.with_change(at, column, change))
            if found.dialect != Dialect():
                wrong.append((at, column, found.dialect))
    assert wrong == []


def test_records_divided_by_spaces_change_nothing() -> None:
    file = Pollutions(5)
    lines = file.text().split("\r\n")
    for at in (1, 2, 20, len(file.rows)):
        changed = [*lines[:at], lines[at].replace(",", " "), *lines[at + 1 :]]
        assert detect("\r\n".join(changed)).dialect == Dialect()


@needs_real_files
@pytest.mark.parametrize("path", sorted(DATA.rglob("*.csv")), ids=lambda path: path.name)
def test_a_real_file_is_known_from_its_first_bytes(path: Path) -> None:
    size = path.stat().st_size
    if size < 20_000:
        pytest.skip("it is too small to be cut")
    with path.open("rb") as file:
        head = file.read(min(size // 2, 1024 * 1024))
        file.seek(-min(size, 65536), os.SEEK_END)
        tail = file.read()
    cut = detect_dialect(head, tail, is_complete=False)
    whole = detect_dialect(path.read_bytes(), is_complete=True)
    assert (cut.dialect, cut.header) == (whole.dialect, whole.header)


def test_a_header_that_is_repeated_late_is_reported() -> None:
    rows = "".join(f"{number};2021-03-01;{number * 7}\n" for number in range(20_000))
    found = detect(f"id;day;count\n{rows}id;day;count\n1;2021-03-01;7\n")
    assert found.warnings == ("line 20002 repeats the header and will be rejected",)


def test_several_header_lines_are_joined() -> None:
    found = detect("id,city\nid,city\nid,city\n1,Ghent\n2,Lyon\n", header_lines=3)
    assert (found.header, found.dialect.header_lines) == (("id id id", "city city city"), 3)
    assert found.warnings == ()


def test_two_header_lines_imply_a_header() -> None:
    found = detect("1,2\n3,4\n5,6\n", header_lines=2)
    assert (found.dialect.header, found.header) == (True, ("1 3", "2 4"))


def test_a_long_preamble_of_pairs_is_no_table() -> None:
    pairs = "".join(f"setting {number},some text {number % 3}\n" for number in range(20))
    rows = "".join(f"{number},2021-03-01,{number * 7},ok\n" for number in range(60))
    found = detect(f"{pairs}\nid,day,count,state\n{rows}")
    assert (found.dialect.skip_lines, found.width) == (21, 4)


def test_a_small_table_before_a_large_one_is_the_file() -> None:
    small = "".join(f"place {number},{number * 3}\n" for number in range(20))
    large = "".join(f"{number},2021-03-01,{number * 7},ok\n" for number in range(60))
    found = detect(f"place,people\n{small}\nid,day,count,state\n{large}")
    assert found.header == ("place", "people")
    assert "line 23 begins another table; only the first one is read" in found.warnings


def test_a_log_of_a_web_server_is_divided_by_spaces() -> None:
    line = '127.0.0.{0} - ann [10/Oct/2000:13:55:{0} -0700] "GET /{0}.gif HTTP/1.0" 200 {0}326\n'
    found = detect("".join(line.format(number) for number in range(10, 20)))
    assert (found.dialect.delimiter, found.dialect.header, found.width) == (" ", False, 8)


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "iso-8859-7"])
def test_text_that_is_hardly_windows_1252_is_refused(encoding: str) -> None:
    words = "Αθήνα,Πάτρα" if encoding == "iso-8859-7" else "Москва,Казань"
    data = f"id,a,b\n1,{words}\n2,{words}\n".encode(encoding)
    with pytest.raises(EncodingMismatchError, match="its encoding is not declared"):
        detect_dialect(data, is_complete=True)
    given = detect_dialect(data, is_complete=True, given={"encoding": encoding})
    assert given.warnings == ()


def test_western_european_text_is_not_reported() -> None:
    data = "id,città\n1,São Tomé\n2,Köln Straße\n3,«Zürich»\n".encode("cp1252")
    assert detect_dialect(data, is_complete=True).warnings == ()


@pytest.mark.parametrize(
    ("text", "delimiter", "header"),
    [
        ("a,b,c\n1,2\n", ",", "a b c"),
        ("a,b,c\n1\n2\n3\n", ",", "a b c"),
        ("a,b,c\n1,2\n3\n5,6,7\n", ",", "a b c"),
        ("a,b,c\n1,2,3,4\n1,2\n1,2,3,4,5\n", ",", "a b c"),
        ("a,b,c,d,e\n1,2\n3,4\n5,6\n", ",", "a b c d e"),
        ("a,b,c\n1,2,3,4,5,6\n1,2,3,4,5,6\n1,2,3,4,5,6\n", ",", "a b c"),
        ("a,b,c\nx,y\nz,w\nu,v\n", ",", "a b c"),
        ("time,a,b\n10:00\n10:05\n10:10\n", ",", "time a b"),
        ("id;name\n1\n2\n3\n", ";", "id name"),
        ('"id"|"name"|"city"\n1\n"2"|x\n', "|", "id name city"),
        ("a\tb\tc\n1,5\n2,5\t3\n" + "1,5\n2,5\t3\n" * 5000, "\t", "a b c"),
    ],
)
def test_a_header_of_names_decides_where_records_are_short_or_long(
    text: str, delimiter: str, header: str
) -> None:
    found = detect_dialect(text.encode(), text.encode(), is_complete=True)
    assert (found.dialect.delimiter, found.header) == (delimiter, tuple(header.split()))


@pytest.mark.parametrize(
    "text",
    [
        "price\n1,2\n3,4\n",
        "price, in euro\n1,2\n3,4\n",
        "text\nHello, my name is x\nyes, no, maybe\nand so, on\n",
    ],
)
def test_a_header_of_one_name_is_not_divided(text: str) -> None:
    assert detect_dialect(text.encode(), text.encode(), is_complete=True).width == 1
