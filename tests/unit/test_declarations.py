"""The declaration of a dataset: what is accepted, and how an error names its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.csv.dialects import Dialect
from sluice.datasets.declarations import parse_document, read_folder
from sluice.datasets.types import ColumnType
from sluice.errors import DeclarationError

TRIPS = Path(__file__).parents[2] / "sql" / "datasets" / "trips"


def _folder(tmp_path: Path, toml: str, **files: str) -> Path:
    folder = tmp_path / "things"
    for name, body in {"dataset.toml": toml, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    return folder


def test_the_trips_folder_is_a_valid_dataset() -> None:
    trips = read_folder(TRIPS)
    assert [column.name for column in trips.columns] == [
        "region",
        "origin",
        "destination",
        "started_at",
        "datasource",
    ]
    assert trips.columns[1].type is ColumnType.POINT
    assert {each.name for each in trips.queries} >= {
        "weekly_average",
        "groups",
        "latest_datasource_of_top_regions",
        "regions_of_datasource",
    }


@pytest.mark.parametrize(
    ("toml", "line", "key", "words"),
    [
        pytest.param("colour = 1\n", 1, "colour", "no such key", id="unknown key"),
        pytest.param('[[columns]]\nname = "a"\n', 1, "columns[0].type", "is missing", id="no type"),
        pytest.param(
            '[[columns]]\nname = "a"\ntype = "money"\n',
            3,
            "columns[0].type",
            "not one of text",
            id="unknown type",
        ),
        pytest.param(
            '[[columns]]\nname = "a"\ntype = "text"\n[[columns]]\nname = "b"\ntype = "text"\nrequired = 1\n',
            7,
            "columns[1].required",
            "true or false",
            id="wrong kind in the second column",
        ),
        pytest.param(
            'key = ["b"]\n[[columns]]\nname = "a"\ntype = "text"\n',
            1,
            "key",
            "not a stored column",
            id="key of no column",
        ),
        pytest.param("a = = 1\n", 1, "", "Invalid value", id="no TOML"),
        pytest.param(
            'delimiter = "a"\n[[columns]]\nname="a"\ntype="text"',
            1,
            "delimiter",
            "",
            id="delimiter",
        ),
        pytest.param(
            'quote = "\'"\nescape = "\'"\n[[columns]]\nname="a"\ntype="text"',
            2,
            "escape",
            "is also the quote",
            id="escape",
        ),
        pytest.param("skip_lines = true\n", 1, "skip_lines", "a number of lines", id="boolean"),
    ],
)
def test_an_error_names_file_line_and_key(
    tmp_path: Path, toml: str, line: int, key: str, words: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        read_folder(_folder(tmp_path, toml))
    assert caught.value.extra["file"] == "dataset.toml"
    assert caught.value.extra["line"] == line
    assert caught.value.extra["key"] == key
    assert words in caught.value.detail


def test_each_key_of_a_dialect_is_read_from_toml(tmp_path: Path) -> None:
    toml = """
        delimiter = "~|~"
        quote = "'"
        encoding = "cp1252"
        header = true
        escape = "\\\\"
        comment = "#"
        skip_lines = 2
        header_lines = 2
        footer_lines = 1
        spaces_around_quotes = true
        trailing_delimiter = true
        [[columns]]
        name = "a"
        type = "text"
    """
    expected = Dialect("~|~", "'", "cp1252", True, "\\", "#", 2, 2, 1, True, True)
    assert read_folder(_folder(tmp_path, toml)).dialect == expected


def test_an_error_in_a_query_names_its_file_and_line(tmp_path: Path) -> None:
    toml = '[[columns]]\nname = "a"\ntype = "text"\n'
    query = "-- Counts things.\n-- param limit money = 3: How many.\nSELECT 1\n"
    with pytest.raises(DeclarationError, match=r"queries/counts\.sql:2: param limit") as caught:
        read_folder(_folder(tmp_path, toml, **{"queries/counts.sql": query}))
    assert "text, integer, number" in caught.value.detail


@pytest.mark.parametrize(
    ("near", "words"),
    [
        ("search", "write `near: QUERY COLUMN`"),
        ("seek title", "'seek' is not a query with a parameter; known: search"),
        ("all title", "'all' is not a query with a parameter; known: search"),
    ],
)
def test_what_a_verb_falls_back_on_is_a_query_that_takes_a_text(near: str, words: str) -> None:
    queries = {
        "title": f"-- A title.\n-- param title text!: It.\n-- near: {near}\nSELECT 1",
        "search": "-- Words.\n-- param words text!: They.\nSELECT 1",
        "all": "-- All.\nSELECT 1",
    }
    columns = [{"name": "title", "type": "text"}]
    with pytest.raises(DeclarationError, match=words):
        parse_document({"name": "things", "columns": columns, "queries": queries})


def test_a_document_sent_to_the_api_is_read_like_a_folder() -> None:
    document = {
        "name": "things",
        "columns": [{"name": "a", "type": "integer", "header": ["A", "ay"]}],
    }
    assert parse_document(document).columns[0].headers == ("A", "ay")


@pytest.mark.parametrize(
    ("column", "more", "key", "words"),
    [
        ({"header": ["a", "b\0"]}, {}, "columns[0].header[1]", "NUL"),
        (
            {"checks": [{"sql": "a > 1", "message": "\0"}]},
            {},
            "columns[0].checks[0].message",
            "NUL",
        ),
        ({}, {"description": "\0"}, "description", "NUL"),
        ({}, {"queries": {"all": "-- All.\nSELECT '\0'"}}, "queries.all", "NUL"),
        ({"minimum": float("inf")}, {}, "columns[0].minimum", "not finite"),
        ({"maximum": float("nan")}, {}, "columns[0].maximum", "not finite"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    column: dict[str, Any], more: dict[str, Any], key: str, words: str
) -> None:
    columns = [{"name": "a", "type": "integer", **column}]
    with pytest.raises(DeclarationError, match=words) as caught:
        parse_document({"name": "things", "columns": columns, **more})
    assert caught.value.extra["key"] == key


@pytest.mark.parametrize("depth", [20, 500, 100_000])
def test_a_document_that_is_nested_too_deep_is_refused(depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(DeclarationError, match="nested too deep"):
        parse_document({"name": "things", "columns": nested})


def test_an_error_of_a_json_document_names_no_toml_file() -> None:
    with pytest.raises(DeclarationError, match=r"^dataset\.toml: columns: ") as caught:
        parse_document({"name": "things", "columns": "none"})
    of_json = caught.value.of_document()
    assert str(of_json).startswith("columns: 'none' is not ")
    in_sql = DeclarationError("is taken", file="projections/a.sql", key="name")
    assert in_sql.of_document() is in_sql
