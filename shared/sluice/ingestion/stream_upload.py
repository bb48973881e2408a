"""The use case of a stream upload: the body of a request becomes an object of the inbox."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sluice.errors import BodyError
from sluice.ingestion.ingestions import receive
from sluice.ingestion.outbox import relay
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from sluice.ports import Environment


def upload_stream(env: Environment, name: str, blocks: Iterable[bytes]) -> int:
    """Store a file under a name of the inbox; return its ingestion.

    Args:
        env: settings `project`, `inbox`.
        name: name of the object.
        blocks: its content.

    Raises:
        BodyError: the file is empty.
        StorageUnavailableError: nothing is stored; send it again.
    """
    not_empty = (each for each in blocks if each)
    first = next(not_empty, None)
    if first is None:
        raise BodyError(f"{name}: the file is empty")
    content = itertools.chain((first,), not_empty)
    stored = env.storage.write_blocks(env.settings.inbox, name, content)
    with transaction(env.engine) as connection:
        ingestion = receive(connection, stored, env.settings.project).id
    relay(env.engine, env.publisher, ingestion)
    return ingestion
