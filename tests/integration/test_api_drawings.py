"""Answers of named queries as pictures and pages, over real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from problems import assert_problem
from serving import GUESTS, publish

from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

QUERIES = "/v1/datasets/guests/queries"
DRAWN = {
    "wages": "-- Wages of a name.\n-- param name text: The name.\n-- param least number = 0 (0..9): Least.\n"
    "-- draw: bar x=name y=wage label=wage_in_euros\n"
    "SELECT name, wage FROM guests WHERE (:name IS NULL OR name = :name) AND wage >= :least ORDER BY id",
    "astray": "-- Draws what is not there.\n-- draw: bar x=town y=wage\nSELECT name, wage FROM guests",
}


@pytest.fixture
def query(serve: Serve, guests: int, engine: Engine) -> Client:
    declare(engine, {**GUESTS, "queries": {**GUESTS["queries"], **DRAWN}}, origin="api")
    return serve("query")


@pytest.mark.parametrize("by", ["format", "accept"])
def test_a_query_answers_with_the_picture_it_declares(query: Client, by: str) -> None:
    asked = "?format=svg" if by == "format" else ""
    answer = query.get(f"{QUERIES}/wages{asked}", headers={"Accept": "image/svg+xml"})
    assert answer.content_type == "image/svg+xml"
    assert {"Wages of a name", "guests · least = 0", "Ada", "wage in euros"} <= {
        "".join(each.itertext()).strip() for each in ET.fromstring(answer.text).iter()
    }
    again = query.get(
        f"{QUERIES}/wages?format=svg", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304


def test_a_browser_gets_a_page_with_picture_form_and_table(query: Client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = query.get(f"{QUERIES}/wages?name=Ada&least=", headers=browser)
    assert answer.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.text.count("<svg ") == 2
    assert "fill: var(--paper)" in answer.text
    assert '<input name="name" type="text" value="Ada">' in answer.text
    assert answer.text.count("<tr>") == 1 + 3
    assert "http://" not in answer.text.replace("http://www.w3.org/", "")


def test_a_page_escapes_values(query: Client, engine: Engine) -> None:
    evil = "<script>alert(1)</script>"
    publish(engine, "guests", [{"id": 20, "name": evil, "wage": 1}], "b.csv")
    answer = query.get(f"{QUERIES}/wages", query_string={"name": evil, "format": "html"})
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert "<script" not in query.get(f"{QUERIES}/wages?format=svg").text


def test_a_query_without_a_drawing_is_a_table_and_no_picture(query: Client) -> None:
    answer = query.get(f"{QUERIES}/named?name=Cy&format=html")
    assert (answer.status_code, "<svg" in answer.text, "<td>Cy</td>" in answer.text) == (
        200,
        False,
        True,
    )
    problem = assert_problem(query.get(f"{QUERIES}/named?name=Cy&format=svg"), "API301", 400)
    assert "declares no drawing" in problem["detail"]
    picture = {"Accept": "image/svg+xml"}
    assert_problem(query.get(f"{QUERIES}/named?name=Cy", headers=picture), "API307", 406)


def test_a_page_shows_an_error_above_its_form(query: Client) -> None:
    answer = query.get(f"{QUERIES}/wages?least=many&format=html")
    assert answer.status_code == 400
    assert "&#34;many&#34; is not a number" in answer.text
    assert 'value="many"' in answer.text


def test_a_drawing_of_an_unknown_column_is_refused(query: Client) -> None:
    problem = assert_problem(query.get(f"{QUERIES}/astray?format=svg"), "API313", 422)
    assert "town: the result has name, wage" in problem["detail"]
    assert query.get(f"{QUERIES}/astray").status_code == 200


def test_an_answer_without_rows_has_a_picture(query: Client) -> None:
    asked = f"{QUERIES}/wages?name=Nobody"
    assert "Nothing to draw" in query.get(f"{asked}&format=svg").text
    assert "No rows" in query.get(f"{asked}&format=html").text
