"""Fixtures of the hostile files and requests: a local cloud with one instance of each function.

After each test its end and the peaks of the functions are printed; at the end, the highest peak of each.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from hostile_cloud import Measured, Processes, memory_limits
from hostile_datasets import DATASETS, SERVED
from sqlalchemy import Engine, NullPool, create_engine

from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_MEASURED = pytest.StashKey[list[Measured]]()


@pytest.fixture(scope="session")
def hostile_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of its own: the memory of its functions is measured."""
    state = State(tmp_path_factory.mktemp("hostile"))
    made = Cloud(state, Ports.free(), loaders=1, flags=postgres.TEST_FLAGS)
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="session")
def database_engine(hostile_cloud: Cloud) -> Iterator[Engine]:
    """The database of the cloud."""
    engine = create_engine(hostile_cloud.database.url(), poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def declared(hostile_cloud: Cloud) -> Callable[[str], None]:
    """Declare a dataset of the catalogue where it is first used; others are undeclared."""

    @functools.cache
    def declare(name: str) -> None:
        for each in DATASETS:
            if each["name"] == name:
                document = {"description": "Hostile.", **each}
                httpx.put(
                    f"{hostile_cloud.url}/v1/datasets/{name}", json=document, timeout=60
                ).raise_for_status()

    return declare


@pytest.fixture(scope="session")
def instances(hostile_cloud: Cloud) -> Processes:
    """The instances of the functions."""
    return Processes(hostile_cloud)


@pytest.fixture
def processes(
    instances: Processes, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Iterator[Processes]:
    """The instances, whose peaks count from the start of the test."""
    instances.reset_peaks()
    began = time.monotonic()
    yield instances
    case = Measured(
        request.node.name.removesuffix("]").rpartition("[")[2],
        time.monotonic() - began,
        dict(request.node.user_properties).get("end", ""),
        instances.peaks(),
    )
    request.config.stash.setdefault(_MEASURED, []).append(case)
    with capsys.disabled():
        sys.stdout.write(f"\n{case}\n")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the highest peak of each function, as a table of Markdown."""
    measured = config.stash.get(_MEASURED, [])
    if not measured:
        return
    terminalreporter.section("hostile")
    limits = memory_limits()
    for name in measured[0].peaks:
        highest = max(measured, key=lambda each: each.peaks[name])
        peak, limit = highest.peaks[name] >> 20, limits[name] >> 20
        terminalreporter.write_line(f"| {name} | {limit:,} | {peak:,} | `{highest.case}` |")


@pytest.fixture(scope="session")
def served(hostile_cloud: Cloud) -> int:
    """The dataset of the hostile requests, with some rows."""
    rows = [
        {"id": number, "name": f"name {number}", "amount": "1.5", "doc": "[1]"}
        for number in range(100)
    ]
    httpx.put(f"{hostile_cloud.url}/v1/datasets/served", json=SERVED, timeout=60).raise_for_status()
    httpx.post(
        f"{hostile_cloud.url}/v1/datasets/served/rows", json=rows, timeout=60
    ).raise_for_status()
    return len(rows)
