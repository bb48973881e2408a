"""The container `functions`: prepares the other containers, then runs gateway and functions.

PostgreSQL, Cloud Storage and Pub/Sub run in other containers, whose addresses are in the environment;
see compose.yaml.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx

from sluice.local import gateway, guard, provision
from sluice.local.errors import LocalCloudError
from sluice.local.state import CHECKOUT, State
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WAIT_S = 60.0
POLL_S = 0.5


def prepare(environ: Mapping[str, str], endpoint: Callable[[str], str]) -> None:
    """Create the tables, topics, subscriptions and buckets that are missing.

    Args:
        environ: the addresses, in the variables of the Google client libraries and the settings.
        endpoint: returns the push address of a function.

    Raises:
        LocalCloudError: Cloud Storage or Pub/Sub did not answer in time.
    """
    settings = read_settings(environ, required=("database_url",))
    for done in provision.prepare_database(settings.database_url):
        sys.stdout.write(f"{done} applied\n")
    _await_pubsub(environ["PUBSUB_EMULATOR_HOST"])
    provision.create_topology(environ["PUBSUB_EMULATOR_HOST"], endpoint)
    for bucket in (settings.inbox, settings.outbox):
        _create_bucket(environ["STORAGE_EMULATOR_HOST"], bucket)


def _await_pubsub(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=WAIT_S)
        except grpc.FutureTimeoutError:
            raise LocalCloudError(f"Pub/Sub does not answer at {address}") from None


def _create_bucket(url: str, name: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while True:
        try:
            made = httpx.post(f"{url}/storage/v1/b", json={"name": name}, timeout=10)
        except httpx.TransportError:
            if time.monotonic() > give_up_at:
                raise LocalCloudError(f"Cloud Storage does not answer at {url}") from None
            time.sleep(POLL_S)
        else:
            if made.status_code != httpx.codes.CONFLICT:  # it exists
                made.raise_for_status()
            return


def main() -> None:
    """Prepare, then serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("/state"))
    parser.add_argument("--functions", type=Path, default=CHECKOUT / "functions")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # of the container
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--push-host", default="localhost", help="this container's name")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME:PORT",
        help="another address at which clients find the gateway, such as a published port",
    )
    parser.add_argument("--loaders", type=int, default=2)
    given = parser.parse_args()
    state = State(given.state)
    state.create()
    push_host = f"{given.push_host}:{given.port}"
    secret = state.secret(guard.PUSH_SECRET)
    prepare(os.environ, lambda name: guard.push_endpoint(f"http://{push_host}", name, secret))
    address = gateway.Address(given.host, given.port, (push_host, *given.allow_host))
    asyncio.run(gateway.serve(state, given.functions, address, given.loaders))


if __name__ == "__main__":
    main()
