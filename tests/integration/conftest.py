"""Fixtures of the integration tests: the flow of a file (`flow.py`), the HTTP functions (`serving.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flow import THINGS, Flow
from keyring import Keyring
from serving import engine, guests, serve, superuser, topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine

__all__ = ["engine", "guests", "serve", "superuser", "topics"]


@pytest.fixture
def flow(database: str, request: pytest.FixtureRequest) -> Iterator[Flow]:
    """The functions of a process; see the marker `flow`."""
    marker = request.node.get_closest_marker("flow")
    options = dict(marker.kwargs) if marker else {}
    declared = options.pop("declared", THINGS)
    made = Flow(database, **options)
    if declared:
        made.declare(declared)
    yield made
    made.close()


@pytest.fixture
def callers(serve: Serve, engine: Engine) -> Keyring:  # the fixture
    """Callers with keys; see `keyring.py`."""
    return Keyring(serve, engine)
