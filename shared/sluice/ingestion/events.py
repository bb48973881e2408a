"""The events of an ingestion as CloudEvents 1.0, and the attributes that subscriptions filter by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The states of an ingestion; see the enum in `sql/migrations/0001_engine.sql` for the moves."""

    RECEIVED = "received"
    SPLITTING = "splitting"
    LOADING = "loading"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNDONE = "undone"


UNFINISHED = (State.RECEIVED, State.SPLITTING, State.LOADING, State.PUBLISHING)
FINAL = (State.DONE, State.FAILED, State.CANCELLED, State.SKIPPED, State.UNDONE)
PROGRESS = "progress"
#: What follows this in a type is the state, or `progress`.
TYPE_PREFIX = "sluice.ingestion."

_SEVERITIES = {State.FAILED: "ERROR", State.CANCELLED: "WARNING", State.SKIPPED: "WARNING"}


@dataclass(frozen=True)
class Event:
    """One event: a transition, or progress, of one ingestion.

    Attributes:
        name: the state reached, or `progress`.
        sequence: 1, 2, 3, ... without gaps within the ingestion.
        body: the CloudEvent.
    """

    ingestion: int
    dataset: str
    name: str
    sequence: int
    severity: str
    body: Mapping[str, Any]

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the Pub/Sub message."""
        return {
            "ingestion": str(self.ingestion),
            "dataset": self.dataset,
            "state": self.name,
            "severity": self.severity,
        }


def account_of(row: Any) -> dict[str, int]:  # a row of sluice.ingestions
    """Return the account of an ingestion: `read = loaded + rejected + duplicates`."""
    return {
        "read": row.records_read,
        "loaded": row.rows_loaded,
        "rejected": row.rows_rejected,
        "duplicates": row.duplicates,
    }


def make_event(row: Any, name: str, sequence: int, project: str) -> Event:
    """Make the event of an ingestion as it now stands.

    Args:
        row: a row of the table `sluice.ingestions`, after the change.
        name: the state reached, or `progress`.
        sequence: its place among the ingestion's events.
        project: the Google Cloud project, part of the event's source.
    """
    severity = _SEVERITIES.get(State(name), "INFO") if name != PROGRESS else "INFO"
    if name == State.DONE and (row.rows_rejected or row.duplicates or row.warnings):
        severity = "WARNING"
    data = {
        "ingestion": row.id,
        "dataset": row.dataset,
        "state": str(row.state),
        "sequence": sequence,
        "bucket": row.bucket,
        "object": row.object,
        "generation": str(row.generation),
        "size_bytes": row.size_bytes,
        "bytes_loaded": row.bytes_loaded,
        "chunks": {"total": row.chunks_total, "loaded": row.chunks_loaded},
        "account": account_of(row),
    }
    if row.warnings:
        data["warnings"] = row.warnings
    if row.output:
        data["output"] = {"size_bytes": row.output["size_bytes"]}
    if row.problem:
        data["problem"] = row.problem
    body = {
        "specversion": "1.0",
        "id": f"{row.id}-{sequence}",
        "source": f"//sluice/projects/{project}",
        "type": TYPE_PREFIX + name,
        "subject": f"ingestions/{row.id}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": sequence,
        "data": data,
    }
    return Event(row.id, row.dataset or "", name, sequence, severity, body)
