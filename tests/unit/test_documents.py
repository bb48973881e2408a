"""The documents of the API: errors that name the field, and what is written of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

# Every module with documents.
from sluice.documents import backups, datasets, dead_letters, ingestions
from sluice.documents.access import KeyRequest
from sluice.documents.backups import RestoreRequest
from sluice.documents.document import DocumentError, Request, decode, parse, schemas, to_json

REQUEST = b'{"dataset": "trips", "name": "a.csv", %s}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "dataset: is missing"),
        (b'{"dataset": 1}', "dataset: expected `str`, got `int`"),
        (REQUEST % b'"size_bytes": -1', "size_bytes: expected `int` >= 0"),
        (REQUEST % b'"size_bytes": true', "size_bytes: expected `int | null`, got `bool`"),
        (REQUEST % b'"speed": 1', "speed: is not a known field"),
        (b"[]", "expected `object`, got `array`"),
        (b"{", "the text is not JSON: "),
        (b'{"dataset": "\xff"}', "the text is not JSON: "),
        (b"0q", "the text is not JSON: "),
        (b"3\x82\x9c", "the text is not JSON: "),
        (b'"a" b', "the text is not JSON: "),
    ],
    ids=str,
)
def test_an_error_in_a_body_names_the_field(body: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        decode(body, ingestions.UploadRequest)
    assert str(caught.value).startswith(message)


def test_a_text_that_is_nested_too_deep_is_no_document() -> None:
    with pytest.raises(DocumentError, match="nested too deep"):
        decode(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", dict[str, Any])


def test_an_error_in_a_list_names_the_place() -> None:
    with pytest.raises(DocumentError, match=r"^restored\[0\]\.dataset: is missing$"):
        parse({"backup": "x", "restored": [{}]}, backups.Restored)


def test_members_that_a_newer_server_sends_are_ignored() -> None:
    assert parse({"name": "a", "summary": "b", "new": 1}, datasets.QuerySummary).name == "a"


def test_only_a_rejected_row_has_column_and_reason() -> None:
    loaded = ingestions.RowOutcome(1, "loaded")
    rejected = ingestions.RejectedRow(2, "rejected", None, "width", None, "has 3 cells")
    assert to_json([loaded, rejected]) == [
        {"row": 1, "outcome": "loaded"},
        {
            "row": 2,
            "outcome": "rejected",
            "column": None,
            "rule": "width",
            "value": None,
            "reason": "has 3 cells",
        },
    ]


def test_a_problem_keeps_members_of_its_own() -> None:
    problem = {"type": "x", "title": "t", "status": 422, "code": "CSV104", "detail": "d", "line": 3}
    rows = {"dataset": "trips", "ingestion": 7, "state": "failed", "rows": [], "problem": problem}
    found = parse({**rows, "account": {}}, ingestions.InsertedRows)
    assert found.problem is not None
    assert found.problem.code == "CSV104"
    assert to_json(found)["problem"] == problem


def test_an_event_and_an_ingestion_share_their_members() -> None:
    described = schemas()
    event, ingestion = (set(described[name]["properties"]) for name in ("EventData", "Ingestion"))
    assert event - ingestion == {"ingestion"}
    assert ingestion - event == {
        "id",
        "declaration_version",
        "replaced_by",
        "received_at",
        "started_at",
        "updated_at",
        "finished_at",
    }


def test_a_request_with_nul_names_the_field() -> None:
    with pytest.raises(DocumentError, match=r"datasets\[1\]: contains a NUL"):
        decode(b'{"name": "a", "datasets": ["b", "c\\u0000"]}', KeyRequest)


def texts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas of texts in a schema."""
    inner = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and schema.get("type") == "string":
        yield schema
    for each in inner if isinstance(schema, (dict, list)) else ():
        yield from texts_of(each)


def test_the_schemas_of_requests_exclude_nul_from_texts() -> None:
    listed = {
        each.__name__: list(texts_of(schemas()[each.__name__]))
        for kind in (Request, RestoreRequest)
        for each in kind.__subclasses__()
    }
    assert dead_letters.DeadLetterRequest.__name__ in listed
    for name, text in ((name, text) for name, texts in listed.items() for text in texts):
        is_closed = "enum" in text or text.get("format") == "date-time"
        assert is_closed or not re.search(text.get("pattern", ""), "a\0"), (name, text)


@pytest.mark.parametrize("text", ["60.0", "6e1", "60"])
def test_a_whole_number_may_be_written_with_a_fraction(text: str) -> None:
    found = decode(f'{{"name": "a", "requests_per_minute": {text}}}'.encode(), KeyRequest)
    assert found.requests_per_minute == 60


def test_a_fraction_is_no_whole_number() -> None:
    with pytest.raises(DocumentError, match="requests_per_minute: expected `int"):
        decode(b'{"name": "a", "requests_per_minute": 60.5}', KeyRequest)
