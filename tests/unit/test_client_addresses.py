"""The address of a route in a deployment where each function has its own."""

from __future__ import annotations

import pytest

from sluice.client.addresses import address_for

OF_QUERY = "https://query-123456789.europe-west1.run.app"


@pytest.mark.parametrize(
    ("method", "path", "function"),
    [
        ("GET", "/v1/datasets", "query"),
        ("PUT", "/v1/datasets/trips", "intake"),
        ("POST", "/v1/uploads", "intake"),
        ("GET", "/v1/ingestions/7/events", "status"),
        ("POST", "/v1/subscriptions", "status"),
        ("POST", "/v1/backups", "backup"),
        ("GET", "/v1/audit", "intake"),
        ("GET", "/people", "intake"),
    ],
)
@pytest.mark.parametrize("known", ["query", "status"])
def test_the_address_of_one_function_tells_those_of_the_others(
    known: str, method: str, path: str, function: str
) -> None:
    url = OF_QUERY.replace("query", known)
    assert address_for(url, method, path) == OF_QUERY.replace("query", function)


def test_functions_may_have_a_prefix() -> None:
    url = "https://eu-query-1.europe-west1.run.app"
    assert address_for(url, "POST", "/v1/uploads") == "https://eu-intake-1.europe-west1.run.app"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "https://sluice.example.org",
        "https://query.example.org",
        "https://query-123.europe-west1.run.app.example.org",
        "http://query-123.europe-west1.run.app",
        "https://other-123.europe-west1.run.app",
    ],
)
def test_any_other_address_serves_all_routes(url: str) -> None:
    assert address_for(url, "POST", "/v1/uploads") == url
