"""The state that survives a restart: topics, subscriptions, unsettled messages and their attempts.

SQLite in WAL mode. Publishing commits before it answers; other writes are committed at the end of
the current turn of the event loop. So a killed server may lose acks of its last milliseconds, and
delivers those messages again, but never loses a published message.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sluice.local.pubsub import wire
from sluice.local.pubsub.messages import Message, from_wire, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Exclusive: a second server on the same file fails instead of sharing it.
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS topics (
    name TEXT NOT NULL CONSTRAINT topics_pk PRIMARY KEY,
    config BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS subscriptions (
    name TEXT NOT NULL CONSTRAINT subscriptions_pk PRIMARY KEY,
    config BLOB NOT NULL,
    dead_lettered INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS messages (
    message_id INTEGER NOT NULL CONSTRAINT messages_pk PRIMARY KEY,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    message_id INTEGER NOT NULL,
    subscription TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT deliveries_pk PRIMARY KEY (message_id, subscription)
) WITHOUT ROWID;
"""


class Journal:
    """The journal in `path`, or in memory without one.

    Args:
        path: the SQLite file.
        soon: runs a function at the end of the current turn of the event loop.
    """

    def __init__(self, path: Path | None, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self._is_open = True
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
        try:
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    def commit(self) -> None:
        """Make all writes durable."""
        if self._is_open and self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Commit and close the file."""
        self.commit()
        self._is_open = False
        self._connection.close()

    def topics(self) -> Iterator[wire.Wire]:
        """Yield the configuration of every topic."""
        for (config,) in self._connection.execute("SELECT config FROM topics"):
            yield wire.Topic.FromString(config)

    def subscriptions(self) -> Iterator[tuple[wire.Wire, int]]:
        """Yield configuration and number of dead letters of every subscription."""
        rows = self._connection.execute("SELECT config, dead_lettered FROM subscriptions")
        for config, dead_lettered in rows:
            yield wire.Subscription.FromString(config), dead_lettered

    def deliveries(self, subscription: str) -> Iterator[tuple[Message, int]]:
        """Yield a subscription's unsettled messages and their attempts, oldest first."""
        rows = self._connection.execute(
            "SELECT body, attempts FROM deliveries JOIN messages USING (message_id)"
            " WHERE subscription = ? ORDER BY message_id",
            (subscription,),
        )
        for body, attempts in rows:
            yield from_wire(wire.PubsubMessage.FromString(body)), attempts

    def save_topic(self, config: wire.Wire) -> None:
        """Create or replace a topic."""
        self._write(
            "INSERT OR REPLACE INTO topics (name, config) VALUES (?, ?)",
            config.name,
            config.SerializeToString(),
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        self._write("DELETE FROM topics WHERE name = ?", name)

    def save_subscription(self, config: wire.Wire) -> None:
        """Create or reconfigure a subscription."""
        self._write(
            "INSERT INTO subscriptions (name, config) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET config = excluded.config",
            config.name,
            config.SerializeToString(),
        )

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and its messages."""
        self._write("DELETE FROM subscriptions WHERE name = ?", name)
        self._write("DELETE FROM deliveries WHERE subscription = ?", name)
        self._write(
            "DELETE FROM messages WHERE message_id NOT IN (SELECT message_id FROM deliveries)"
        )

    def add_message(self, message: Message, subscriptions: list[str]) -> None:
        """Store a message until all of these subscriptions have settled it."""
        message_id = int(message.message_id)
        body = to_wire(message).SerializeToString()
        self._write("INSERT INTO messages (message_id, body) VALUES (?, ?)", message_id, body)
        for subscription in subscriptions:
            self._write(
                "INSERT INTO deliveries (message_id, subscription) VALUES (?, ?)",
                message_id,
                subscription,
            )

    def count_attempt(self, subscription: str, message_id: str, attempts: int) -> None:
        """Store how often a message was delivered."""
        self._write(
            "UPDATE deliveries SET attempts = ? WHERE message_id = ? AND subscription = ?",
            attempts,
            int(message_id),
            subscription,
        )

    def settle(self, subscription: str, message_id: str) -> None:
        """Delete a delivery, and with its last delivery the message."""
        key = int(message_id)
        self._write(
            "DELETE FROM deliveries WHERE message_id = ? AND subscription = ?", key, subscription
        )
        self._write(
            "DELETE FROM messages WHERE message_id = ?1"
            " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = ?1)",
            key,
        )

    def count_dead_letter(self, subscription: str) -> None:
        """Add one to a subscription's dead letters."""
        self._write(
            "UPDATE subscriptions SET dead_lettered = dead_lettered + 1 WHERE name = ?",
            subscription,
        )

    def _write(self, sql: str, *values: str | bytes | int) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")
            self._soon(self.commit)
        self._connection.execute(sql, values)
