"""Subscribes to the topic `status`, uploads a file, and prints the event of its end.

    python docs/examples/subscribe.py sunday.csv

The message attributes `dataset`, `state`, `ingestion` and `severity` can be used in the filter.
"""

from __future__ import annotations

import json
import os
import sys

from google.cloud import pubsub_v1

from sluice.client import Client

PROJECT = os.environ.get("SLUICE_PROJECT", "local")
URL = os.environ.get("SLUICE_URL", "http://localhost:8080")
FILTER = 'attributes.dataset = "trips" AND attributes.state = "done"'
TIMEOUT_S = 30


def main(path: str) -> None:
    """Upload a file of trips and print the event that reports it as done."""
    with pubsub_v1.SubscriberClient() as subscriber, Client(URL) as client:
        name = subscriber.subscription_path(PROJECT, "example")
        topic = subscriber.topic_path(PROJECT, "status")
        subscriber.create_subscription(request={"name": name, "topic": topic, "filter": FILTER})
        try:
            client.upload(path, dataset="trips")
            answer = subscriber.pull(
                request={"subscription": name, "max_messages": 1}, timeout=TIMEOUT_S
            )
            for received in answer.received_messages:
                event = json.loads(received.message.data)
                print(event["type"], event["data"]["object"], event["data"]["account"])  # noqa: T201
        finally:
            subscriber.delete_subscription(request={"subscription": name})


if __name__ == "__main__":
    main(sys.argv[1])
