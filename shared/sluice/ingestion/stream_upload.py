"""The use case of deposit: a file comes as one stream and becomes an object of the inbox."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sluice.errors import BodyError
from sluice.ingestion.ingestions import receive
from sluice.ingestion.outbox import relay
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.ports import Depot, Publisher
    from sluice.settings import Settings


class Deposit:
    """Deposits files.

    Args:
        settings: `project`, `inbox`.
        engine: the database.
        depot: Cloud Storage.
        publisher: Pub/Sub.
    """

    def __init__(
        self, settings: Settings, engine: Engine, depot: Depot, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._depot = depot
        self._publisher = publisher

    def __call__(self, name: str, blocks: Iterable[bytes]) -> int:
        """Store a file under a name of the inbox; return its ingestion, which goes its way by itself.

        Raises:
            BodyError: the file has no byte.
            StorageUnavailableError: nothing is stored; send it again.
        """
        full = (each for each in blocks if each)
        first = next(full, None)
        if first is None:
            raise BodyError(f"{name}: the file is empty")
        whole = itertools.chain((first,), full)
        stored = self._depot.stream(self._settings.inbox, name, whole)
        with transaction(self._engine) as connection:
            ingestion = receive(connection, stored, self._settings.project).id
        relay(self._engine, self._publisher, ingestion)
        return ingestion
