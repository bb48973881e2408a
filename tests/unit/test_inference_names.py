"""Headers become valid and unique names of columns."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice.datasets.declarations import parse_document
from sluice.datasets.grammars import WHITE_SPACE
from sluice.inference.names import dataset_name, name_columns, number_columns
from sluice.parsing.mismatches import match_names


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("start station id", "start_station_id"),
        ("movieId", "movie_id"),
        ("GithubAcct", "github_acct"),
        ("HTTPStatus", "http_status"),
        ("ID", "id"),
        ("Größe (m²)", "grosse_m2"),
        ("Žluťoučký kůň", "zlutoucky_kun"),
        ("Łódź", "lodz"),
        ("discount %", "discount_percent"),
        ("R&D", "r_and_d"),
        ("2017", "column_2017"),
        ("", "column_1"),
        ("日本", "column_1"),
        ("--", "column_1"),
        ("ingestion", "ingestion_"),
        ("xmin", "xmin_"),
        ("rowid", "rowid_"),
        ("a" * 80, "a" * 48),
        (" spaced ", "spaced"),
        ("new\nline", "new_line"),
    ],
)
def test_a_header_becomes_a_name(header: str, name: str) -> None:
    assert [(each.name, each.header) for each in name_columns([header])] == [(name, header.strip())]


def test_a_repeated_name_gets_a_number() -> None:
    names = [each.name for each in name_columns(["a", "A", "a ", "a_2", "", "a" * 60, "a" * 61])]
    assert names == ["a", "a_2", "a_3", "a_2_2", "column_5", "a" * 48, "a" * 46 + "_2"]


def test_columns_without_header_are_numbered() -> None:
    assert [each.name for each in number_columns(2)] == ["column_1", "column_2"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("2017 trips", "data_2017_trips"), ("Trips-2017", "trips_2017"), ("é", "e"), ("", "data")],
)
def test_a_file_name_becomes_a_name_of_a_dataset(text: str, name: str) -> None:
    assert dataset_name(text) == name


@example(["ingestion", "A", "a", "", "", "xmin"])
@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), max_size=60), min_size=1, max_size=8)
)
def test_any_headers_can_be_declared_and_are_found(headers: list[str]) -> None:
    columns = [
        {"name": each.name, "header": each.header, "type": "text"} for each in name_columns(headers)
    ]
    dataset = parse_document({"name": "any", "columns": columns})
    match = match_names(dataset, [each.strip(WHITE_SPACE) for each in headers])
    assert match.fits
    assert match.order == tuple(range(len(headers)))
