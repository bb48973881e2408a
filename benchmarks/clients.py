"""Runs many concurrent clients that upload and query, and checks each answer against what they sent.

    sluice up && eval "$(sluice env)"
    python benchmarks/clients.py --clients 50 --seconds 60
    python benchmarks/clients.py --only rows

Each client has a unique region and song. It sends rows, uploads files in pieces and waits for them, and
requests rows, sums and a named query; each answer must match exactly what it has sent so far. Prints rates
and latencies of each kind of request; exits with 1 if any request failed or returned a wrong answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

ROWS = 20
#: What a client does, and how often, as a share of all that it does.
SHARES = {"rows": 4, "count": 6, "sum": 4, "query": 4, "file": 1}
FILE_ROWS = 200
TIMEOUT_S = 60.0


@dataclass
class Tally:
    """Latencies of each kind of request, and the errors."""

    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def timed(self, kind: str) -> AsyncIterator[None]:
        """Time one request, and record a failure."""
        began_at = time.perf_counter()
        try:
            yield
        except (httpx.HTTPError, AssertionError, LookupError) as error:
            self.errors.append(f"{kind}: {type(error).__name__} {error}")
        else:
            self.times_s[kind].append(time.perf_counter() - began_at)

    def report(self, seconds: float) -> str:
        """Return a table: count, rate, median, 95th percentile and maximum of each kind."""
        lines = [
            f"{'request':16} {'count':>7} {'per s':>9} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}"
        ]
        for kind, times_s in sorted(self.times_s.items()):
            p95 = statistics.quantiles(times_s, n=20)[-1] if len(times_s) > 1 else times_s[0]
            figures = (statistics.median(times_s), p95, max(times_s))
            shown = " ".join(f"{1000 * each:8.0f}" for each in figures)
            lines.append(f"{kind:16} {len(times_s):7} {len(times_s) / seconds:9.1f} {shown}")
        return "\n".join(lines)


class Person:
    """One client, with the totals of what it has sent."""

    def __init__(
        self, client: httpx.AsyncClient, tally: Tally, shares: Mapping[str, int] = SHARES
    ) -> None:
        self._client = client
        self._tally = tally
        self._shares = shares
        self._name = f"client {uuid.uuid4().hex[:12]}"
        self._trips = 0
        self._plays = 0
        self._files = 0

    async def run(self, ends_at: float) -> None:
        """Send requests until the time is over."""
        acts = {
            "rows": self.send_rows,
            "count": self.count_rows,
            "sum": self.sum_plays,
            "query": self.run_query,
            "file": self.upload,
        }
        while time.perf_counter() < ends_at:
            (act,) = random.choices(list(self._shares), list(self._shares.values()))
            await acts[act]()

    async def send_rows(self) -> None:
        """Send rows, which are published before the response."""
        day = f"2018-05-{random.randint(10, 28)}"
        ends = {"origin_coord": "POINT (14.4 50.1)", "destination_coord": "POINT (14.5 50.2)"}
        row = {"region": self._name, **ends, "datetime": f"{day} 09:03:40", "datasource": "bench"}
        async with self._tally.timed("send rows"):
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            answer = await self._client.post(
                "/v1/datasets/trips/rows", json=[row] * ROWS, headers=headers
            )
            assert answer.status_code == 200, answer.text[:300]
            assert answer.json()["account"]["loaded"] == ROWS, answer.text[:300]
            self._trips += ROWS

    async def count_rows(self) -> None:
        """Count the rows of this client."""
        async with self._tally.timed("count rows"):
            found = await self._get(
                "/v1/datasets/trips/rows", region=f"eq.{self._name}", measure="count"
            )
            _same("trips", found["rows"][0]["count"], self._trips)

    async def run_query(self) -> None:
        """Query the weekly average of this client's region, from the roll-up."""
        async with self._tally.timed("named query"):
            path = "/v1/datasets/trips/queries/weekly_average"
            found = await self._get(path, region=self._name)
            _same("trips of the query", found["trips"], self._trips)

    async def sum_plays(self) -> None:
        """Sum the plays of this client."""
        async with self._tally.timed("sum plays"):
            path = "/v1/datasets/plays/rows"
            found = await self._get(path, song=f"eq.{self._name}", measure="sum(plays)")
            _same("plays", int(found["rows"][0]["sum_plays"] or 0), self._plays)

    async def upload(self) -> None:
        """Upload a file in two concurrent pieces, and wait until it is loaded."""
        self._files += 1  # identical content would be skipped
        plays = range(self._files, self._files + FILE_ROWS)
        lines = [f"{self._name},2020-01-{each % 28 + 1:02},{each}\n" for each in plays]
        data = ("Song,Date,Number of Plays\n" + "".join(lines)).encode()
        async with self._tally.timed("upload a file"):
            half = len(data) // 2 + 1
            name = str(uuid.uuid4())
            pieces = [self._piece(name, data, first, half) for first in (0, half)]
            jobs = [each for each in await asyncio.gather(*pieces) if each]
            await self._wait(jobs[0])
            self._plays += sum(plays)

    async def _piece(self, name: str, data: bytes, first: int, size: int) -> str | None:
        fields = {
            "dzuuid": name,
            "dzchunkbyteoffset": str(first),
            "dzchunksize": str(size),
            "dztotalfilesize": str(len(data)),
            "dzfilename": "bench.csv",
        }
        async with self._tally.timed("piece of a file"):
            file = {"file": ("bench.csv", data[first : first + size])}
            answer = await self._client.post("/api/upload_file", data=fields, files=file)
            assert answer.status_code == 200, answer.text[:300]
            job: str | None = answer.json().get("job_id")
            return job
        return None

    async def _wait(self, job: str) -> None:
        while True:
            found = await self._get(f"/api/file_status/{job}")
            if found["job_status"] == "SUCCESS":
                return
            assert found["job_status"] in ("PENDING", "STARTED"), found
            await asyncio.sleep(0.2)

    async def _get(self, path: str, **parameters: str) -> dict[str, object]:
        answer = await self._client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text[:300]
        found: dict[str, object] = answer.json()
        return found


def _same(what: str, found: object, expected: int) -> None:
    assert found == expected, f"{found} {what} instead of {expected}"


async def measure(
    clients: int,
    seconds: float,
    url: str,
    token: str,
    shares: Mapping[str, int] = SHARES,
    tally: Tally | None = None,
) -> Tally:
    """Run concurrent clients; return what they did, in `tally` if it is given."""
    tally = tally or Tally()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=TIMEOUT_S, limits=limits
    ) as client:
        ends_at = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(Person(client, tally, shares).run(ends_at))
    return tally


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--only", choices=SHARES, nargs="+", default=list(SHARES), help="what the clients do"
    )
    given = parser.parse_args()
    shares = {each: SHARES[each] for each in given.only}
    url = os.environ.get("SLUICE_URL", "http://localhost:8080")
    began_at = time.perf_counter()
    token = os.environ.get("SLUICE_TOKEN", "")
    tally = asyncio.run(measure(given.clients, given.seconds, url, token, shares))
    took_s = time.perf_counter() - began_at
    sys.stdout.write(f"{given.clients} clients, {took_s:.0f} s\n{tally.report(took_s)}\n")
    for each in tally.errors[:10]:
        sys.stdout.write(f"ERROR  {each}\n")
    sys.stdout.write(f"{len(tally.errors)} errors\n")
    sys.exit(1 if tally.errors else 0)


if __name__ == "__main__":
    main()
