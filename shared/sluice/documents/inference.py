"""What inference finds in a file."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from sluice.documents.document import Document


class Evidence(Document, frozen=True):
    """One key of the dialect, its value, and why."""

    key: str
    value: Any
    reason: str


class InferredColumn(Document, frozen=True):
    """A column as it would be declared, and why."""

    name: str
    type: str
    headers: list[str]
    evidence: list[str]


class Finding(Document, frozen=True):
    """A row that would be rejected."""

    line: int
    record: int
    column: str | None
    rule: str
    value: str | None
    reason: str


class Inference(Document, frozen=True, kw_only=True):
    """What loading a file would do; nothing is loaded."""

    dataset: str
    is_declared: Annotated[
        bool, Meta(description="Whether the dataset is declared; nothing is inferred then.")
    ]
    is_complete: Annotated[
        bool, Meta(description="Whether all of the file was read; a later row may change types.")
    ]
    dialect: dict[str, Any]
    evidence: list[Evidence]
    warnings: list[str]
    columns: list[InferredColumn]
    records: Annotated[int, Meta(description="Records that were read.")]
    rows: Annotated[int, Meta(description="Those that would be loaded.")]
    rejected: Annotated[int, Meta(description="Those that would be rejected.")]
    rejects: Annotated[list[Finding], Meta(description="The first rejects.")]
    seconds: Annotated[float, Meta(description="About how long loading the file takes.")]
    declaration: dict[str, Any]
    toml: Annotated[str, Meta(description="The declaration as a dataset.toml, with the evidence.")]
