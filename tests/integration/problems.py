"""The assertion about problem documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

MEMBERS = ("type", "title", "status", "code", "detail")


def assert_problem(response: TestResponse, code: str, status: int) -> dict[str, Any]:
    """Check that the answer is an RFC 9457 document with the code and the status; return it."""
    assert response.content_type == "application/problem+json", response.text
    document: dict[str, Any] = response.json  # type: ignore[assignment]
    assert (document["code"], document["status"], response.status_code) == (code, status, status)
    assert document["type"].endswith(f"/{code}")
    assert all(document[name] for name in MEMBERS)
    return document
