"""The events of an ingestion as CloudEvents 1.0, and the attributes that subscriptions filter by; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sluice.documents import ingestions as documents
from sluice.documents.document import to_json
from sluice.documents.ingestions import PROGRESS, TYPE_PREFIX, State
from sluice.errors import BodyError
from sluice.ingestion.model import Ingestion
from sluice.ports import MAX_INTEGER

#: Attribute of the event after which finish decides the types of a file.
OBSERVED = "observed"
#: Events that end an ingestion in flight, or one that waits.
_ENDS = frozenset(map(str, (State.DONE, State.FAILED, State.CANCELLED, State.SKIPPED)))
_SEVERITIES = {
    State.FAILED.value: "ERROR",
    State.CANCELLED.value: "WARNING",
    State.SKIPPED.value: "WARNING",
}


def ingestion_of(attributes: Mapping[str, str]) -> int:
    """Return the ingestion that the attributes of an event name.

    Raises:
        BodyError: they name none.
    """
    try:
        ingestion = int(attributes["ingestion"])
    except (KeyError, ValueError):
        raise BodyError("the message has no attribute `ingestion` with a number") from None
    if not 0 < ingestion <= MAX_INTEGER:
        raise BodyError(f"there is no ingestion {ingestion}")
    return ingestion


@dataclass(frozen=True)
class Event:
    """One event of one ingestion: a transition, or progress.

    Attributes:
        name: the state reached, or `progress`.
        sequence: 1, 2, 3, ... without gaps within the ingestion.
        body: the CloudEvent.
    """

    ingestion: int
    name: str
    sequence: int
    severity: str
    body: Mapping[str, Any]

    @classmethod
    def of(cls, ingestion: Ingestion, name: str, sequence: int, project: str) -> Self:
        """Make the event of a change.

        Args:
            ingestion: the ingestion after the change.
            name: the state reached, or `progress`.
            sequence: its number among the ingestion's events.
            project: the Google Cloud project, part of the event's source.
        """
        document = documents.Event(
            id=f"{ingestion.id}-{sequence}",
            source=f"//sluice/projects/{project}",
            type=TYPE_PREFIX + name,
            subject=f"ingestions/{ingestion.id}",
            time=_now(),
            sequence=sequence,
            data=_data(ingestion, sequence),
        )
        severity = _severity(ingestion, name)
        return cls(ingestion.id, name, sequence, severity, to_json(document))

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the event of a row of `sluice.events`."""
        return cls(row["ingestion"], row["state"], row["sequence"], row["severity"], row["body"])

    @property
    def dataset(self) -> str:
        """The dataset of its ingestion; empty where no dataset fits."""
        return self.body["data"]["dataset"] or ""

    @property
    def has_rejects(self) -> bool:
        """Whether it reports the end of an ingestion with rejects."""
        return "rejects" in self.body["data"]

    @property
    def ends_file(self) -> bool:
        """Whether it reports the end of a file's ingestion, not of rows of a request."""
        data = self.body["data"]
        return self.name in _ENDS and bool(data["dataset"] and data["bucket"])

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the Pub/Sub message."""
        attributes = {
            "ingestion": str(self.ingestion),
            "dataset": self.dataset,
            "state": self.name,
            "severity": self.severity,
        }
        return {**attributes, OBSERVED: "true"} if self.is_observed else attributes

    @property
    def is_observed(self) -> bool:
        """Whether the types of all chunks are observed, and none is loaded: finish decides the types."""
        chunks = self.body["data"]["chunks"]
        total = chunks["total"]
        is_waiting = self.name in (PROGRESS, State.LOADING) and not chunks["loaded"]
        return is_waiting and total is not None and 0 < total == chunks.get("observed", 0)


def _severity(ingestion: Ingestion, name: str) -> str:
    account = ingestion.account
    if name == State.DONE and (account.rejected or account.duplicates or ingestion.warnings):
        return "WARNING"
    return _SEVERITIES.get(name, "INFO")


def _data(ingestion: Ingestion, sequence: int) -> documents.EventData:
    output = documents.Output(ingestion.output.size_bytes) if ingestion.output else None
    return documents.EventData(**{**ingestion.facts(), "sequence": sequence}, output=output)


def _now() -> datetime:
    """Return the time in milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
