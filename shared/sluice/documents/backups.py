"""Backups, restores and comparisons."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from sluice.documents.document import Document, Name, ProblemDocument, Request

#: A moment as the manifest of a backup has it.
TimeText = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
#: Names of datasets; null for all.
Names = Annotated[list[Name], Meta(min_length=1)] | None
#: What follows the name of a dataset in that of its copy.
SUFFIX_PATTERN = "[a-z0-9_]{1,47}"


class BackupRequest(Request, frozen=True):
    """What to back up, and how."""

    datasets: Names = None
    format: Annotated[str, Meta(extra_json_schema={"enum": ["avro", "parquet"]})] = "avro"


class BackedUpDataset(Document, frozen=True):
    """A dataset in a backup."""

    name: str
    rows: int = 0
    size_bytes: int = 0
    parts: int = 0


class Backup(Document, frozen=True, kw_only=True):
    """A backup: its state, datasets and sizes."""

    id: str
    state: Annotated[str, Meta(extra_json_schema={"enum": ["running", "done", "failed"]})]
    format: str
    started_at: TimeText
    finished_at: TimeText | None = None
    rows: int = 0
    size_bytes: int = 0
    datasets: list[BackedUpDataset]
    problem: ProblemDocument | None = None


class Backups(Document, frozen=True):
    """The newest backups."""

    backups: list[Backup]


class RestoreRequest(Request, frozen=True):
    """What to restore, as copies with a suffix or in place."""

    datasets: Names = None
    suffix: Annotated[str, Meta(extra_json_schema={"pattern": f"^{SUFFIX_PATTERN}$"})] | None = None
    in_place: bool = False


class TablesRequest(Request, frozen=True):
    """Which tables to back up: one, or some, or all."""

    table: Name | None = None
    tables: Names = None
    datasets: Names = None


class RestoreTablesRequest(RestoreRequest, frozen=True):
    """Which tables of which backup to restore; the newest backup by default."""

    table: Name | None = None
    tables: Names = None
    backup: (
        Annotated[str, Meta(extra_json_schema={"pattern": r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$"})]
        | None
    ) = None


class RestoredDataset(Document, frozen=True):
    """A dataset, what it was restored into, and the ingestion that its rows are."""

    dataset: str
    into: str
    rows: int
    ingestion: int


class Restored(Document, frozen=True):
    """What a restore did."""

    backup: str
    restored: list[RestoredDataset]


class ComparedDataset(Document, frozen=True, kw_only=True):
    """How a dataset and its copy differ."""

    dataset: str
    copy: str
    equal: bool
    rows: int
    rows_of_copy: int
    only_here: int
    only_there: int
    sample_here: list[dict[str, Any]]
    sample_there: list[dict[str, Any]]


class Comparison(Document, frozen=True):
    """How the datasets of a backup and their copies differ."""

    backup: str
    equal: bool
    datasets: list[ComparedDataset]
