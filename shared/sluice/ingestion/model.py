"""An ingestion as a value, and the transitions between its states; pure, does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sluice.documents.ingestions import Account, Chunks, RejectFiles, State
from sluice.ports import StoredObject

#: The states from which each state can be reached.
TRANSITIONS: Mapping[State, Sequence[State]] = {
    State.RECEIVED: (State.FAILED, State.CANCELLED, State.SKIPPED),
    State.SPLITTING: (State.RECEIVED,),
    State.LOADING: (State.SPLITTING,),
    State.PUBLISHING: (State.LOADING,),
    State.DONE: (State.PUBLISHING, State.UNDONE),
    State.FAILED: (State.RECEIVED, State.SPLITTING, State.LOADING, State.PUBLISHING),
    State.CANCELLED: (State.RECEIVED, State.SPLITTING, State.LOADING),
    State.SKIPPED: (State.RECEIVED, State.PUBLISHING),
    State.UNDONE: (State.DONE,),
}


@dataclass(frozen=True)
class Ingestion:
    """The processing of one file, as the database last recorded it.

    Attributes:
        dataset: its dataset; None where none fits the object's prefix.
        file: the generation of the object.
        fixes: the ingestion whose rejects the file fixes, which its rows join; None for any other file.
        rows_fixed: of the rows read, those that were rejects until a later file fixed them.
        source: `file`, `rows` of a request, or `restore` of a backup.
        sequence: sequence number of its newest event.
        layout: dialect and header of the file as JSON, once it was opened.
        declaration_version: the version of the dataset's declaration by which the file is checked; None
            until its split began.
        chunks_total: None until the file is read to its end.
        chunks_observed: chunks whose types were observed, in a file whose types are not declared.
        records_total, content_bytes: what split counted, independently of the parser; the content is
            decompressed.
        content_sha256: digest of the decompressed content, once the file is read to its end; None where a
            split that was resumed far into the file did not read all of it.
        bytes_loaded: size of the loaded chunks, decompressed.
        warnings: what was found but rejected nothing.
        output: the file written from the dataset's output query.
        problem: problem document of a failure.
        replaced_by: the ingestion that replaced this one, or in whose favour it was skipped.
        resends: how often recovery sent its messages again.
        waiting_since: since when it waits in `received` until others of its dataset have ended; None where it
            does not.
        started_at: when its newest attempt started: its arrival, or the newest retry.
    """

    id: int
    dataset: str | None
    file: StoredObject
    source: str
    fixes: int | None
    rows_fixed: int
    state: State
    sequence: int
    account: Account
    layout: Mapping[str, Any] | None
    declaration_version: int | None
    chunks_total: int | None
    chunks_loaded: int
    chunks_observed: int
    records_total: int | None
    content_bytes: int | None
    content_sha256: bytes | None
    bytes_loaded: int
    warnings: Sequence[Mapping[str, object]]
    output: StoredObject | None
    problem: Mapping[str, Any] | None
    replaced_by: int | None
    resends: int
    waiting_since: datetime | None
    received_at: datetime
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the ingestion of a row of `sluice.ingestions`."""
        output = row["output"]
        return cls(
            id=row["id"],
            dataset=row["dataset"],
            file=StoredObject(
                bucket=row["bucket"],
                name=row["object"],
                generation=row["generation"],
                size_bytes=row["size_bytes"],
                crc32c=row["crc32c"],
                content_encoding=row["content_encoding"],
                uploaded_at=row["uploaded_at"],
                options=row["options"],
            ),
            source=row["source"],
            fixes=row["fixes"],
            rows_fixed=row["rows_fixed"],
            state=State(row["state"]),
            sequence=row["sequence"],
            account=Account(
                row["records_read"], row["rows_loaded"], row["rows_rejected"], row["duplicates"]
            ),
            layout=row["layout"],
            declaration_version=row["declaration_version"],
            chunks_total=row["chunks_total"],
            chunks_loaded=row["chunks_loaded"],
            chunks_observed=row["chunks_observed"],
            records_total=row["records_total"],
            content_bytes=row["content_bytes"],
            content_sha256=row["content_sha256"],
            bytes_loaded=row["bytes_loaded"],
            warnings=row["warnings"],
            output=output and output_of(output),
            problem=row["problem"],
            replaced_by=row["replaced_by"],
            resends=row["resends"],
            waiting_since=row["waiting_since"],
            received_at=row["received_at"],
            started_at=row["started_at"] or row["received_at"],
            updated_at=row["updated_at"],
            finished_at=row["finished_at"],
        )

    @property
    def has_reject_files(self) -> bool:
        """Whether its rejects are objects of the outbox by the time its end is published."""
        has_ended = self.state in (State.DONE, State.FAILED)
        return has_ended and self.source == "file" and self.account.rejected > 0

    @property
    def reject_object(self) -> str:
        """The name in the outbox of its rejected lines."""
        return f"rejects/{self.dataset}/{self.id}/rejects.csv"

    @property
    def reasons_object(self) -> str:
        """The name in the outbox of the reasons of its rejects."""
        return f"rejects/{self.dataset}/{self.id}/reasons.csv"

    def reject_files(self) -> RejectFiles | None:
        """Return where its rejects are; None where it has none, or has not ended."""
        if not self.has_reject_files:
            return None
        url = f"/v1/ingestions/{self.id}/rejects?format="
        return RejectFiles(url + "csv", url + "reasons", self.reject_object, self.reasons_object)

    def cell_of(self, line: int, column: str | None) -> str | None:
        """Return the address of a row's value in the sheet of a workbook, such as `C17`.

        Where no column is given, or the sheet has it not, it is that of the row: `17:17`. None where the
        file is no workbook.
        """
        layout = self.layout or {}
        if "sheet" not in layout:
            return None
        letters = layout.get("cells", {}).get(column)
        return f"{letters}{line}" if letters else f"{line}:{line}"

    @property
    def is_observing(self) -> bool:
        """Whether its types are not decided yet: its chunks are observed first, and loaded after that."""
        return bool((self.layout or {}).get("is_observing"))

    @property
    def is_observed(self) -> bool:
        """Whether every chunk is observed, so that the types can be decided."""
        return (
            self.is_observing
            and self.state == State.LOADING
            and self.chunks_observed == self.chunks_total
        )

    def facts(self) -> dict[str, Any]:
        """Return the members that the documents of an ingestion and of its events share."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "state": self.state,
            "sequence": self.sequence,
            "bucket": self.file.bucket,
            "object": self.file.name,
            "generation": str(self.file.generation),
            "size_bytes": self.file.size_bytes,
            "bytes_loaded": self.bytes_loaded,
            "chunks": Chunks(self.chunks_total, self.chunks_loaded, self.chunks_observed),
            "account": self.account,
            "fixes": self.fixes,
            "fixed": self.rows_fixed,
            "warnings": list(self.warnings),
            "rejects": self.reject_files(),
            "problem_document": dict(self.problem) if self.problem else None,
        }


def output_of(document: Mapping[str, Any]) -> StoredObject:
    """Return the output that a document in the database describes; `output_document` makes it."""
    return StoredObject(
        bucket=document["bucket"],
        name=document["object"],
        generation=int(document["generation"]),
        size_bytes=document["size_bytes"],
    )
