"""The use case of the sweep: what stands still goes on, what was left over goes away.

Messages are delivered at least once, but not for ever: one that failed too often lies in the dead
letters, and one that a person deleted is gone. The sweep sends what an ingestion waits for again; all
of it may come twice. Safe to repeat, to end at any point and to run twice at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.compaction.compact import Compact
from sluice.ingestion.dispatch import announce, send_chunks
from sluice.ingestion.events import Event
from sluice.ingestion.garbage_collection import Clearing
from sluice.ingestion.ingestions import query_ingestion, select_chunks
from sluice.ingestion.model import Ingestion, State
from sluice.ingestion.outbox import publish_events, relay
from sluice.ingestion.sources import open_source
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Objects, Publisher
    from sluice.settings import Settings

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Attributes:
        resumed: ingestions whose messages were sent again.
        told: events published that nobody had published.
        cleared: ended ingestions of which nothing superfluous is left now.
        rows_deleted: rows that no reader will see any more.
    """

    resumed: int
    told: int
    cleared: int
    rows_deleted: int


class Sweep:
    """Looks after all ingestions.

    Args:
        settings: `sweep_idle_s`, `outbox`.
        engine: the database.
        objects: Cloud Storage.
        publisher: Pub/Sub.
    """

    def __init__(
        self, settings: Settings, engine: Engine, objects: Objects, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._objects = objects
        self._publisher = publisher

    def __call__(self) -> Swept:
        """Sweep once.

        Raises:
            TransientError: part of it is done; sweep again later.
        """
        told = self._tell()
        resumed = self._resume_idle()
        self._compact()
        cleared = Clearing(self._settings, self._engine, self._objects)()
        return Swept(resumed, told, cleared.ingestions, cleared.rows)

    def _tell(self) -> int:
        with transaction(self._engine) as connection:
            untold = connection.scalars(statement("unpublished_ingestions")).all()
        return sum(relay(self._engine, self._publisher, each) for each in untold)

    def _compact(self) -> None:
        """Compact what has waited too long, even of datasets that never stop loading."""
        wanted = {"idle_s": self._settings.sweep_idle_s}
        with transaction(self._engine) as connection:
            names = connection.scalars(statement("uncompacted_datasets"), wanted).all()
        for name in names:
            Compact(self._engine)(name, while_loading=True)

    def _resume_idle(self) -> int:
        passed: list[int] = []
        while (resumed := self._resume_one(passed)) is not None:
            passed.append(resumed)
        return len(passed)

    def _resume_one(self, passed: list[int]) -> int | None:
        """Push one ingestion on; what could not be sent is not claimed."""
        wanted = {"idle_s": self._settings.sweep_idle_s, "passed": passed}
        with transaction(self._engine) as connection:
            row = query_ingestion(connection, "claim_stalled", wanted)
            if row is None:
                return None
            self._send_again(connection, row)
        fields = {"ingestion": row.id, "state": str(row.state), "resends": row.resends}
        LOGGER.warning("stalled", extra={"fields": fields})
        return row.id

    def _send_again(self, connection: Connection, row: Ingestion) -> None:
        """Send the messages that an ingestion waits for in its state."""
        key = {"ingestion": row.id}
        if row.state == State.PUBLISHING:
            found = connection.execute(statement("publishing_event"), key).mappings().one()
            event = Event.from_row(found)
            publish_events(self._publisher, [(event, event.attributes)])
        elif row.state == State.LOADING:
            chunks = select_chunks(connection, row.id)
            source = open_source(self._objects, row.file, row.id, self._settings.outbox)
            missing = [each.cut for each in chunks if not each.is_loaded]
            send_chunks(self._publisher, row, source, missing)
        else:  # split goes on where it was, and sends what is known and not loaded
            announce(self._publisher, row)
