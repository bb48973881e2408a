"""Datasets and their queries."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sluice.documents.document import Document, Time


class Freshness(Document, frozen=True):
    """How fresh the published rows of a dataset are; `version` grows with every change of them."""

    version: int
    ingestion: Annotated[int | None, Meta(description="The newest published ingestion.")]
    changed_at: Time | None


class Dataset(Document, frozen=True, kw_only=True):
    """A dataset with its number of published rows."""

    name: str
    description: str
    version: int
    origin: Annotated[
        str, Meta(extra_json_schema={"enum": ["folder", "api", "inferred", "restored"]})
    ]
    rows: int
    freshness: Freshness


class Datasets(Document, frozen=True):
    """All datasets."""

    datasets: list[Dataset]


class Field(Document, frozen=True):
    """A field of the rows that the API returns."""

    name: str
    type: str
    nullable: bool


class Column(Document, frozen=True):
    """A declared column, and the fields that it becomes."""

    name: str
    type: str
    description: str
    required: bool
    headers: list[str]
    fields: list[Field]


class RollupSummary(Document, frozen=True):
    """A roll-up of a dataset."""

    name: str
    description: str


class QuerySummary(Document, frozen=True):
    """A named query of a dataset."""

    name: str
    summary: str


class DatasetDescription(Dataset, frozen=True, kw_only=True):
    """A dataset with its columns, key, policies, queries and declaration."""

    columns: list[Column]
    key: list[str]
    duplicates: str
    load: str
    reupload: str
    rollups: list[RollupSummary]
    queries: list[QuerySummary]
    declaration: dict[str, Any]
    toml: Annotated[
        str,
        Meta(description="The declaration as a dataset.toml; an inferred one with its evidence."),
    ]


class RowPage(Document, frozen=True):
    """A page of rows; `next` is the cursor of the following one."""

    rows: list[dict[str, Any]]
    next: str | None


class Declared(Document, frozen=True):
    """The declaration that now holds, and whether it changed."""

    name: str
    version: int
    changed: bool


class QueryParameter(Document, frozen=True):
    """A parameter that a query takes."""

    name: str
    type: str = "text"
    description: str = ""
    required: bool = False
    default: str | None = None
    one_of: list[str] = msgspec.field(default_factory=list)
    minimum: float | None = None
    maximum: float | None = None


class Near(Document, frozen=True):
    """What a command reports if it finds nothing: the first rows of a column of another query."""

    query: str
    column: str


class Query(Document, frozen=True, kw_only=True):
    """A named query: what it answers, what it takes, how it is drawn."""

    dataset: str
    name: str
    summary: str
    description: str
    parameters: list[QueryParameter]
    needs: Annotated[
        list[list[str]],
        Meta(description="Alternatives of parameters; one must be given in full."),
    ]
    returns: Annotated[str, Meta(extra_json_schema={"enum": ["one", "many"]})]
    drawing: dict[str, str] | None
    verb: Annotated[str, Meta(description="Name of a command of its own, or empty.")]
    output: Annotated[str, Meta(description="Column, or text with {column}, that it prints.")]
    heading: Annotated[str, Meta(description="Text with {column} above each of several rows.")] = ""
    near: Near | None
    formats: list[str]
    url: str


class Queries(Document, frozen=True):
    """The named queries of a dataset."""

    queries: list[Query]
