"""The files of other projects are read as the people who wrote them mean, or refused with the reason.

The table was written by eye: of each file the number of rows, of rejects by rule, and the types of its
columns.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from case_files import Understood, run, understand
from dialect_files import read_rows

from real_files import DATA, needs_real_files
from sluice.errors import FileError
from sluice.inference.dry_run import DryRun

SPECTRUM = DATA / "any" / "csv-spectrum"
CORPORA = {
    "duckdb": DATA.parent / "cases" / "duckdb",
    "csvlint": DATA.parent / "cases" / "csvlint",
    "data": DATA,
}
#: Files whose text the reference reader is too slow for, or cannot decode.
_LARGEST_BYTES = 100_000
#: What the JSON of csv-spectrum states otherwise than its file has it.
MISSTATED = {
    "location_coordinates": {"1234567890": "2095257564"},
    "newlines_crlf": {r"\r\n": r"\n"},
}
MEANT = {
    "duckdb": """
        auto/14177.csv 5 integer text
        auto/backslash_escape.csv 3 integer text*2
        auto/date_format_bug_linux.csv 3 text
        auto/duplicate_header_col.csv 2 integer text*2
        auto/duplicate_header_collision.csv 2 integer text*3
        auto/duplicate_header_columns.csv 2 integer text*12
        auto/early_out_error.csv 22 integer text integer
        auto/empty_header.csv 2 integer text*2
        auto/glob/0.csv 27 integer*2 numeric text
        auto/glob/1.csv 28 integer*2 numeric text
        auto/int_bol.csv 4 integer boolean
        auto/invalid_time.csv 1 text
        auto/issue_1254.csv 2 integer*2
        auto/issue_1254_rn.csv 2 integer*2
        auto/leading_space_numerics.csv 3 integer text*2
        auto/missing_header_col.csv 2 integer text*2
        auto/missing_many_col.csv 2 integer text*12
        auto/mixed_single_line.csv 1 integer text
        auto/mock_duckdb_test_data.csv 7 -2:columns integer text integer text*2
        auto/multi_column_string_mix.csv 9 integer*3 text
        auto/multi_column_string_mix_r_n.csv 9 integer*3 text
        auto/multi_column_string_r.csv 9 integer*3 text
        auto/multi_column_string_r_n.csv 9 integer*3 text
        auto/multiple_skip_row.csv 1 numeric text date
        auto/no_header.csv 2 numeric text date
        auto/normalize_names_1.csv 2 integer text*2
        auto/normalize_names_2.csv 2 integer text*2
        auto/normalize_names_3.csv 2 integer text*2
        auto/normalize_names_4.csv 2 integer text*2
        auto/normalize_names_5.csv 2 integer text*2
        auto/normalize_names_6.csv 2 integer text*2
        auto/pipe_delim.csv 3 integer text*2
        auto/pipe_delim_quote.csv 3 integer text*2
        auto/quote_escape.csv 3 integer text*2
        auto/rfc_conform.csv 3 integer text*2
        auto/rfc_conform_quote.csv 3 integer text*2
        auto/sample.csv 3 text*2 integer
        auto/semicolon_delim.csv 3 integer text*2
        auto/semicolon_escape.csv 3 integer text*2
        auto/semicolon_quote.csv 3 integer text*2
        auto/single_header.csv 1 numeric text date
        auto/single_numeric.csv 1 integer
        auto/single_quote_backslash.csv 3 integer text*2
        auto/single_value.csv 1 text
        auto/skip_row.csv 1 numeric text date
        auto/tab.csv 3 integer text*2
        auto/tab_single_quote.csv 3 integer text*2
        auto/tab_single_quote_varchar.csv 3 integer text*2
        auto/test_header_mix.csv 2 integer text*12
        auto/test_multiple_columns.csv 300 integer*13
        auto/test_multiple_columns_rn.csv 300 integer*13
        auto/test_single_column.csv 5 integer
        auto/test_single_column_rn.csv 5 integer
        auto/time.csv 3 time
        auto/time_date_timestamp.csv 3 integer text time date timestamp
        auto/time_date_timestamp_dd-mm-yy.csv 3 integer text time date timestamp
        auto/time_date_timestamp_dd-mm-yyyy.csv 3 integer text time date timestamp
        auto/time_date_timestamp_mm-dd-yy.csv 3 integer text time date timestamp
        auto/time_date_timestamp_mm-dd-yyyy.csv 3 integer text time date timestamp
        auto/time_date_timestamp_trailing.csv 3 integer text time text date text
        auto/time_date_timestamp_yy.mm.dd.csv 3 integer text time date timestamp
        auto/time_date_timestamp_yyyy.mm.dd.csv 3 integer text time date timestamp
        auto/unnamed_columns.csv 2 integer text*12
        auto/utf8bom.csv 2 integer text
        auto/varchar_multi_line.csv 2 text*3
        auto/varchar_single_line.csv 1 text*2
        auto/various_time_formats.csv 1 text*2 time text*2
        auto_date/date_example_1.csv 3 date
        auto_date/date_example_2.csv 3 date
        auto_date/device_metadata_1.csv 25 text*6 date text*3 boolean integer*2 date
        comments/14635.csv 1 text*3
        comments/14648.csv 1 -1:columns text*2
        comments/17226.csv 2 integer*3
        comments/big.csv 1448 integer*2
        comments/comment_skip.csv 2 integer*3
        comments/empty_space.csv 4 -1:columns integer*2
        comments/error.csv 2726 -2:columns integer*2
        comments/invalid_rows.csv 2 integer*2
        comments/mid_line.csv 1 -1:columns integer text integer
        comments/mid_line_header.csv 1 -1:columns integer text integer
        comments/mid_line_invalid.csv 2 -2:columns integer text*2
        comments/mid_line_null.csv 1 -1:columns integer text
        comments/mid_line_quote.csv 1 -1:columns integer text
        comments/midline_empty_space.csv 1 -1:columns integer text
        comments/only_midline.csv 1 -1:columns integer text integer
        comments/simple.csv 2 integer*2
        comments/simple_comma.csv 2 -1:columns integer*2
        comments/simple_mid_line.csv 3 -1:columns integer text
        dateformat/not_working.csv 2 text date
        dateformat/working.csv 2 text date
        decimal_separators/decimal_separators.csv 5 float*2
        decimal_separators/decimal_separators_csv.csv 1 numeric*2
        decimal_separators/invalid_char.csv 1 text
        decimal_separators/mixed_format_fail.csv 3 text
        encodings/all_latin1.csv 190 text
        encodings/latin1.csv 12 text integer
        encodings/latin1.csv.gz 12 text integer
        encodings/only_latin1.csv 6 text*2
        encodings/only_utf16.csv 6 text*2
        encodings/shift_jis.csv refused CSV108
        encodings/utf16.csv 20 text integer
        encodings/utf16.csv.gz 20 text integer
        headers/all_varchar.csv 1 text
        headers/borked_type.csv 2 text
        headers/empty_1.csv 2 integer*5
        headers/empty_2.csv 2 integer*5
        headers/empty_3.csv 2 integer*5
        headers/empty_4.csv 2 integer*5
        headers/escaped_quote.csv 2 text integer
        headers/integer.csv 1 integer
        headers/single_line.csv refused CSV101
        headers/undetected_type.csv 1 numeric
        headers/unescaped_quote.csv 2 text integer
        inconsistencies/inconsistent_columns_3.csv 0 -5:columns text*3
        inconsistencies/inconsistent_columns_6.csv 4 -1:columns integer*4
        inconsistencies/line_with_spaces.csv 4 integer*4
        multidelimiter/aa_delim.csv 19 text
        multidelimiter/aa_delim_quoted.csv refused CSV102
        multidelimiter/aa_delim_quoted_2.csv refused CSV102
        multidelimiter/aa_delim_small.csv 2 text
        multidelimiter/aaa_delim.csv 19 text
        multidelimiter/aaaa_delim.csv 19 text
        multidelimiter/aaaa_delim_rn.csv 19 text
        multidelimiter/aaab_delim.csv 1 text
        multidelimiter/aab_delim.csv 1 text
        multidelimiter/ab_delim.csv 19 text
        multidelimiter/abac.csv 1 text
        multidelimiter/abac_incomplete_quote.csv 1 text
        multidelimiter/abac_mix.csv 1 text
        multidelimiter/abac_newline_in_quote.csv 2 text
        multidelimiter/carriage_feed_newline.csv 1 text
        multidelimiter/many_bytes.csv 8 text*3
        multidelimiter/windows_newline.csv 1 text
        null/hive_partition_null_overwrite.csv 2 integer text integer*2 numeric
        null/multiple_nulls.csv 3 text integer numeric
        null/multiple_quoted_nulls.csv 3 text integer numeric
        rejects/dr_who.csv 1 text*5
        rejects/flush.csv 7 text
        rejects/frankstein/nightmare.csv 44 -2:columns -1:junk_after_quote integer text*2
        rejects/incorrect_columns/few_columns.csv 2768 -4:columns integer*4
        rejects/incorrect_columns/many_columns.csv 2768 -4:columns integer*4
        rejects/incorrect_columns/mix_columns.csv 2768 -4:columns integer*4
        rejects/incorrect_columns/small_mix.csv 2 -2:columns integer*4
        rejects/maximum_line/max_10.csv 7 text integer
        rejects/maximum_line/over_vector.csv 2925 text integer
        rejects/multiple_errors/cast_and_less_col.csv 2 -2:columns text integer date integer
        rejects/multiple_errors/cast_and_maxline.csv 3 text*2 date integer
        rejects/multiple_errors/cast_and_more_col.csv 2 -2:columns text integer date integer
        rejects/multiple_errors/invalid_utf_cast.csv 2 text*2 date integer
        rejects/multiple_errors/invalid_utf_less.csv 1 -1:columns text integer date integer
        rejects/multiple_errors/invalid_utf_max_line.csv 1 -1:columns text integer date integer
        rejects/multiple_errors/invalid_utf_more.csv 1 -1:columns text integer date integer
        rejects/multiple_errors/invalid_utf_unquoted.csv 1 -1:junk_after_quote text*2 integer date integer
        rejects/multiple_errors/less_col_and_max_line.csv 2 -1:columns text integer date integer
        rejects/multiple_errors/more_col_and_max_line.csv 2 -1:columns text integer date integer
        rejects/multiple_errors/multiple_cast_implicit.csv 3 text*2 date text
        rejects/multiple_errors/multiple_casts_flush.csv 3 text integer text*2
        rejects/multiple_errors/multiple_casts_mixed.csv 3 text integer text*2
        rejects/multiple_errors/multiple_errors.csv 2 -4:columns -1:junk_after_quote text integer date integer
        rejects/multiple_errors/unquoted_cast.csv 2 -1:junk_after_quote text integer date integer
        rejects/multiple_errors/unquoted_less.csv 2 -1:junk_after_quote text integer date integer
        rejects/multiple_errors/unquoted_maxline.csv 2 -1:junk_after_quote text integer date integer
        rejects/multiple_errors/unquoted_more.csv 2 -1:junk_after_quote text integer date integer
        rejects/unquoted/basic.csv 6 -1:junk_after_quote text integer
        rejects/unquoted/unquoted_last_value.csv 3 -1:unclosed_quote text
        rejects/unquoted/unquoted_new_line.csv 6 -1:junk_after_quote text integer
        thousands_separator/integers.csv 4 text
        thousands_separator/multi_column.csv 5 text numeric text
        thousands_separator/multi_column_quote.csv 5 text numeric text
        thousands_separator/simple.csv 5 numeric
        thousands_separator/simple_quoted.csv 5 numeric
        thousands_separator/thousands_broken.csv 4 text
        unescaped_quotes/end_quote.csv 0 -1:junk_after_quote text
        unescaped_quotes/end_quote_2.csv 0 -2:junk_after_quote text
        unescaped_quotes/end_quote_3.csv refused CSV102
        unescaped_quotes/end_quote_mixed.csv 1 -2:junk_after_quote text
        unescaped_quotes/some_escaped_some_not.csv 1 -2:junk_after_quote text
        unescaped_quotes/stops.csv 7 -2:junk_after_quote text*2 float*2
        unescaped_quotes/unescaped_quote.csv refused CSV102
        unescaped_quotes/unescaped_quote_new_line.csv 1 -6:junk_after_quote -5:columns text*2
        unescaped_quotes/unescaped_quote_new_line_rn.csv 1 -6:junk_after_quote -5:columns text*2
        unquoted_escape/basic.tsv 19 integer text integer
        unquoted_escape/human_eval.csv 10 text*5
        unquoted_escape/human_eval.tsv 10 text*5
        unquoted_escape/identical.csv 5 text*2
        unquoted_escape/mixed.csv 4 text*2 integer text
        unquoted_escape/plain.csv 10 integer text
        validator/quoted_new_value.csv 3 text*2 integer
        validator/single_column.csv 10 text
        validator/single_column_notquoted_newline.csv 7 text
        validator/single_column_quoted_newline.csv 7 text
    """,
    "csvlint": """
        cr-line-endings.csv 2 text*3
        crlf-line-endings.csv 2 text*3
        inconsistent-line-endings-unquoted.csv 2 text*3
        inconsistent-line-endings.csv 2 text*3
        invalid-byte-sequence.csv 23 date text*3 bigint numeric
        invalid_many_rows.csv 9 -1:junk_after_quote integer text integer
        lf-line-endings.csv 2 text*3
        title-row.csv 2 text*3
        valid.csv 2 integer*3
        valid_many_rows.csv 6 integer*3
        white%20space%20in%20filename.csv 2 integer*3
        windows-line-endings.csv 1 text*3
    """,
    "data": """
        trips/trips.csv 100 text point*2 timestamp text
        any/movielens_small/movies.csv 9125 integer text*2
        any/movielens_small/ratings.csv 100004 integer*2 numeric integer
        hr/departments.csv 12 integer text
        hr/hired_employees.csv 1999 integer text instant integer*2
        hr/jobs.csv 183 integer text
        people/people.csv 7 integer text*2 integer text date
        plays/spec_example.csv 7 text date integer
        plays/spotify_charts.csv 10000 text date integer
        plays/spotify_us_2days.csv 400 text date integer
        titles/netflix_titles.csv 8807 text*6 date integer text*4
        titles/netflix_titles_cp1252.csv 8807 text*6 date integer text*4
        trips/jersey_city_2017.csv 25127 text point*2 timestamp text
    """,
}
FILES = [
    pytest.param(CORPORA[corpus] / name.replace("%20", " "), meant, id=f"{corpus}/{name}")
    for corpus, table in MEANT.items()
    for name, _, meant in (line.strip().partition(" ") for line in table.strip().splitlines())
]
of_each_file = pytest.mark.parametrize(("path", "meant"), FILES)


def read(path: Path) -> tuple[DryRun, Understood]:
    data = path.read_bytes()
    ran = run(data)
    return ran, understand(data, ran)


def summary(path: Path) -> str:
    """Return what is understood of a file as a line of the table."""
    try:
        _, found = read(path)
    except FileError as error:
        return f"refused {error.code}"
    rules = Counter(rule for _, rule in found.rejects)
    kinds = [(kind, len(list(run))) for kind, run in groupby(c.split()[1] for c in found.columns)]
    return " ".join(
        (
            str(len(found.rows)),
            *(f"-{count}:{rule}" for rule, count in rules.items()),
            *(kind if count == 1 else f"{kind}*{count}" for kind, count in kinds),
        )
    )


@needs_real_files
@of_each_file
def test_a_file_has_the_rows_rejects_and_types_that_a_person_sees(path: Path, meant: str) -> None:
    assert summary(path) == meant


def is_readable(path: Path, meant: str) -> bool:
    """Whether the reference reader gives the rows of a file: it knows no rejects."""
    is_plain = "-" not in meant and "refused" not in meant and path.suffix != ".gz"
    return is_plain and path.is_file() and path.stat().st_size < _LARGEST_BYTES


READABLE = [each for each in FILES if is_readable(*each.values)]


@needs_real_files
@pytest.mark.parametrize(("path", "meant"), READABLE)
def test_texts_and_whole_numbers_are_those_that_a_plain_reader_reads(
    path: Path, meant: str
) -> None:
    data = path.read_bytes()
    ran, found = read(path)
    text = data.decode("utf-16" if data[:2] == b"\xff\xfe" else ran.dialect.encoding, "replace")
    exact = [n for n, c in enumerate(found.columns) if c.split()[1:] in (["text"], ["integer"])]
    if "point" in meant or not exact:
        return
    plain = [[row[n].strip() for n in exact] for row in read_rows(text, ran.dialect)]
    rows = [["" if row[n] is None else str(row[n]).strip() for n in exact] for row in found.rows]
    assert rows == plain


@needs_real_files
@pytest.mark.parametrize(
    "path", sorted((SPECTRUM / "csvs").glob("*.csv")), ids=lambda path: path.stem
)
def test_a_file_of_csv_spectrum_has_the_rows_of_its_json(path: Path) -> None:
    text = (SPECTRUM / "json" / f"{path.stem}.json").read_text("utf-8")
    for wrong, right in MISSTATED.get(path.stem, {}).items():
        text = text.replace(wrong, right)
    expected = json.loads(text)
    expected = expected if isinstance(expected, list) else [expected]
    ran, found = read(path)
    assert ran.detection is not None
    names = ran.detection.header
    rows = [
        dict(zip(names, ("" if v is None else str(v) for v in row), strict=True))
        for row in found.rows
    ]
    assert rows == expected
    assert found.rejects == []
