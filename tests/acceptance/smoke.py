"""The smoke test of a deployment, local or in the cloud: a file in, rows out, an event received.

    eval "$(sluice env)" && python tests/acceptance/smoke.py --inbox inbox
    python tests/acceptance/smoke.py --inbox BUCKET --project P --api "$(terraform output -json api)" --pull

It drops a file into the bucket as any user does, waits for the event, reads the rows, and undoes the
load. With --pull the event comes through a subscription that it pulls from, for where it has no address
that Google can reach; else it is pushed to the subscription that the API makes. SLUICE_TOKEN is the bearer
token or an identity token.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from sluice.gcloud.storage import storage_client
from sluice.routes import function_for

WAIT_S = 120.0
DATASET = "smoke"
DECLARATION = {
    "description": "What the smoke test loads and undoes.",
    "columns": [
        {"name": "run", "type": "text", "required": True},
        {"name": "number", "type": "integer", "required": True},
    ],
}
ROWS = 3


@dataclass(frozen=True)
class Api:
    """The API at one address, or at one for each function.

    Attributes:
        addresses: by function, or under `all`.
    """

    addresses: dict[str, str]
    token: str

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of an answer."""
        place = self.addresses.get("all") or self.addresses[function_for(method, path)]
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = httpx.request(method, place + path, headers=headers, timeout=60, **options)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


@contextmanager
def pushed(api: Api) -> Iterator[Callable[[], dict[str, Any]]]:
    """Have the events of the dataset pushed here, through a subscription of the API."""
    came: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}/"
        body = {"endpoint": endpoint, "dataset": DATASET, "states": ["done"]}
        made = api.ask("POST", "/v1/subscriptions", json=body)
        yield lambda: came.get(timeout=WAIT_S)
        api.ask("DELETE", f"/v1/subscriptions/{made['id']}")
        server.shutdown()


@contextmanager
def pulled(project: str, topic: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Pull the events of the dataset from a subscription of this run's own."""
    client = _subscriber(os.environ.get("PUBSUB_EMULATOR_HOST", ""))
    name = f"projects/{project}/subscriptions/smoke-{uuid.uuid4().hex}"
    wanted = f'attributes.dataset = "{DATASET}" AND attributes.state = "done"'
    client.create_subscription(request={"name": name, "topic": topic, "filter": wanted})
    try:
        yield lambda: _pull(client, name)
    finally:
        client.delete_subscription(subscription=name)


def _subscriber(emulator: str) -> SubscriberClient:
    if not emulator:
        return SubscriberClient()
    channel = grpc.insecure_channel(emulator)
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def _pull(client: Any, name: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        for each in client.pull(subscription=name, max_messages=1).received_messages:
            client.acknowledge(subscription=name, ack_ids=[each.ack_id])
            event: dict[str, Any] = json.loads(each.message.data)
            return event
    raise SystemExit(f"no event within {WAIT_S:.0f} s")


def drop(project: str, inbox: str, run: str) -> str:
    """Put a file into the inbox; return its name."""
    name = f"{DATASET}/{run}.csv"
    lines = "".join(f"{run},{number}\n" for number in range(ROWS))
    storage_client(project).bucket(inbox).blob(name).upload_from_string(f"run,number\n{lines}")
    return name


def wait_for(event: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the data of the event of our file."""
    while True:
        data: dict[str, Any] = event()["data"]
        if data["object"] == name:
            return data


def check(api: Api, project: str, inbox: str, topic: str | None) -> None:
    """Upload a file, receive its event, read its rows and undo it.

    Args:
        api: of the deployment.
        project: of the deployment.
        inbox: the bucket.
        topic: id of the topic to pull the event from; None has it pushed.

    Raises:
        SystemExit: a step failed; the message names it.
    """
    run = uuid.uuid4().hex
    api.ask("PUT", f"/v1/datasets/{DATASET}", json=DECLARATION)
    with pulled(project, topic) if topic else pushed(api) as event:
        name = drop(project, inbox, run)
        report(f"dropped gs://{inbox}/{name}")
        data = wait_for(event, name)
    report(f"received the event {data['state']} of ingestion {data['ingestion']}")
    found = api.ask("GET", f"/v1/datasets/{DATASET}/rows", params={"run": f"eq.{run}"})
    numbers = sorted(row["number"] for row in found["rows"])
    if numbers != list(range(ROWS)):
        raise SystemExit(f"the rows are {found['rows']}")
    report(f"read {len(numbers)} rows")
    api.ask("POST", f"/v1/ingestions/{data['ingestion']}/undo")
    report("undid them")


def report(words: str) -> None:
    """Print what was done."""
    sys.stdout.write(f"smoke: {words}\n")


def main() -> None:
    """Check the deployment that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    local = os.environ.get("SLUICE_URL", "http://localhost:8080")
    parser.add_argument("--inbox", required=True, help="the bucket")
    parser.add_argument("--project", default=os.environ.get("GOOGLE_CLOUD_PROJECT", "local"))
    parser.add_argument("--api", type=json.loads, default={"all": local}, help="addresses as JSON")
    parser.add_argument("--pull", action="store_true", help="pull the event")
    parser.add_argument("--topics", type=json.loads, default={}, help="ids of the topics as JSON")
    given = parser.parse_args()
    topic = given.topics.get("status", f"projects/{given.project}/topics/status")
    api = Api(given.api, os.environ.get("SLUICE_TOKEN", ""))
    check(api, given.project, given.inbox, topic if given.pull else None)


if __name__ == "__main__":
    main()
