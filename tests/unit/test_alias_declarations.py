"""Declarations of `[aliases]`, and the position of an error in them."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from sluice.datasets.aliases import find_alias
from sluice.datasets.declarations import parse_document
from sluice.errors import DeclarationError, NotAllowedError, NotFoundError

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset

TOML = """\
description = "Guests."

[[columns]]
name = "id"
type = "integer"

[[columns]]
name = "last"
type = "text"
header = "Last Name"

[aliases]
"GET /ping" = { kind = "text", text = "pong" }
"""
QUERIES = {
    "all": "-- All.\nSELECT id FROM guests",
    "named": "-- Some.\n-- param last text!: The name.\nSELECT id FROM guests WHERE last = :last",
}


def declared(*lines: str) -> Dataset:
    text = TOML + "\n".join(lines)
    return parse_document({"name": "guests", **tomllib.loads(text), "queries": QUERIES}, text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"/x" = { kind = "text", text = "a" }', "write METHOD /path"),
        ('"GET x" = { kind = "text", text = "a" }', "write METHOD /path"),
        ('"GET /{a}/{a}" = { kind = "query", query = "all" }', "write METHOD /path"),
        ('"GET /x" = "all"', "is a table with a kind"),
        ('"GET /x" = { kind = "magic" }', "kind: is a table with a kind: text, query"),
        ('"GET /x" = { kind = [["text"]] }', "kind: is a table with a kind: text, query"),
        ('"GET /x" = { kind = "text" }', "text: is missing"),
        ('"GET /x" = { kind = "text", text = 1 }', "text: 1 is not a text"),
        (
            '"GET /x" = { kind = "text", text = "a", shape = "list" }',
            "shape: kind text has no such",
        ),
        ('"PUT /x" = { kind = "text", text = "a" }', "kind text takes GET"),
        (
            '"GET /x" = { kind = "query", query = "none" }',
            "query: 'none' is not a query of this dataset",
        ),
        (
            '"GET /x/{id}" = { kind = "query", query = "named" }',
            "query: id: not a parameter of named",
        ),
        ('"GET /x" = { kind = "query", query = "all", shape = "round" }', "shape: 'round' is not"),
        ('"GET /x" = { kind = "query", query = "all", names = "any" }', "names: 'any' is not"),
        (
            '"POST /x" = { kind = "row", query = "all", next_key = "last" }',
            "next_key: 'last' is no",
        ),
        (
            '"POST /x" = { kind = "row", query = "all", needs = ["nose"] }',
            "needs: nose: not a column",
        ),
        (
            '"POST /x" = { kind = "row", query = "all", needs = ["id", 1] }',
            "needs: ['id', 1] is not a list of names",
        ),
        ('"GET /x" = { kind = "job_status" }', "one segment that varies"),
        ('"GET /docs" = { kind = "text", text = "a" }', "a route of the API's own"),
        ('"POST /docs" = { kind = "query", query = "all" }', "a route of the API's own"),
        ('"GET /v1/x" = { kind = "text", text = "a" }', "/v1/ is the API's own"),
    ],
)
def test_a_wrong_alias_is_reported_by_file_line_and_key(line: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=r"^dataset\.toml:14: aliases\.") as caught:
        declared(line)
    assert message in caught.value.detail


def test_one_route_cannot_be_declared_twice() -> None:
    lines = [f'"GET /x/{{{name}}}" = {{ kind = "job_status" }}' for name in ("a", "b")]
    with pytest.raises(DeclarationError, match="is the same as GET /x/"):
        declared(*lines)


def test_a_fixed_path_takes_precedence_over_variables() -> None:
    dataset = declared(
        '"GET /ids/{last}" = { kind = "query", query = "named" }',
        '"GET /ids/all" = { kind = "query", query = "all" }',
    )
    match = find_alias([dataset], "GET", "/ids/all")
    assert (match.alias.query, match.variables) == ("all", {})
    match = find_alias([dataset], "HEAD", "/ids/O'Brien")
    assert (match.alias.query, match.variables) == ("named", {"last": "O'Brien"})


@pytest.mark.parametrize("path", ["/ids", "/ids/", "/ids/a/b", "/pings", "/"])
def test_an_undeclared_path_is_not_found(path: str) -> None:
    dataset = declared('"GET /ids/{last}" = { kind = "query", query = "named" }')
    with pytest.raises(NotFoundError):
        find_alias([dataset], "GET", path)


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "OPTIONS"])
def test_another_method_of_a_declared_path_is_not_allowed(method: str) -> None:
    dataset = declared(
        '"GET /ids/{last}" = { kind = "query", query = "named" }',
        '"POST /ids/all" = { kind = "query", query = "all" }',
    )
    with pytest.raises(NotAllowedError, match="allows GET, POST") as caught:
        find_alias([dataset], method, "/ids/all")
    assert caught.value.extra["allow"] == ["GET", "POST"]
