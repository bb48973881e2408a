"""The types of real files, compared with types written by eye."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest

from real_files import DATA, needs_real_files, of_each_real_file
from sluice.datasets.declarations import parse_document
from sluice.inference.names import name_columns, number_columns
from sluice.inference.typing.columns import InferredColumn, decide
from sluice.inference.typing.observations import Observations
from sluice.inference.typing.observe import observe
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

CASES = DATA.parent / "cases" / "duckdb"
#: Records of a batch: an odd number, so that batches end anywhere.
BATCH = 977


def records_of(path: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> list[list[str]]:
    with path.open(encoding=encoding, newline="", errors="replace") as file:
        return [each for each in csv.reader(file, delimiter=delimiter) if each]


def infer(
    path: Path, *, header: bool = True, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> list[InferredColumn]:
    records = records_of(path, delimiter, encoding)
    names = name_columns(records.pop(0)) if header else number_columns(len(records[0]))
    seen = Observations()
    for begin in range(0, len(records), BATCH):
        columns = zip(*records[begin : begin + BATCH], strict=True)
        arrays = [pa.array([cell or None for cell in each], pa.string()) for each in columns]
        seen = seen.merge(observe(arrays, first_record=begin))
    return list(decide(seen, names))


def shown(column: InferredColumn) -> str:
    """Return a column in a line: `name type key=value ...`."""
    document = dict(column.document)
    keys = [
        f"{key}={value}" for key, value in document.items() if key not in ("name", "type", "header")
    ]
    return " ".join((document["name"], document["type"], *keys))


FILES = {
    "any/citibike_2017_01.csv": """
        tripduration integer
        starttime timestamp formats=['%m/%d/%y %H:%M']
        stoptime timestamp formats=['%m/%d/%y %H:%M']
        start_station_id integer
        start_station_name text
        start_station_latitude float
        start_station_longitude float
        end_station_id integer
        end_station_name text
        end_station_latitude float
        end_station_longitude float
        bikeid integer
        usertype text
        birth_year integer
        gender integer
    """,
    "any/movielens_small/movies.csv": """
        movie_id integer
        title text trim=False
        genres text
    """,
    "any/movielens_small/ratings.csv": """
        user_id integer
        movie_id integer
        rating numeric
        timestamp integer
    """,
    "any/csv-spectrum/csvs/comma_in_quotes.csv": """
        first text
        last text
        address text
        city text
        zip text
    """,
    "plays/spotify_charts.csv": """
        song text
        date date
        number_of_plays integer
    """,
    "people/people.csv": """
        id integer
        first text
        last text
        age integer
        github_acct text
        date_of_3rd_grade_graduation date formats=['%m/%d/%y']
    """,
    "titles/netflix_titles.csv": """
        show_id text
        type text
        title text trim=False
        director text
        cast text
        country text
        date_added date formats=['%B %d, %Y']
        release_year integer
        rating text
        duration text
        listed_in text
        description text
    """,
    "trips/jersey_city_2017.csv": """
        region text
        origin_coord point
        destination_coord point
        datetime timestamp
        datasource text
    """,
    "trips/trips.csv": """
        region text
        origin_coord point
        destination_coord point
        datetime timestamp
        datasource text
    """,
}


@needs_real_files
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_real_file_has_the_types_that_a_person_gives_it(name: str) -> None:
    expected = [line.strip() for line in FILES[name].strip().splitlines()]
    assert [shown(each) for each in infer(DATA / name)] == expected


@needs_real_files
def test_files_without_header_have_types() -> None:
    found = infer(DATA / "hr" / "hired_employees.csv", header=False)
    assert [each.document["type"] for each in found] == [
        "integer",
        "text",
        "instant",
        "integer",
        "integer",
    ]


@needs_real_files
def test_dates_of_two_forms_have_two_formats() -> None:
    found = infer(DATA / "titles" / "netflix_titles_cp1252.csv", encoding="cp1252")
    assert shown(found[6]) == "date_added date formats=['%B %d, %Y', '%d-%b-%y']"


SMALL = {
    "auto/int_bol.csv": ["i integer", "b boolean"],
    "auto/time.csv": ["time time"],
    "auto/time_date_timestamp.csv": ["a integer", "b text", "t time", "d date", "ts timestamp"],
    "auto/time_date_timestamp_dd-mm-yy.csv": [
        "a integer",
        "b text",
        "t time",
        "d date formats=['%d-%m-%Y']",
        "ts timestamp formats=['%d-%m-%y %H:%M:%S']",
    ],
    "auto/time_date_timestamp_mm-dd-yyyy.csv": [
        "a integer",
        "b text",
        "t time",
        "d date formats=['%m-%d-%Y']",
        "ts timestamp formats=['%m-%d-%Y %I:%M:%S %p']",
    ],
    "auto/time_date_timestamp_yy.mm.dd.csv": [
        "a integer",
        "b text",
        "t time",
        "d date formats=['%y.%m.%d']",
        "ts timestamp formats=['%y.%m.%d %H:%M:%S']",
    ],
    "auto/time_date_timestamp_yyyy.mm.dd.csv": [
        "a integer",
        "b text",
        "t time",
        "d date formats=['%Y.%m.%d']",
        "ts timestamp formats=['%Y.%m.%d %H:%M:%S']",
    ],
    "auto/time_date_timestamp_trailing.csv": [
        "a integer",
        "b text",
        "t time",
        "tf text",
        "d date",
        "df text",
    ],
    "auto_date/date_example_1.csv": ["date_example date"],
    "auto_date/date_example_2.csv": ["date_example date formats=['%m/%d/%y']"],
    "dateformat/working.csv": ["accession_number text", "filing_date date formats=['%d-%b-%Y']"],
    "decimal_separators/decimal_separators_csv.csv": [
        "commas numeric decimal_separator=,",
        "periods numeric",
    ],
    "thousands_separator/integers.csv": ["bigvalues text"],
    "thousands_separator/multi_column_quote.csv": [
        "name text",
        "money numeric thousands_separator=,",
        "city text",
    ],
    "null/multiple_nulls.csv": [
        "name text",
        "age integer nulls=['null']",
        "height numeric nulls=['none']",
    ],
}


@needs_real_files
@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_small_case_has_the_types_that_a_person_gives_it(name: str) -> None:
    assert [shown(each) for each in infer(CASES / name)] == SMALL[name]


@needs_real_files
def test_a_decimal_comma_with_exponents_is_a_float() -> None:
    found = infer(CASES / "decimal_separators" / "decimal_separators.csv", delimiter=";")
    assert [shown(each) for each in found] == ["commas float decimal_separator=,", "periods float"]


@of_each_real_file
def test_each_record_of_a_real_file_is_admitted(path: Path) -> None:
    records = records_of(path)
    cells = zip(*records[1:], strict=True)
    columns = [pa.array([cell or None for cell in each], pa.string()) for each in cells]
    found = decide(observe(columns, first_record=0), name_columns(records[0]))
    document = {"name": "things", "columns": [dict(each.document) for each in found]}
    dataset = parse_document({**document, "header": False, "encoding": "utf-8"})
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows(records[1:])
    data = written.getvalue().encode()
    with parse_chunk(data, dataset, lay_out(dataset, None), first_line=1, first_record=0) as parsed:
        assert [(each.value, each.reason) for each in parsed.rejects] == []
        assert len(parsed.rows) == len(records) - 1
