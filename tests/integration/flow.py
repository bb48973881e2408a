"""The flow of a file without its transport: storage and topics in memory, the use cases on a real database.

Messages stay in `Topics` until a test delivers them: once, twice, late, or in another order.
"""

from __future__ import annotations

import io
import itertools
import json
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, NullPool, create_engine, event, make_url, text

from sluice.compaction.compact import Compact
from sluice.documents.ingestions import State
from sluice.errors import ObjectGoneError
from sluice.ingestion import commands
from sluice.ingestion.chunks import CHUNKS_TOPIC, Chunk
from sluice.ingestion.decide import decide_types
from sluice.ingestion.events import OBSERVED
from sluice.ingestion.finish import finish_ingestion
from sluice.ingestion.ingestions import receive, select_ingestion
from sluice.ingestion.load import load_chunk
from sluice.ingestion.notifications import UPLOADS_TOPIC, read_notification
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.ingestion.publish_steps import PublishSteps
from sluice.ingestion.recovery import Recovered, recover
from sluice.ingestion.redo import redo
from sluice.ingestion.split import split_file
from sluice.local.postgres import SUPERUSER
from sluice.local.provision import USERS
from sluice.ports import Environment, Sink, Storage, StoredObject
from sluice.postgres.catalog import dataset_of_version, dataset_version
from sluice.postgres.connection import new_engine, transaction
from sluice.postgres.declare import declare
from sluice.postgres.named_sql import statement
from sluice.postgres.roles import role_of
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import snapshot, stream
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
#: Time without progress after which an ingestion is stalled.
IDLE_S = 900.0


def lines(first: int, last: int, kind: str = "a") -> bytes:
    """Return the lines of the things `first` to `last`."""
    return b"".join(f"{n},thing {n},{kind}\n".encode() for n in range(first, last + 1))


def as_superuser(url: str) -> Engine:
    """An engine for a test's database, without a pool."""
    return create_engine(make_url(url).set(username=SUPERUSER), poolclass=NullPool)


class Killed(BaseException):
    """Ends a process; no handler may catch it."""


def kill_after(steps: int) -> Callable[[], None]:
    """Kill a handler at each step that it completes beyond the first ones."""
    completed = itertools.count(1)

    def count() -> None:
        if next(completed) > steps:
            die()

    return count


def die() -> None:
    raise Killed


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
        uploaded_at = datetime.now(UTC)
        return StoredObject("inbox", name, generation, len(data), crc32c, uploaded_at=uploaded_at)

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

    def write_blocks(self, bucket: str, name: str, blocks: Iterable[bytes]) -> StoredObject:
        return replace(self.put(name, b"".join(blocks)), bucket=bucket)

    def find(self, bucket: str, name: str) -> StoredObject | None:
        generation = max(
            (number for stored, number in self._objects if stored == name), default=None
        )
        if generation is None:
            return None
        return StoredObject(bucket, name, generation, len(self._objects[name, generation]))

    def compose(self, bucket: str, sources: Sequence[str], name: str) -> str:
        self.write(bucket, name, b"".join(self._objects[each, 0] for each in sources))
        return name

    def copy(self, bucket: str, name: str, to_bucket: str, to_name: str) -> StoredObject:
        return replace(self.put(to_name, self._objects[name, 0]), bucket=to_bucket)

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
    """The functions of one process.

    Attributes:
        engine: has the rights of the owner of all tables.
        engines: of each function, with its own rights.
        storages: those of single functions; the others use `bucket`.
    """

    def __init__(
        self,
        url: str,
        bucket: Bucket | None = None,
        topics: Topics | None = None,
        *,
        chunk_bytes: int = 64,
        pool_size: int = 4,
        publish_step_rows: int = 250_000,
    ) -> None:
        self.url = url
        database = Settings(database_url=url, pool_size=pool_size)
        self.engine: Engine = new_engine(database)
        self._superuser = as_superuser(url)  # sees what the sessions of other users wait for
        self.bucket = bucket or Bucket()
        self.topics = topics or Topics()
        self.engines: Mapping[str, Engine] = {
            name: new_engine(replace(database, database_user=user, database_role=role_of(name)))
            for name, user in USERS.items()
        }
        self.storages: Mapping[str, Storage] = {}
        self.settings = Settings(
            chunk_bytes=chunk_bytes, recovery_idle_s=IDLE_S, publish_step_rows=publish_step_rows
        )
        self._delivered = 0
        self._twins: list[Flow] = []

    def env(self, function: str) -> Environment:
        """What the use cases of a function work with."""
        storage = self.storages.get(function, self.bucket)
        return Environment(self.settings, self.engines[function], storage, self.topics)

    def split(self, file: StoredObject, delivery: int = 1) -> int:
        return split_file(self.env("split"), file, delivery)

    def load(self, chunk: Chunk, delivery: int = 1) -> None:
        load_chunk(self.env("load"), chunk, delivery)

    def finish(self, ingestion: int, delivery: int = 1) -> None:
        finish_ingestion(self.env("finish"), ingestion, delivery)

    def prepare(self, ingestion: int) -> None:
        """Do the steps that come before a publication, if it has any."""
        env = self.env("finish")
        with transaction(env.engine) as connection:
            found = select_ingestion(connection, ingestion)
            dataset = dataset_of_version(connection, found.dataset or "", found.declaration_version)
        assert dataset is not None
        steps = PublishSteps(env.engine, found, dataset, self.settings)
        if steps.may_be_needed:
            steps()

    def steps(self) -> tuple[int, int]:
        """Return the number of steps of publications, and how many are done."""
        row = self.one("SELECT count(*) AS steps, count(done_at) AS done FROM sluice.publish_steps")
        return row.steps, row.done

    def recover(self) -> Recovered:
        return recover(self.env("finish"))

    def cancel(self, ingestion: int) -> None:
        commands.cancel(self.env("intake"), ingestion)

    def undo(self, ingestion: int) -> None:
        commands.undo(self.env("intake"), ingestion)

    def redo(self, ingestion: int) -> None:
        redo(self.env("intake"), ingestion)

    def retry(self, ingestion: int) -> None:
        commands.retry(self.env("intake"), ingestion)

    def twin(self, **options: Any) -> Flow:
        """Another process over the same bucket, topics and database; closed with this one."""
        twin = Flow(self.url, self.bucket, self.topics, **options)
        self._twins.append(twin)
        return twin

    def close(self) -> None:
        """Close the database connections of this process and its twins."""
        for each in (self, *self._twins):
            for engine in (each.engine, *each.engines.values()):
                engine.dispose()

    def declare(self, document: Mapping[str, Any] = THINGS, **changes: Any) -> None:
        declare(self.engine, {**document, **changes}, origin="api")

    def put(self, data: bytes, name: str = "things/a.csv") -> StoredObject:
        return self.bucket.put(name, data)

    def receive(self, stored: StoredObject) -> int:
        """Create the ingestion of an object, and no more."""
        with transaction(self.engine) as connection:
            return receive(connection, stored, self.settings.project).id

    def run(self, data: bytes, name: str = "things/a.csv") -> int:
        """Load a file; return its ingestion."""
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
            file = read_notification(sent.attributes, sent.body, "inbox")
            assert file is not None
            self.split(file)
        elif sent.topic == STATUS_TOPIC and sent.attributes["state"] == State.PUBLISHING:
            self.finish(int(sent.attributes["ingestion"]))
        elif sent.topic == STATUS_TOPIC and OBSERVED in sent.attributes:
            decide_types(self.env("finish"), int(sent.attributes["ingestion"]))
        elif sent.topic == STATUS_TOPIC and sent.attributes["state"] == State.DONE:
            self.compact(sent.attributes["dataset"])

    def compact(self, dataset: str, **options: Any) -> bool:
        """Compact a dataset, as finish does after something was published."""
        return Compact(self.engines["finish"], **options)(dataset)

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
        """How many rows the table has, visible or not."""
        return int(self.one("SELECT count(*) AS n FROM store.things").n)

    def rejects(self, ingestion: int) -> list[Any]:
        sql = "SELECT * FROM sluice.rejects WHERE ingestion = :id ORDER BY line"
        return self.all(sql, id=ingestion)

    def events(self, ingestion: int) -> list[dict[str, Any]]:
        """The events of an ingestion as they were published, in order of publication."""
        found = [each.body for each in self.topics.of(STATUS_TOPIC)]
        return [each for each in found if each["data"]["ingestion"] == ingestion]

    def event_names(self, ingestion: int) -> list[str]:
        """The names of the published events in order, each once."""
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
        with snapshot(self.engines["query"], 30) as connection:
            found = dataset_version(connection, dataset).dataset.query(query)
            assert found is not None, f"{dataset} has no query {query}"
            given = [(name, str(value)) for name, value in arguments.items()]
            values = read_parameters(found, given)
            types = found.parameter_types
            _, batches = stream(connection, found.sql, values, types=types, as_json=True)
            return [json.loads(row) for batch in batches for (row,) in batch]

    def run_sql(self, sql: str, **values: Any) -> None:
        with transaction(self.engine) as connection:
            connection.execute(text(sql), values)

    def wait_until_blocked(self) -> None:
        """Wait until a session waits for a lock."""
        sql = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        for _ in range(1000):
            with self._superuser.connect() as connection:
                if connection.scalar(text(sql)):
                    return
            time.sleep(0.01)
        raise AssertionError("no session waits")

    @contextmanager
    def before(self, name: str, act: Callable[[], object]) -> Iterator[None]:
        """Act each time before a named statement runs."""
        wanted = str(statement(name))

        def look(_connection: object, element: object, *_: object) -> None:
            if str(element) == wanted:
                act()

        remove = self.listen("before_execute", look)
        try:
            yield
        finally:
            remove()

    def listen(self, name: str, listener: Callable[..., object]) -> Callable[[], None]:
        """Call a listener at an event of SQLAlchemy of any engine; return what ends that."""
        engines = (self.engine, *self.engines.values())
        for each in engines:
            event.listen(each, name, listener)

        def remove() -> None:
            for each in engines:
                event.remove(each, name, listener)

        return remove

    @contextmanager
    def held(self, table: str = "store.things") -> Iterator[None]:
        """Stop every loader inside its transaction, before its first row."""
        with self.engine.connect() as connection:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield
            connection.rollback()


def assert_events_in_order(flow: Flow, ingestion: int) -> None:
    """Every event was published at least once, none before its predecessor, without a gap."""
    first_seen = list(dict.fromkeys(each["sequence"] for each in flow.events(ingestion)))
    assert first_seen == list(range(1, flow.ingestion(ingestion).sequence + 1))
    by_id: dict[str, dict[str, Any]] = {}
    for each in flow.events(ingestion):
        assert by_id.setdefault(each["id"], each) == each
