"""What answers may do to the program that opens them: nothing in a spreadsheet, a browser or a picture."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from serving import GUESTS, publish

from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

GUESTS_PATH = "/v1/datasets/guests"
FORMULAS = (
    "=1+2",
    "+1+2",
    "-1+2",
    "@SUM(A1)",
    " =1+2",
    "\t=1+2",
    "\r=1+2",
    "\N{FULLWIDTH EQUALS SIGN}1+2",
    '=HYPERLINK("http://example.com","a")',
)
HARMLESS = ("Ada", "a=b", "-5", "+1,234.5", "-2e10", "-3%", "", "'quoted'", "1-2")
SHOWN = {
    "names": "-- Names.\n-- draw: bar x=name y=wage\nSELECT name, wage FROM guests ORDER BY id",
}


@pytest.fixture
def query(serve: Serve, guests: int, engine: Engine) -> Client:
    declare(engine, {**GUESTS, "queries": {**GUESTS["queries"], **SHOWN}}, origin="api")
    return serve("query")


def put_names(engine: Engine, *names: str) -> None:
    rows = [{"id": at, "name": name, "wage": -at} for at, name in enumerate(names, 100)]
    publish(engine, "guests", rows, "names.csv")


def names_in(client: Client, path: str, **arguments: str) -> list[str]:
    answer = client.get(f"{GUESTS_PATH}/{path}?{urlencode(arguments)}")
    assert answer.status_code == 200, answer.text
    text = answer.data.decode("utf-8-sig")
    return [row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def test_a_spreadsheet_shows_a_formula_as_text(query: Client, engine: Engine) -> None:
    put_names(engine, *FORMULAS)
    wanted = [f"'{each}" for each in FORMULAS]
    assert names_in(query, "rows", format="spreadsheet", id="ge.100", order="id") == wanted
    assert names_in(query, "queries/names", format="spreadsheet")[-len(FORMULAS) :] == wanted


def test_other_cells_of_a_spreadsheet_are_what_they_were(query: Client, engine: Engine) -> None:
    put_names(engine, *HARMLESS)
    found = names_in(query, "rows", format="spreadsheet", id="ge.100", order="id")
    assert found == list(HARMLESS)


def test_a_csv_is_exact(query: Client, engine: Engine) -> None:
    put_names(engine, *FORMULAS)
    found = names_in(query, "rows", format="csv", id="ge.100", order="id")
    assert found == list(FORMULAS)


@pytest.mark.parametrize("path", ["rows", "queries/names"])
def test_a_browser_downloads_the_spreadsheet(query: Client, path: str) -> None:
    page = query.get(f"{GUESTS_PATH}/{path}?format=html").text
    assert "format=spreadsheet" in page
    assert "format=csv" not in page
    answer = query.get(f"{GUESTS_PATH}/{path}?format=spreadsheet", buffered=True)
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="guests')
    assert answer.data.startswith("\ufeff".encode())


@pytest.mark.parametrize(
    "path",
    [
        f"{GUESTS_PATH}/rows",
        f"{GUESTS_PATH}/rows?format=html",
        f"{GUESTS_PATH}/rows?format=parquet",
        f"{GUESTS_PATH}/rows?limit=x",
        f"{GUESTS_PATH}/queries/names?format=svg",
        f"{GUESTS_PATH}/queries/names?format=html",
        f"{GUESTS_PATH}/queries/broken",
        "/docs",
        "/openapi.json",
        "/v1/nothing",
    ],
)
def test_no_answer_runs_a_script_or_is_framed_or_guessed(query: Client, path: str) -> None:
    for _ in range(2):  # the second one may come from the cache
        with query.get(path) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy


def test_control_characters_do_not_break_a_picture_or_a_page(query: Client, engine: Engine) -> None:
    put_names(engine, *(f"a{chr(code)}b" for code in (1, 8, 0x0B, 0x1B, 0x7F, 0xFFFE, 0xFFFF)))
    picture = query.get(f"{GUESTS_PATH}/queries/names?format=svg")
    ET.fromstring(picture.text)
    page = query.get(f"{GUESTS_PATH}/queries/names?format=html").text
    assert "</html>" in page
    assert not set(page) & {chr(each) for each in range(32) if chr(each) not in "\t\n\r"}
