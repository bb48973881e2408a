"""A local cloud over toy functions, of which only the gateway runs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.local import parts
from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Iterator

TOYS = Path(__file__).parent / "toys"


@contextmanager
def gateway_alone(root: Path, loaders: int) -> Iterator[Cloud]:
    """Start the gateway, with its functions, and stop it afterwards."""
    state = State(root)
    cloud = Cloud(state, Ports.free(), loaders=loaders, functions=TOYS)
    gateway = next(part for part in cloud.parts() if part.name == "gateway")
    with state.lock():
        assert parts.make_room(state, gateway)
        parts.start(state, gateway)
    yield cloud
    cloud.down()
