"""Measures what the limits of callers cost, as ratios of the time of a request in one run.

Run `python benchmarks/limits.py [--rounds 9]`. It starts a separate local cloud, loads the function `query`
into this process, and sends a request with the default limits, without any, and beyond them. It prints

  limits    the time of a request with limits divided by that of one without
  refusal   the time of a request that is refused, in ms, and divided by that of one without limits
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import functions_framework

from sluice.access.keys import create_key
from sluice.documents.access import KeyRequest
from sluice.documents.roles import Role
from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State
from sluice.postgres.connection import new_engine
from sluice.settings import Settings

if TYPE_CHECKING:
    from werkzeug.test import Client

#: With nine rounds, fewer in all than the default limit of a minute.
REQUESTS = 100
PATH = "/v1/datasets"
SOURCE = Path(__file__).parents[1] / "functions" / "query" / "main.py"
UNLIMITED = {"SLUICE_REQUESTS_PER_MINUTE": "0", "SLUICE_REQUESTS_AT_ONCE": "0"}
LIMITED = {"SLUICE_REQUESTS_PER_MINUTE": "1200", "SLUICE_REQUESTS_AT_ONCE": "8"}
REFUSED = 429


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        cloud = Cloud(State(Path(folder)), Ports.free(), loaders=1)
        cloud.up()
        try:
            measure(cloud.database.url(), options.rounds)
        finally:
            cloud.down()


def measure(database: str, rounds: int) -> None:
    """Print the ratios."""
    os.environ |= {"SLUICE_DATABASE_URL": database, "SLUICE_AUTHENTICATION": "required"}
    engine = new_engine(Settings(database_url=database))
    wanted = {"name": "benchmark", "role": Role.READER}
    keys = [
        create_key(engine, KeyRequest(**wanted, requests_per_minute=each), "benchmark").key
        for each in (None, 1)
    ]
    free, limited = client(UNLIMITED), client(LIMITED)
    plain, allowed, refused = [], [], []
    for _ in range(rounds + 1):
        plain.append(mean_s(free, keys[0]))
        allowed.append(mean_s(limited, keys[0]))
        refused.append(mean_s(limited, keys[1], REFUSED))
    # The first round opens connections.
    without_s, with_s, refusal_s = (
        statistics.median(each[1:]) for each in (plain, allowed, refused)
    )
    print(f"limits   {with_s / without_s:.3f}   without {without_s * 1000:.2f} ms")
    print(f"refusal  {refusal_s * 1000:.2f} ms   {refusal_s / without_s:.3f}")


def client(settings: dict[str, str]) -> Client:
    """Return a client of the function with some settings."""
    os.environ |= settings
    return functions_framework.create_app("query", str(SOURCE)).test_client()


def mean_s(sender: Client, key: str | None, status: int = 200) -> float:
    """Return the mean time of the requests that are answered with a status: one in 40 asks the database."""
    headers = {"Authorization": f"Bearer {key}"}
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = sender.get(PATH, headers=headers, buffered=True)
        if answer.status_code == status:
            times.append(time.perf_counter() - began)
    return statistics.mean(times)


if __name__ == "__main__":
    main()
