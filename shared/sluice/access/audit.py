"""The audit log: who did what, written in the transaction of what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The actor of what nobody requested: folders that are deployed, types that a file decided.
SYSTEM = "system"


@dataclass(frozen=True)
class Entry:
    """A row of the audit log.

    Attributes:
        actor: who, as `Environment.actor` has it.
        action: what, such as `dataset.declare`.
        dataset: the dataset that it concerns, if it is one.
        subject: what it was done to: an ingestion, a key, a backup, an object.
        details: anything else; never a secret.
    """

    actor: str
    action: str
    dataset: str | None = None
    subject: object = None
    details: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Return it as the statement `record` takes it."""
        subject = None if self.subject is None else str(self.subject)
        return {**vars(self), "subject": subject, "details": dict(self.details)}


def record_all(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add rows to the audit log; the open transaction keeps or discards them with what they record."""
    documents = [each.document() for each in entries]
    connection.execute(statement("record"), {"entries": jsonb(documents)})


def record(
    connection: Connection,
    actor: str,
    action: str,
    *,
    dataset: str | None = None,
    subject: object = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add a row to the audit log, see `Entry`."""
    record_all(connection, [Entry(actor, action, dataset, subject, details or {})])
