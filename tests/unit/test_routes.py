"""Which function serves which request."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import pytest

from sluice.api.routes.documentation import operations
from sluice.errors import NotAllowedError
from sluice.local.gateway import destination
from sluice.routes import ALIASES, ROUTES, function_for

FUNCTIONS = Path(__file__).parents[2] / "functions"


def test_every_route_is_documented_once() -> None:
    assert Counter(each.route.name for each in operations()) == Counter(e.name for e in ROUTES)


@pytest.mark.parametrize("function", sorted({each.function for each in ROUTES}))
def test_a_function_serves_all_of_its_routes(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_PROJECT", "local")
    monkeypatch.setenv("SLUICE_OUTBOX", "outbox")
    app = runpy.run_path(str(FUNCTIONS / function / "main.py"))["APP"]
    served = {each.route.name for each in app.operations}
    assert served == {each.name for each in ROUTES if each.function == function}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_finds_its_function(route) -> None:
    assert function_for(route.method, route.path) == route.function


def test_head_goes_where_get_goes() -> None:
    assert function_for("HEAD", "/v1/datasets") == "query"


def test_a_parameter_is_one_segment() -> None:
    assert function_for("GET", "/v1/datasets/a%2Fb/rows") == "query"
    assert function_for("GET", "/v1/datasets/a/b/c/rows") == ALIASES


def test_a_path_without_a_route_may_be_an_alias() -> None:
    assert function_for("GET", "/anything/else") == "intake"


def test_a_wrong_method_names_the_right_ones() -> None:
    with pytest.raises(NotAllowedError, match="allows GET, POST") as caught:
        function_for("DELETE", "/v1/subscriptions")
    assert caught.value.extra["allow"] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/functions/load", ("load", "/")),
        ("/functions/load?token=1", ("load", "/?token=1")),
        ("/functions/load/", ("load", "/")),
        ("/functions/load/a?b=c", ("load", "/a?b=c")),
        ("/v1/datasets?x=1", ("query", "/v1/datasets?x=1")),
    ],
)
def test_a_push_sees_the_path_after_its_function(target: str, seen: tuple[str, str]) -> None:
    assert destination("GET", target) == seen
