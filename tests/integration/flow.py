"""The way of a file without its transport: a bucket and topics in memory, the use cases on a real database.

Messages wait in `Topics` until a test delivers them: once, twice, late, or in another order.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine, create_engine, event, text

from sluice.compaction.compact import Compact
from sluice.errors import ObjectGoneError
from sluice.ingestion.chunks import CHUNKS_TOPIC, Chunk
from sluice.ingestion.commands import Control
from sluice.ingestion.finish import Finish
from sluice.ingestion.ingestions import receive
from sluice.ingestion.load import Load
from sluice.ingestion.model import State
from sluice.ingestion.notifications import UPLOADS_TOPIC, read_announcement
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.ingestion.output import Outputs
from sluice.ingestion.recovery import Sweep
from sluice.ingestion.split import Split
from sluice.ports import Sink, StoredObject
from sluice.postgres.catalog import dataset_version
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare
from sluice.postgres.named_sql import statement
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import snapshot, stream, without_comments
from sluice.settings import Settings

THINGS: Mapping[str, Any] = {
    "name": "things",
    "description": "Things.",
    "columns": [
        {"name": "id", "type": "integer", "required": True, "minimum": 1},
        {"name": "name", "type": "text", "max_length": 40},
        {"name": "kind", "type": "text", "dictionary": True},
    ],
    "rollups": {
        "kinds": "-- Things of each kind.\n-- key: kind\n-- measure things: sum\n"
        "SELECT kind, count(*) AS things FROM rows GROUP BY ALL"
    },
}
HEADER = b"id,name,kind\n"
#: How long an ingestion may stand still before it is swept.
IDLE_S = 900.0


def lines(first: int, last: int, kind: str = "a") -> bytes:
    """Return the lines of the things `first` to `last`."""
    return b"".join(f"{n},thing {n},{kind}\n".encode() for n in range(first, last + 1))


class Killed(BaseException):
    """What ends a process here; no handler may catch it."""


class Bucket:
    """Objects in memory."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, int], bytes] = {}
        self.before_read: Callable[[int], object] = lambda _first_byte: None
        self.before_write: Callable[[str], object] = lambda _name: None

    def put(self, name: str, data: bytes) -> StoredObject:
        """Store a new generation."""
        generation = len(self._objects) + 1
        self._objects[name, generation] = data
        crc32c = str(zlib.crc32(data))
        return StoredObject("inbox", name, generation, len(data), crc32c)

    def lose(self, stored: StoredObject) -> None:
        """Delete one generation."""
        del self._objects[stored.name, stored.generation]

    def read(
        self, bucket: str, name: str, generation: int, first_byte: int, end_byte: int
    ) -> bytes:
        self.before_read(first_byte)
        if (name, generation) not in self._objects:
            raise ObjectGoneError(f"gs://{bucket}/{name}#{generation}")
        return self._objects[name, generation][first_byte:end_byte]

    def write(self, bucket: str, name: str, data: bytes) -> None:
        self._objects[name, 0] = data

    def delete(self, bucket: str, name: str) -> None:
        self._objects.pop((name, 0), None)

    def names(self) -> set[str]:
        return {name for name, _ in self._objects}

    def write_stream(self, bucket: str, name: str, fill: Callable[[Sink], object]) -> StoredObject:
        self.before_write(name)
        written = io.BytesIO()
        fill(written)
        return replace(self.put(name, written.getvalue()), bucket=bucket)


@dataclass(frozen=True)
class Sent:
    """A message as it was published."""

    topic: str
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.data)
        return body


@dataclass
class Topics:
    """Keeps what is published; `before_publish` may raise instead."""

    sent: list[Sent] = field(default_factory=list)
    before_publish: Callable[[str], object] = lambda _topic: None
    after_publish: Callable[[str], object] = lambda _topic: None

    def publish(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, Mapping[str, str]]],
        *,
        ordering_key: str = "",
    ) -> None:
        self.before_publish(topic)
        self.sent += [Sent(topic, data, dict(names), ordering_key) for data, names in messages]
        self.after_publish(topic)

    def of(self, topic: str) -> list[Sent]:
        return [each for each in self.sent if each.topic == topic]


class Flow:
    """The three functions of one process, with an engine of its own."""

    def __init__(
        self,
        url: str,
        bucket: Bucket | None = None,
        topics: Topics | None = None,
        *,
        chunk_bytes: int = 64,
        pool_size: int = 4,
    ) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            url, pool_size=pool_size, max_overflow=0, pool_timeout=10
        )
        self.bucket = bucket or Bucket()
        self.topics = topics or Topics()
        self.settings = Settings(chunk_bytes=chunk_bytes, sweep_idle_s=IDLE_S)
        self.split = Split(self.settings, self.engine, self.bucket, self.topics)
        self.load = Load(self.settings, self.engine, self.bucket, self.topics)
        self.finish = Finish(
            self.settings, self.engine, self.topics, Outputs(self.bucket, "outbox")
        )
        self.control = Control(self.settings, self.engine, self.topics)
        self.sweep = Sweep(self.settings, self.engine, self.bucket, self.topics)
        self._delivered = 0
        self._twins: list[Flow] = []

    def twin(self, **options: Any) -> Flow:
        """Another process over the same bucket, topics and database; closed with this one."""
        twin = Flow(self.url, self.bucket, self.topics, **options)
        self._twins.append(twin)
        return twin

    def close(self) -> None:
        """Close the database connections of this process and its twins."""
        for each in (self, *self._twins):
            each.engine.dispose()

    def declare(self, document: Mapping[str, Any] = THINGS, **changes: Any) -> None:
        declare(self.engine, {**document, **changes}, origin="api")

    def put(self, data: bytes, name: str = "things/a.csv") -> StoredObject:
        return self.bucket.put(name, data)

    def receive(self, stored: StoredObject) -> int:
        """Make the ingestion of an object, and no more."""
        with transaction(self.engine) as connection:
            return receive(connection, stored, self.settings.project).id

    def run(self, data: bytes, name: str = "things/a.csv") -> int:
        """Bring a file all the way; return its ingestion."""
        ingestion = self.split(self.put(data, name))
        self.deliver()
        return ingestion

    def deliver(self) -> None:
        """Deliver every message once, in order, until none is left."""
        while self._delivered < len(self.topics.sent):
            sent = self.topics.sent[self._delivered]
            self._delivered += 1
            self.handle(sent)

    def handle(self, sent: Sent) -> None:
        """Deliver a message to its function."""
        if sent.topic == CHUNKS_TOPIC:
            self.load(Chunk.from_message(sent.body))
        elif sent.topic == UPLOADS_TOPIC:
            announced = read_announcement(sent.attributes, sent.body)
            assert announced is not None
            self.split(announced)
        elif sent.topic == STATUS_TOPIC and sent.attributes["state"] == State.PUBLISHING:
            self.finish(int(sent.attributes["ingestion"]))
        elif sent.topic == STATUS_TOPIC and sent.attributes["state"] == State.DONE:
            self.compact(sent.attributes["dataset"])

    def compact(self, dataset: str, **options: Any) -> bool:
        """Compact a dataset, as finish does after something was published."""
        return Compact(self.engine, **options)(dataset)

    def chunks(self, ingestion: int) -> list[Chunk]:
        """The messages of chunks sent for an ingestion, repeated ones too."""
        found = [Chunk.from_message(each.body) for each in self.topics.of(CHUNKS_TOPIC)]
        return [each for each in found if each.ingestion == ingestion]

    def ingestion(self, ingestion: int) -> Any:
        return self.one("SELECT * FROM sluice.ingestions WHERE id = :id", id=ingestion)

    def state(self, ingestion: int) -> str:
        return str(self.ingestion(ingestion).state)

    def account(self, ingestion: int) -> tuple[int, int, int]:
        row = self.ingestion(ingestion)
        return row.records_read, row.rows_loaded, row.rows_rejected

    def ids(self, dataset: str = "things") -> list[int]:
        """What readers see."""
        return [row.id for row in self.all(f"SELECT id FROM {dataset} ORDER BY id")]

    def kinds(self) -> dict[str, int]:
        """What readers see of the roll-up."""
        sql = "SELECT kind, sum(things) AS things FROM things_kinds GROUP BY kind"
        return {row.kind: int(row.things) for row in self.all(sql)}

    def stored(self) -> int:
        """How many rows lie in the table, visible or not."""
        return int(self.one("SELECT count(*) AS n FROM store.things").n)

    def rejects(self, ingestion: int) -> list[Any]:
        sql = "SELECT * FROM sluice.rejects WHERE ingestion = :id ORDER BY record"
        return self.all(sql, id=ingestion)

    def events(self, ingestion: int) -> list[dict[str, Any]]:
        """The events of an ingestion as they were published, in order of publication."""
        found = [each.body for each in self.topics.of(STATUS_TOPIC)]
        return [each for each in found if each["data"]["ingestion"] == ingestion]

    def told(self, ingestion: int) -> list[str]:
        """The names of the published events, each once."""
        by_sequence = {each["sequence"]: each["type"] for each in self.events(ingestion)}
        return [by_sequence[n].removeprefix("sluice.ingestion.") for n in sorted(by_sequence)]

    def all(self, sql: str, **values: Any) -> list[Any]:
        with transaction(self.engine) as connection:
            return list(connection.execute(text(sql), values))

    def one(self, sql: str, **values: Any) -> Any:
        (row,) = self.all(sql, **values)
        return row

    def ask(self, dataset: str, query: str, **arguments: object) -> list[dict[str, Any]]:
        """Answer a named query as the API does."""
        with snapshot(self.engine, 30) as connection:
            found = dataset_version(connection, dataset).dataset.query(query)
            assert found is not None, f"{dataset} has no query {query}"
            given = [(name, str(value)) for name, value in arguments.items()]
            values = read_parameters(found, given)
            types = found.parameter_types
            _, batches = stream(
                connection, without_comments(found.sql), values, types=types, as_json=True
            )
            return [json.loads(row) for batch in batches for (row,) in batch]

    def run_sql(self, sql: str, **values: Any) -> None:
        with transaction(self.engine) as connection:
            connection.execute(text(sql), values)

    @contextmanager
    def before(self, name: str, act: Callable[[], object]) -> Iterator[None]:
        """Act each time before a named statement runs."""
        wanted = str(statement(name))

        def look(_connection: object, element: object, *_: object) -> None:
            if str(element) == wanted:
                act()

        event.listen(self.engine, "before_execute", look)
        try:
            yield
        finally:
            event.remove(self.engine, "before_execute", look)

    @contextmanager
    def held(self, table: str = "store.things") -> Iterator[None]:
        """Stop every loader inside its transaction, before its first row."""
        with self.engine.connect() as connection:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield
            connection.rollback()


def assert_told_in_order(flow: Flow, ingestion: int) -> None:
    """Every event went out at least once, none before the one it follows, without a gap."""
    first_seen = list(dict.fromkeys(each["sequence"] for each in flow.events(ingestion)))
    assert first_seen == list(range(1, flow.ingestion(ingestion).sequence + 1))
    by_id: dict[str, dict[str, Any]] = {}
    for each in flow.events(ingestion):
        assert by_id.setdefault(each["id"], each) == each
