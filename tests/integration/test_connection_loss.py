"""A database that falls silent is noticed within seconds, whether an answer is awaited or sent for."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from sluice.postgres.connection import LOST_S

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A network of two addresses, of which only this test knows.
SERVER, CLIENT, PREFIX = "10.254.7.1", "10.254.7.2", "/30"
#: Sends a statement, at once or when told to, whose answer takes long; says how it ended.
WORK = """
import sys
from sluice.errors import DatabaseUnavailableError
from sluice.postgres.connection import open_database, transaction
from sluice.settings import read_settings
try:
    with transaction(open_database(read_settings())) as connection:
        connection.exec_driver_sql("SELECT 1")
        print("connected", flush=True)
        if sys.argv[1] == "sends":
            sys.stdin.readline()
        connection.exec_driver_sql("SELECT pg_sleep(120)")
except DatabaseUnavailableError:
    print("lost", flush=True)
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with the client's address; this process has the server's."""
    name = f"sluice{os.getpid()}"
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("a network of its own needs the command ip and the rights of root")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace: {error.stderr.decode()}")
    here, there = "sluice-test0", "sluice-test1"
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("address", "add", SERVER + PREFIX, "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "address", "add", CLIENT + PREFIX, "dev", there)
        ip("-n", name, "link", "set", there, "up")
        yield name
    finally:
        ip("netns", "delete", name)


@pytest.fixture
def proxied(namespace: str, database: str) -> Iterator[str]:
    """The URL of the database at the server's address."""
    assert namespace
    url = make_url(database)
    with socket.create_server((SERVER, 0)) as listener:
        target = (url.host or "localhost", url.port or 5432)
        threading.Thread(target=forward, args=(listener, target), daemon=True).start()
        port = listener.getsockname()[1]
        yield url.set(host=SERVER, port=port).render_as_string(hide_password=False)


def forward(listener: socket.socket, target: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            client = listener.accept()[0]
            server = socket.create_connection(target)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=copy, args=ends, daemon=True).start()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError), source, sink:
        while data := source.recv(65536):
            sink.sendall(data)


@contextmanager
def client(namespace: str, url: str, when: str) -> Iterator[subprocess.Popen[str]]:
    """A client in the other network, connected."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", WORK, when]
    environment = {**os.environ, "SLUICE_DATABASE_URL": url}
    with subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "connected\n"
            yield process
        finally:
            process.kill()


def test_a_silent_database_is_noticed(namespace: str, proxied: str) -> None:
    with (
        client(namespace, proxied, "waits") as first,
        client(namespace, proxied, "sends") as second,
    ):
        time.sleep(0.5)  # what was sent has arrived
        ip("route", "add", "blackhole", CLIENT)
        try:
            found = [each.communicate("\n", timeout=LOST_S * 2)[0] for each in (first, second)]
        finally:
            ip("route", "delete", "blackhole", CLIENT)
    assert found == ["lost\n", "lost\n"]
