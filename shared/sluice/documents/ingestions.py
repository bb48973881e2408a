"""Ingestions with their states, accounts and events; rows, rejects, uploads, subscriptions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sluice.documents.document import (
    Document,
    Name,
    ProblemDocument,
    Request,
    StorableText,
    Time,
    parse,
)


class State(StrEnum):
    """The states of an ingestion."""

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
#: The event that is not a change of state.
PROGRESS = "progress"
#: The type of an event is this prefix and a state, or `progress`.
TYPE_PREFIX = "sluice.ingestion."
EVENT_NAMES = (*map(str, State), PROGRESS)
EventName = Annotated[str, Meta(extra_json_schema={"enum": [*EVENT_NAMES]})]
EventType = Annotated[
    str, Meta(extra_json_schema={"enum": [TYPE_PREFIX + each for each in EVENT_NAMES]})
]


class Problem(Document, frozen=True, kw_only=True):
    """What happened, where, and what to do about it (RFC 9457)."""

    type: Annotated[str, Meta(extra_json_schema={"format": "uri"})] = ""
    title: str
    status: int
    code: str
    detail: str


class Account(Document, frozen=True):
    """The outcome of the records of a file: read = loaded + rejected + duplicates."""

    read: int = 0
    loaded: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.loaded + self.rejected + self.duplicates


class Chunks(Document, frozen=True):
    """How many chunks are loaded; the total is null until the file is read to its end.

    Types that are not declared are observed in all chunks before the first of them is loaded.
    """

    total: int | None = None
    loaded: int = 0
    observed: int = 0


class Output(Document, frozen=True, omit_defaults=True):
    """The output of a file."""

    size_bytes: int
    url: str = ""


class RejectFiles(Document, frozen=True):
    """The rejects of a file as files: routes, and objects of the outbox."""

    url: Annotated[str, Meta(description="The rejected lines as they came, under the header.")]
    reasons_url: Annotated[str, Meta(description="Line, record, rule and reason of each.")]
    object: str
    reasons_object: str


class IngestionProgress(Document, frozen=True, kw_only=True):
    """The fields that an ingestion shares with its events."""

    id: int
    dataset: Annotated[str | None, Meta(description="Null if no dataset fits the prefix.")]
    state: State
    sequence: Annotated[int, Meta(description="Number of its newest event.")]
    bucket: str
    object: str
    generation: str
    size_bytes: int
    bytes_loaded: int
    chunks: Chunks
    account: Account
    warnings: list[dict[str, Any]]
    output: Output | None
    rejects: Annotated[
        RejectFiles | None, Meta(description="When it ended with rejects: where they are.")
    ] = None
    fixes: Annotated[
        int | None,
        Meta(
            description="The ingestion whose rejects the file fixes; its rows are in the account of that."
        ),
    ] = None
    fixed: Annotated[
        int, Meta(description="How many of its rejects were fixed; they count as loaded now.")
    ] = 0
    problem_document: ProblemDocument | None = msgspec.field(name="problem")

    @property
    def problem(self) -> Problem | None:
        """Why it failed."""
        return parse(self.problem_document, Problem) if self.problem_document else None

    @property
    def is_final(self) -> bool:
        """Whether its state changes only by a command."""
        return self.state in FINAL


class Ingestion(IngestionProgress, frozen=True, kw_only=True):
    """The processing of one file."""

    #: The version of the dataset's declaration by which it is checked.
    declaration_version: int | None = None
    replaced_by: int | None
    received_at: Time
    started_at: Annotated[Time, Meta(description="Its arrival, or the newest retry.")]
    updated_at: Time
    finished_at: Time | None

    @property
    def took_s(self) -> float | None:
        """Seconds from the start of the newest attempt to its end; None before it, and after an undo."""
        if self.finished_at is None or self.state is State.UNDONE:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class EventData(
    IngestionProgress, frozen=True, kw_only=True, omit_defaults=True, rename={"id": "ingestion"}
):
    """An ingestion when an event was written."""

    id: int
    warnings: list[dict[str, Any]] = msgspec.field(default_factory=list)
    output: Output | None = None
    rejects: RejectFiles | None = None
    problem_document: ProblemDocument | None = msgspec.field(name="problem", default=None)


class Event(Document, frozen=True, kw_only=True):
    """A CloudEvent (1.0) of a new state, or of progress."""

    specversion: str = "1.0"
    id: str
    source: str
    type: EventType
    subject: str
    time: Time
    datacontenttype: str = "application/json"
    sequence: Annotated[int, Meta(description="1, 2, 3, ... without gaps in an ingestion.")]
    data: EventData

    @property
    def name(self) -> str:
        """The state, or `progress`."""
        return self.type.removeprefix(TYPE_PREFIX)

    @property
    def is_final(self) -> bool:
        """Whether it is the last event of a run."""
        return self.name in FINAL


class Events(Document, frozen=True):
    """The events of an ingestion so far."""

    events: list[Event]


class IngestionPage(Document, frozen=True):
    """A page of ingestions; `next` is the cursor of the following one."""

    ingestions: list[Ingestion]
    next: str | None


class Reject(Document, frozen=True, omit_defaults=True):
    """A rejected row, with the position, the rule and the reason."""

    line: Annotated[
        int,
        Meta(description="Line of the file, or row of the sheet, where the row starts, from 1."),
    ]
    column: Annotated[str | None, Meta(description="Null if the row as such is rejected.")]
    rule: str
    value: str | None
    reason: str
    original: Annotated[str, Meta(description="The row, up to its first 64 KiB.")]
    size_bytes: Annotated[
        int | None, Meta(description="Size of the row, if `original` has only a part of it.")
    ] = None
    cell: Annotated[
        str | None, Meta(description="In a workbook: address of the value, or of the row (17:17).")
    ] = None


class RejectPage(Document, frozen=True):
    """A page of rejects; `next` is the cursor of the following one."""

    rejects: list[Reject]
    next: str | None


class Winner(Document, frozen=True):
    """The row that counts instead of a duplicate."""

    ingestion: int
    line: Annotated[int | None, Meta(description="Null if it came with another ingestion.")]
    record: int | None


class Duplicate(Document, frozen=True):
    """A row that was left out because another one has the same key."""

    line: Annotated[
        int | None, Meta(description="From 1; null if records near it have several lines.")
    ]
    record: Annotated[int, Meta(description="Its number in the file, from 1, without the header.")]
    key: dict[str, Any]
    won_by: Winner


class DuplicatePage(Document, frozen=True):
    """A page of duplicates; `next` is the cursor of the following one."""

    duplicates: list[Duplicate]
    next: str | None


class Figure(Document, frozen=True):
    """One figure of a verification."""

    name: str
    expected: int | str | bool | None
    found: int | str | bool | None
    ok: Annotated[bool | None, Meta(description="Null if it cannot be checked.")]
    note: str


class Verification(Document, frozen=True):
    """An ingestion compared with its file and with the tables."""

    ingestion: int
    verified: bool
    differs: Annotated[list[str], Meta(description="Names of the figures that differ.")]
    figures: list[Figure]


class RowOutcome(Document, frozen=True, omit_defaults=True):
    """The outcome of one row of a request."""

    row: Annotated[int, Meta(description="Its number in the request, from 1.")]
    outcome: Annotated[
        str,
        Meta(extra_json_schema={"enum": ["loaded", "duplicate", "rejected", "not_loaded"]}),
    ]
    column: str | None = None
    rule: str = ""
    value: str | None = None
    reason: str = ""


class RejectedRow(RowOutcome, frozen=True, omit_defaults=False):
    """The outcome of a rejected row, with all members."""


class InsertedRows(Document, frozen=True, kw_only=True):
    """The outcome of the rows of one dataset in a request; they are an ingestion."""

    dataset: str
    ingestion: int
    state: State
    account: Account
    problem_document: ProblemDocument | None = msgspec.field(name="problem")
    rows: list[RowOutcome]

    @property
    def problem(self) -> Problem | None:
        """Why no row is loaded."""
        return parse(self.problem_document, Problem) if self.problem_document else None


class InsertedRowsOfMany(Document, frozen=True):
    """The outcome of the rows of a request, by dataset."""

    ingestions: list[InsertedRows]


_MEDIA_TYPE = r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?: ?;[ -~]*)?$(?!\n)"
#: One name or several, with / between them, that neither are empty nor dots.
_FILE_NAME = (
    r"^(?:[^/.\x00-\x1f][^/\x00-\x1f]*/)*[^/.\x00-\x1f][^/\x00-\x1f]*"
    r"\.(?:(?:csv|tsv|txt)(?:\.(?:gz|zst))?|xlsx|xlsm)$"
)


class UploadRequest(Request, frozen=True):
    """A file to upload."""

    dataset: Name
    name: Annotated[
        str,
        Meta(
            description="Ends in .csv, .tsv or .txt, also with .gz or .zst, or in .xlsx or .xlsm.",
            extra_json_schema={"pattern": _FILE_NAME, "maxLength": 200},
        ),
    ]
    size_bytes: Annotated[int, Meta(ge=0)] | None = None
    size: Annotated[int, Meta(ge=0, description="Another name of size_bytes.")] | None = None
    content_type: Annotated[str, Meta(pattern=_MEDIA_TYPE)] | None = None
    create_only: Annotated[bool, Meta(description="Refuse to overwrite the object.")] = False
    dialect: Annotated[
        dict[str, StorableText],
        Meta(
            description="How the file is written, such as delimiter and header, if it is not as declared."
        ),
    ] = msgspec.field(default_factory=dict)


class UploadSession(Document, frozen=True):
    """Where to upload a file, and the object that it becomes."""

    url: Annotated[str, Meta(description="PUT the file here: curl -T FILE URL.")]
    bucket: str
    object: str


class SubscriptionRequest(Request, frozen=True):
    """Where to push events to, and which: of one dataset, of some states, or all."""

    endpoint: Annotated[
        str, Meta(extra_json_schema={"format": "uri", "pattern": r"^https?://[^\x00]*$"})
    ]
    dataset: Name | None = None
    states: list[EventName] | None = None


class Subscription(Document, frozen=True):
    """A push subscription: events of these states of this dataset go to the endpoint."""

    id: str
    endpoint: str
    dataset: str | None
    states: list[str]
    created_at: Time


class Subscriptions(Document, frozen=True):
    """All push subscriptions."""

    subscriptions: list[Subscription]
