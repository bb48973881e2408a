"""Fixtures of the integration tests: the flow of a file (`flow.py`), the HTTP functions (`serving.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flow import THINGS, Flow
from serving import engine, guests, serve, topics

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["engine", "guests", "serve", "topics"]


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
