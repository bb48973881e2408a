"""What the API answers, as frozen values; knows the shape of its JSON and nothing of HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    Document = Mapping[str, Any]

#: States that an ingestion leaves only by a person's command.
FINAL_STATES = frozenset(("done", "failed", "cancelled", "skipped", "undone"))


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem document."""

    code: str
    title: str
    detail: str
    status: int = 0

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read a problem document, or as much of one as there is."""
        title = str(document.get("title") or "Problem")
        return cls(
            code=str(document.get("code") or ""),
            title=title,
            detail=str(document.get("detail") or title),
            status=int(document.get("status") or 0),
        )


@dataclass(frozen=True)
class Account:
    """What became of the rows of a file: `read = loaded + rejected + duplicates`."""

    read: int = 0
    loaded: int = 0
    rejected: int = 0
    duplicates: int = 0

    @classmethod
    def parse(cls, document: Document | None) -> Self:
        """Read an account; a missing one is all zeros."""
        given = document or {}
        names = ("read", "loaded", "rejected", "duplicates")
        return cls(*(int(given.get(name) or 0) for name in names))


@dataclass(frozen=True)
class Chunks:
    """How many chunks are loaded; `total` is None until the file is read to its end."""

    loaded: int = 0
    total: int | None = None

    @classmethod
    def parse(cls, document: Document | None) -> Self:
        """Read a count of chunks; a missing one is zero of an unknown total."""
        given = document or {}
        total = given.get("total")
        return cls(int(given.get("loaded") or 0), None if total is None else int(total))


@dataclass(frozen=True)
class Ingestion:
    """The life of one file: its state, how far it is, and its account.

    Attributes:
        dataset: None when no dataset fits the object's prefix.
        generation: generation of the object in Cloud Storage.
        problem: why it failed.
        took_s: seconds from the arrival of the object to the end; None before it, and in events.
        document: the JSON it was read from.
    """

    id: int
    dataset: str | None
    state: str
    bucket: str
    object: str
    generation: int
    size_bytes: int
    bytes_loaded: int
    chunks: Chunks
    account: Account
    problem: Problem | None = None
    took_s: float | None = None
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in FINAL_STATES

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read the API's ingestion document, or the same words in the data of an event."""
        problem = document.get("problem")
        return cls(
            id=int(document.get("id") or document["ingestion"]),
            dataset=document.get("dataset"),
            state=str(document["state"]),
            bucket=str(document.get("bucket") or ""),
            object=str(document.get("object") or ""),
            generation=int(document.get("generation") or 0),
            size_bytes=int(document.get("size_bytes") or 0),
            bytes_loaded=int(document.get("bytes_loaded") or 0),
            chunks=Chunks.parse(document.get("chunks")),
            account=Account.parse(document.get("account")),
            problem=Problem.parse(problem) if problem else None,
            took_s=_seconds(document.get("received_at"), document.get("finished_at")),
            document=document,
        )


def _seconds(began_at: str | None, ended_at: str | None) -> float | None:
    if not began_at or not ended_at:
        return None
    return (datetime.fromisoformat(ended_at) - datetime.fromisoformat(began_at)).total_seconds()


@dataclass(frozen=True)
class Event:
    """A CloudEvent of an ingestion: a change of state, or progress within one.

    Attributes:
        sequence: grows without gaps within an ingestion.
        kind: the last word of the type: a state, or `progress`.
        time: when it became true.
        ingestion: the ingestion as it stood when the event was written.
        document: the CloudEvent itself.
    """

    id: str
    kind: str
    time: datetime
    sequence: int
    ingestion: Ingestion
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it is the last event of a run."""
        return self.kind in FINAL_STATES

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read a CloudEvent of type `sluice.ingestion.<state|progress>`."""
        return cls(
            id=str(document["id"]),
            kind=str(document["type"]).rpartition(".")[2],
            time=datetime.fromisoformat(document["time"]),
            sequence=int(document["sequence"]),
            ingestion=Ingestion.parse(document["data"]),
            document=document,
        )


@dataclass(frozen=True)
class Reject:
    """A refused row: where it stands, which rule refused it and why.

    Attributes:
        line: physical line of the file where the row starts, from 1.
        column: None where the row as a whole is refused.
        original: the row's text as it stands in the file.
    """

    line: int
    column: str | None
    rule: str
    value: str | None
    reason: str
    original: str = ""
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read one entry of the rejects route."""
        return cls(
            line=int(document["line"]),
            column=document.get("column"),
            rule=str(document.get("rule") or ""),
            value=document.get("value"),
            reason=str(document.get("reason") or ""),
            original=str(document.get("original") or ""),
            document=document,
        )


@dataclass(frozen=True)
class Upload:
    """An object that an upload made: this generation of it is one file."""

    bucket: str
    object: str
    generation: int
    size_bytes: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What ties the object to its ingestion."""
        return self.bucket, self.object, self.generation


@dataclass(frozen=True)
class Subscription:
    """A push subscription: events of these states of this dataset go to the endpoint."""

    id: str
    endpoint: str
    dataset: str | None = None
    states: tuple[str, ...] = ()
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read one subscription."""
        return cls(
            id=str(document["id"]),
            endpoint=str(document["endpoint"]),
            dataset=document.get("dataset"),
            states=tuple(str(each) for each in document.get("states") or ()),
            document=document,
        )
