"""Measures latencies of the local cloud as ratios: of the gateway, and of a small file until its push.

Run `python benchmarks/latency.py [--rounds 5]`. It starts a separate local cloud and prints, for each round,

  gateway   the time of a request through the gateway divided by that of the same request to the function
  file      the time from the upload of 100 rows to the push of `done` divided by that of the upload alone
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Self

import httpx
import psutil

from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State

REQUESTS = 100
ROWS = 100
WAIT_S = 60
PATH = "/v1/datasets"
ROW = "Prague,POINT (14.4 50.0),POINT (14.5 50.1),2018-05-28 09:03:40,app {}\n"
HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        cloud = Cloud(State(Path(folder)), Ports.free(), loaders=1)
        cloud.up()
        try:
            rounds = [measure(cloud, number) for number in range(options.rounds)]
        finally:
            cloud.down()
    for name, ratios in zip(("gateway", "file"), zip(*rounds, strict=True), strict=True):
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:8} median {statistics.median(ratios):.2f}   each {shown}")


def measure(cloud: Cloud, number: int) -> tuple[float, float]:
    """Return the ratios of one round."""
    process = next(each["pid"] for each in cloud.instances() if each["name"] == "query-1")
    words = psutil.Process(int(str(process))).cmdline()
    direct = median_s(f"http://127.0.0.1:{words[words.index('--port') + 1]}{PATH}")
    uploaded_s, pushed_s = load_file(cloud, f"trips/latency-{number}.csv")
    return median_s(f"{cloud.url}{PATH}") / direct, pushed_s / uploaded_s


def median_s(url: str) -> float:
    """Return the median time of a request."""
    times = []
    with httpx.Client() as client:
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            client.get(url).raise_for_status()
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def load_file(cloud: Cloud, name: str) -> tuple[float, float]:
    """Upload a file; return the time of the upload and the time until the push of `done`."""
    url = f"{cloud.storage.url}/upload/storage/v1/b/inbox/o"
    data = HEADER + "".join(ROW.format(f"{name} {number}") for number in range(ROWS))
    with Endpoint() as endpoint:
        subscription = {"endpoint": endpoint.url, "states": ["done"]}
        made = httpx.post(f"{cloud.url}/v1/subscriptions", json=subscription).raise_for_status()
        begun = time.perf_counter()
        httpx.post(url, params={"uploadType": "media", "name": name}, content=data)
        uploaded_s = time.perf_counter() - begun
        endpoint.server.handle_request()
        pushed_s = time.perf_counter() - begun
        httpx.delete(f"{cloud.url}/v1/subscriptions/{made.json()['id']}").raise_for_status()
    return uploaded_s, pushed_s


class Endpoint:
    """An HTTP server that answers one push with 204."""

    def __enter__(self) -> Self:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.timeout = WAIT_S
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.server_close()


if __name__ == "__main__":
    main()
