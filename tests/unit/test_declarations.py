"""The declaration of a dataset: what is accepted, and how an error names its place."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sluice.client.declarations import read_declaration
from sluice.csv.dialects import Dialect
from sluice.datasets.box_counts import KEYS as BOX_COUNTS_KEYS
from sluice.datasets.declaration_size import check_size
from sluice.datasets.declarations import (
    declaration_schema,
    folder_document,
    parse_document,
    read_folder,
    with_line,
)
from sluice.datasets.sql_headers import parse_query
from sluice.datasets.types import ColumnType
from sluice.errors import DeclarationError
from sluice.inference.declaration import document_toml

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
        pytest.param('"" = 1\n', None, '""', "no such key", id="empty key"),
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


@pytest.mark.parametrize(
    "line",
    [
        "param" + " " * 60_000,
        "param a text" + " " * 60_000 + "x:",
        "param a text =" + " " * 60_000 + "):",
        "param a text = " + " x" * 30_000 + " (:",
    ],
    ids=("no colon", "spaces after a type", "spaces in a default", "an open range"),
)
def test_a_long_line_of_a_header_is_read_in_linear_time(line: str) -> None:
    began = time.process_time()
    with contextlib.suppress(DeclarationError):
        parse_query("q", f"-- A query.\n-- {line}\nSELECT 1")
    assert time.process_time() - began < 0.5


def test_the_default_of_a_parameter_ends_before_its_range() -> None:
    header = "-- A.\n-- param a integer = 3 (1..5): A.\n-- param b text = x y: B.\n-- param c text(p, q): C."
    a, b, c = parse_query("q", f"{header}\nSELECT 1").parameters
    assert (a.default, a.minimum, a.maximum) == ("3", 1, 5)
    assert (b.default, b.one_of) == ("x y", ())
    assert (c.default, c.one_of) == (None, ("p", "q"))


def test_the_first_line_of_the_sql_is_known() -> None:
    found = parse_query("q", "-- A query.\n-- param a text: A.\n\n-- More.\n  SELECT\n1;\n")
    assert (found.sql, found.line) == ("SELECT\n1", 5)


def test_an_error_about_a_key_has_the_line_of_the_folder(tmp_path: Path) -> None:
    toml = (
        '[[columns]]\nname = "a"\ntype = "text"\n\n[[columns]]\nname = "b"\n'
        'type = "text"\nchecks = [{ sql = "c > 1", message = "No." }]\n'
    )
    folder = _folder(tmp_path, f'cluster = ["c"]\n{toml}')
    for key, line in (("columns[1].checks", 9), ("cluster", 1)):
        error = with_line(DeclarationError("no column c", key=key), folder)
        assert str(error) == f"dataset.toml:{line}: {key}: no column c"
    other = DeclarationError("no", file="queries/q.sql", line=3)
    assert with_line(other, folder) is other


COLUMN = {"name": "n", "type": "integer"}
QUERY = "-- Q.\nSELECT 1 AS x "


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"queries": {"q": QUERY + "/*" * 33 + "*/" * 33}}, "queries.q", "more than 32 deep"),
        ({"queries": {"q": QUERY + " " * 65_536}}, "queries.q", "at most 65,536"),
        ({"queries": {f"q{n}": QUERY for n in range(201)}}, "queries", "has 201 items"),
        ({"columns": [{**COLUMN, "nulls": ["x"] * 2_001}]}, "columns[0].nulls", "has 2,001 items"),
        (
            {"columns": [{**COLUMN, "checks": [{"sql": "n > 0", "message": "m"}] * 201}]},
            "checks",
            "has 201 items",
        ),
        (
            {"columns": [{**COLUMN, "nulls": ["x"] * 2_000}] * 26},
            "",
            "at most 50,000 are allowed",
        ),
    ],
    ids=["comments", "text", "queries", "list", "checks", "values"],
)
def test_a_declaration_that_is_too_large_is_refused(
    changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        check_size({"name": "d", "columns": [COLUMN], **changes})
    assert caught.value.extra["key"] == key
    assert words in caught.value.detail


def test_comments_side_by_side_are_not_deep() -> None:
    check_size(
        {"name": "d", "columns": [COLUMN], "queries": {"q": QUERY + "/* a */ -- /*\n" * 1_000}}
    )


def test_the_detail_of_an_error_is_bounded() -> None:
    error = DeclarationError("a" + "x" * 1_000_000 + "z")
    assert len(error.detail) < 5_000
    assert error.detail.startswith("dataset.toml: ax")
    assert error.detail.endswith("xz")
    assert str(error) == error.detail


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"table": 1}, "table"),
        ({"rollups": []}, "rollups"),
        ({"projections": {"p": 1}}, "projections.p"),
        ({"queries": {"q": None}}, "queries.q"),
        ({"key": [{}]}, "key"),
        ({"cluster": [1]}, "cluster"),
        ({"description": "\ud800"}, "description"),
    ],
)
def test_a_value_of_another_type_names_its_key(changes: dict[str, object], key: str) -> None:
    document = {"name": "a", "columns": [{"name": "id", "type": "integer"}], **changes}
    with pytest.raises(DeclarationError) as caught:
        parse_document(document)
    assert caught.value.extra["key"] == key


BOXES = """
[[columns]]
name = "place"
type = "point"

[[columns]]
name = "at"
type = "timestamp"

[projections.around]  # counts
kind = "box_counts"
points = ["place"]
time = "at"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('time = "at"', 'time = "place"', 13, ".time"),
        ('time = "at"', 'time = "at"\nperiod = 1', 14, ".period"),
        ('time = "at"', "", 10, ".time"),
        ("projections.around", 'projections."A b"', 10, ""),
    ],
    ids=["type", "value", "missing", "name"],
)
def test_an_error_of_box_counts_has_its_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    folder = _folder(tmp_path, BOXES.replace(old, new))
    with pytest.raises(DeclarationError) as caught:
        read_folder(folder)
    assert caught.value.extra["line"] == line
    name = "A b" if "A b" in new else "around"
    assert caught.value.extra["key"] == f"projections.{name}{key}"


def test_projections_of_both_kinds_are_declared_side_by_side(tmp_path: Path) -> None:
    folder = _folder(tmp_path, BOXES)
    (folder / "projections").mkdir()
    sorted_times = folder / "projections" / "times.sql"
    sorted_times.write_text("-- Times.\n-- columns: at\nSELECT at FROM rows ORDER BY at")
    dataset = read_folder(folder)
    assert [each.name for each in dataset.projections] == ["around_place", "times"]
    assert tomllib.loads(document_toml(folder_document(folder)))["projections"] == {
        "around": {"kind": "box_counts", "points": ["place"], "time": "at"}
    }
    sorted_times.rename(folder / "projections" / "around.sql")
    with pytest.raises(DeclarationError, match=r"around.sql declares a projection of this name"):
        read_folder(folder)


def test_a_toml_alone_keeps_projections_of_sql_and_replaces_tables(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(BOXES)
    current = {"projections": {"times": "-- SQL", "old": {"kind": "box_counts"}}, "table": "t"}
    document = read_declaration(tmp_path / "dataset.toml", "places", current)
    assert document["projections"].keys() == {"around", "times"}
    assert document["table"] == "t"
    (tmp_path / "dataset.toml").write_text(BOXES.partition("[projections")[0])
    kept = read_declaration(tmp_path / "dataset.toml", "places", current)
    assert kept["projections"] == {"times": "-- SQL"}
    assert "projections" not in read_declaration(tmp_path / "dataset.toml", "places", {})


def test_the_schema_of_a_declaration_has_box_counts() -> None:
    properties = declaration_schema()["properties"]
    text, table = properties["projections"]["additionalProperties"]["anyOf"]
    assert text == {"type": "string"}
    assert set(table["properties"]) == set(BOX_COUNTS_KEYS)


@pytest.mark.parametrize("key", ["nulls", "header", "one_of", "symbols"])
def test_a_list_of_a_column_has_texts(key: str) -> None:
    column = {"name": "id", "type": "integer", key: [["a"]]}
    with pytest.raises(DeclarationError, match=rf"columns\[0\].{key}: \['a'\] is not a text"):
        parse_document({"name": "a", "columns": [column]})


DECEIVED = """
from collections.abc import Mapping

class Text(Mapping):
    @classmethod
    def __subclasshook__(cls, other):
        return other is str or NotImplemented

assert isinstance("a text", Mapping)
from sluice.datasets.declaration_size import check_size
from sluice.datasets.declarations import parse_document
document = {"name": "things", "description": "Things.", "columns": [{"name": "id", "type": "integer"}]}
check_size(document)
print(parse_document(document).columns[0].name)
"""


def test_a_declaration_is_read_where_python_takes_a_text_for_a_mapping() -> None:
    """So it did in a process of split that ran for minutes, and the files of each dataset failed."""
    done = subprocess.run(
        [sys.executable, "-c", DECEIVED], capture_output=True, text=True, check=False
    )
    assert done.stdout == "id\n", done.stderr
