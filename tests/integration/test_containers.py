"""The container `functions` with the other containers of compose.yaml."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import fields
from pathlib import Path

import grpc
import httpx
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import make_url

from sluice.ingestion.notifications import notification_of
from sluice.local import provision
from sluice.local.postgres import SUPERUSER
from sluice.local.state import Ports
from sluice.local.topology import SUBSCRIPTIONS
from sluice.ports import StoredObject
from sluice.settings import PREFIX, Settings

CHECKOUT = Path(__file__).parents[2]
COMPOSE = (CHECKOUT / "compose.yaml").read_text("utf-8")
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text("utf-8")
ROWS = b"region,origin_coord,destination_coord,datetime,datasource\n" + b"".join(
    b"North,POINT (14.4 50.0),POINT (14.5 50.1),2018-05-0%d 09:00:00,app\n" % n for n in range(1, 6)
)
WAIT_S = 60


def wait_for_done(url: str, process: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, log.read_text()
        try:
            found = httpx.get(f"{url}/v1/ingestions", timeout=30).json().get("ingestions", [])
        except httpx.TransportError:
            found = []
        if found and found[0]["state"] == "done":
            done: dict[str, object] = found[0]
            return done
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_a_file_is_loaded_through_parts_that_run_elsewhere(
    database: str, pubsub, storage, tmp_path: Path
) -> None:
    port = Ports.free().gateway
    environ = {
        **os.environ,
        "SLUICE_AUTHENTICATION": "none",
        "SLUICE_DATABASE_URL": str(make_url(database).set(username=SUPERUSER)),
        "PUBSUB_EMULATOR_HOST": pubsub.address,
        "STORAGE_EMULATOR_HOST": storage.url,
        "PYTHONPATH": str(CHECKOUT / "shared"),
    }
    log = tmp_path / "log"
    command = [
        sys.executable, "-m", "sluice.local.container", "--state", str(tmp_path / "state"),
        "--host", "127.0.0.1", "--port", str(port), "--loaders", "1",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        account = load_a_file(storage.url, pubsub.address, port, process, log)
        assert account == {"read": 5, "loaded": 5, "rejected": 0, "duplicates": 0}
    finally:
        process.terminate()
        process.wait(30)


def load_a_file(
    storage: str, pubsub: str, port: int, process: subprocess.Popen[bytes], log: Path
) -> object:
    """Upload a file, and announce it as Cloud Storage does; return the account of its ingestion."""
    name = f"trips/{uuid.uuid4()}.csv"
    upload = f"{storage}/upload/storage/v1/b/inbox/o"
    while not is_prepared(pubsub):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    made = httpx.post(upload, params={"uploadType": "media", "name": name}, content=ROWS).json()
    stored = StoredObject("inbox", name, int(made["generation"]), len(ROWS), made["crc32c"])
    provision.publish(pubsub, "uploads", [notification_of(stored)])
    return wait_for_done(f"http://127.0.0.1:{port}", process, log)["account"]


def is_prepared(address: str) -> bool:
    """Return whether the last subscription exists."""
    with grpc.insecure_channel(address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        found = [each.name for each in client.list_subscriptions(project="projects/local")]
    return f"projects/local/subscriptions/{SUBSCRIPTIONS[-1].name}" in found


def test_compose_sets_only_settings_that_exist() -> None:
    given = set(re.findall(rf"^      {PREFIX}([A-Z_]+):", COMPOSE, re.MULTILINE))
    assert given
    assert {each.lower() for each in given} <= {each.name for each in fields(Settings)}


def test_ports_are_published_on_the_loopback_interface_only() -> None:
    published = re.findall(r"ports: \[(.*)\]", COMPOSE)
    assert published
    assert all(each.startswith('"127.0.0.1:') for each in published)


def test_the_image_starts_the_function_that_its_argument_names(tmp_path: Path) -> None:
    found = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1]
    shell, options, script = json.loads(found)
    substitute = tmp_path / "functions-framework"
    substitute.write_text('#!/bin/sh\necho "$@"\n')
    substitute.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": "8080"}
    done = subprocess.run(
        [shell, options, script, "load"], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "--source /srv/load/main.py --target load --port 8080\n"
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001", "10001"]
