"""What unit tests share: a served replay of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import replay

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[replay.Replay]:
    with replay.serve() as served:
        yield served
