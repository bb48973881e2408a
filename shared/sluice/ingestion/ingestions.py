"""The record of ingestions: each transition is one guarded statement, its event in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.csv.cuts import Cut
from sluice.documents.ingestions import PROGRESS, Account, State
from sluice.errors import IllegalTransitionError, NotFoundError, SluiceError
from sluice.ingestion.events import Event
from sluice.ingestion.model import TRANSITIONS, Ingestion
from sluice.ingestion.notifications import fixes_of
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ports import StoredObject


#: An event is a message, and Pub/Sub takes at most 10 MB.
_MAX_PROBLEM_CHARACTERS = 64 * 1024
_MAX_DETAIL_CHARACTERS = 4000


@dataclass(frozen=True)
class Changes:
    """What a transition records besides the state; None leaves a fact as it is.

    Attributes:
        problem: why the ingestion failed; the next transition clears it.
        layout: dialect and header of the file.
        declaration_version: the version of the dataset's declaration by which the file is checked.
        chunks_total, records_total, content_bytes, content_sha256: what split found in the file.
        replaced_by: the ingestion that replaced this one, or in whose favour it is skipped.
        warnings: further warnings.
        output: the file written from the dataset's output query.
    """

    problem: SluiceError | None = None
    layout: Mapping[str, object] | None = None
    declaration_version: int | None = None
    chunks_total: int | None = None
    records_total: int | None = None
    content_bytes: int | None = None
    content_sha256: bytes | None = None
    replaced_by: int | None = None
    warnings: Sequence[Mapping[str, object]] = ()
    output: StoredObject | None = None

    def values(self) -> dict[str, object]:
        """Return the values of the statement `move_ingestion`."""
        return {
            **vars(self),
            "problem": self.problem and _problem_json(self.problem),
            "layout": self.layout and jsonb(self.layout),
            "warnings": jsonb(self.warnings),
            "output": self.output and jsonb(output_document(self.output)),
        }


NO_CHANGES = Changes()
#: Why a file is skipped, after the words "ingestion 3".
SAME_CONTENT = "loaded the same content before"
NEWER_GENERATION = "loaded a newer version of the object"


def _problem_json(error: SluiceError) -> str:
    """Return the problem document of an error, short enough for an event: a header may have megabytes."""
    document = error.problem()
    text = jsonb(document)
    if len(text) <= _MAX_PROBLEM_CHARACTERS:
        return text
    kept = {name: document[name] for name in ("type", "title", "status", "code")}
    return jsonb({**kept, "detail": f"{error.detail[:_MAX_DETAIL_CHARACTERS]}… (shortened)"})


def output_document(output: StoredObject) -> dict[str, object]:
    """Return an output as the database has it."""
    return {
        "bucket": output.bucket,
        "object": output.name,
        "generation": str(output.generation),
        "size_bytes": output.size_bytes,
    }


def receive(connection: Connection, file: StoredObject, project: str) -> Ingestion:
    """Create the ingestion of a file, or return the one that an earlier delivery created."""
    key = {"bucket": file.bucket, "object": file.name, "generation": file.generation}
    facts = {
        "dataset": file.name.partition("/")[0] if "/" in file.name else None,
        "size_bytes": file.size_bytes,
        "crc32c": file.crc32c,
        "content_encoding": file.content_encoding,
        "uploaded_at": file.uploaded_at,
        "fixes": fixes_of(file.name),
        "options": jsonb(file.options),
    }
    created = query_ingestion(connection, "receive_ingestion", {**key, **facts})
    if created is None:
        return query_ingestions(connection, "find_ingestion", key)[0]
    write_event(connection, created, State.RECEIVED, created.sequence, project)
    return created


def query_ingestions(
    connection: Connection, name: str, values: Mapping[str, object]
) -> list[Ingestion]:
    """Run a named statement that returns rows of `sluice.ingestions`."""
    rows = connection.execute(statement(name), values).mappings()
    return [Ingestion.from_row(row) for row in rows]


def query_ingestion(
    connection: Connection, name: str, values: Mapping[str, object]
) -> Ingestion | None:
    """Run a named statement that returns one row of `sluice.ingestions` or none."""
    return next(iter(query_ingestions(connection, name, values)), None)


def no_ingestion(ingestion: int) -> NotFoundError:
    """Return the error that there is no such ingestion, or none that the caller may see."""
    return NotFoundError(f"there is no ingestion {ingestion}")


def select_ingestion(connection: Connection, ingestion: int) -> Ingestion:
    """Return an ingestion.

    Raises:
        NotFoundError: there is no such ingestion.
    """
    found = query_ingestion(connection, "select_ingestion", {"ingestion": ingestion})
    if found is None:
        raise no_ingestion(ingestion)
    return found


def may_be_loaded(connection: Connection, ingestion: Ingestion, dataset: Dataset) -> bool:
    """Whether the content of a file may be published already: worth reading it to be sure."""
    values = {
        "dataset": dataset.name,
        "crc32c": ingestion.file.crc32c,
        "size_bytes": ingestion.file.size_bytes,
        "ingestion": ingestion.id,
    }
    return dataset.skips_same_content and bool(
        connection.scalar(statement("is_checksum_done"), values)
    )


def same_content(
    connection: Connection, ingestion: int, dataset: Dataset, sha256: bytes | None
) -> int | None:
    """Return the published ingestion with the same content, if its rows make this one redundant."""
    if sha256 is None or not dataset.skips_same_content:
        return None
    values = {
        "dataset": dataset.name,
        "sha256": sha256,
        "is_keyed": bool(dataset.key),
        "ingestion": ingestion,
    }
    found: int | None = connection.scalar(statement("content_done"), values)
    return found


def skip(
    connection: Connection,
    ingestion: int,
    other: int,
    why: str,
    project: str,
    sha256: bytes | None = None,
) -> None:
    """Move an ingestion to `skipped` in favour of a published one.

    Args:
        connection: the transaction.
        ingestion: in state `received` or `publishing`.
        other: the published ingestion.
        why: continues the sentence "ingestion 3 ...".
        project: part of the source of its events.
        sha256: digest of its content, if that is not recorded yet.
    """
    message = f"ingestion {other} {why}; if that is undone, retry this one"
    warning = {"rule": "skipped", "column": None, "rows": 0, "message": message}
    changes = Changes(replaced_by=other, warnings=[warning], content_sha256=sha256)
    move(connection, ingestion, State.SKIPPED, project, changes)


def lock_ingestion(connection: Connection, ingestion: int) -> Ingestion | None:
    """Return an ingestion, locked until the transaction ends; None where there is none."""
    return query_ingestion(connection, "lock_ingestion", {"ingestion": ingestion})


def write_event(
    connection: Connection, ingestion: Ingestion, name: str, sequence: int, project: str
) -> None:
    """Write the event of a change into the outbox, in the change's own transaction."""
    write_events(connection, [Event.of(ingestion, name, sequence, project)])


def write_events(connection: Connection, events: Iterable[Event]) -> None:
    """Write events into the outbox, in the transaction of what they report."""
    documents = [
        {
            "ingestion": each.ingestion,
            "sequence": each.sequence,
            "state": each.name,
            "severity": each.severity,
            "body": each.body,
        }
        for each in events
    ]
    connection.execute(statement("insert_events"), {"events": jsonb(documents)})


def move(
    connection: Connection,
    ingestion: int,
    to: State,
    project: str,
    changes: Changes = NO_CHANGES,
) -> Ingestion:
    """Move an ingestion to a state and write the event of it.

    Returns:
        The ingestion after the move.

    Raises:
        IllegalTransitionError: the ingestion's state does not allow the move.
        NotFoundError: there is no such ingestion.
    """
    values = {
        "ingestion": ingestion,
        "to_state": str(to),
        "from_states": [str(each) for each in TRANSITIONS[to]],
        **changes.values(),
    }
    moved = query_ingestion(connection, "move_ingestion", values)
    if moved is None:
        state = select_ingestion(connection, ingestion).state
        raise IllegalTransitionError(
            f"ingestion {ingestion} is {state}; only an ingestion in state"
            f" {' or '.join(TRANSITIONS[to])} can become {to}",
            state=str(state),
        )
    write_event(connection, moved, to, moved.sequence, project)
    return moved


def fail(connection: Connection, ingestion: int, error: SluiceError, project: str) -> None:
    """Move an ingestion to `failed` and record why.

    Raises:
        IllegalTransitionError: it ended before.
    """
    move(connection, ingestion, State.FAILED, project, Changes(problem=error))


def count_chunk(
    connection: Connection, ingestion: int, size_bytes: int, account: Account, project: str
) -> Ingestion | None:
    """Add a loaded chunk to its ingestion's account and write the event of it.

    The event of the last chunk is followed by that of the move to `publishing`.

    Returns:
        The ingestion after the change, or None when it no longer takes chunks.
    """
    values = {"ingestion": ingestion, "size_bytes": size_bytes, **account_values(account)}
    counted = query_ingestion(connection, "count_chunk", values)
    if counted is None:
        return None
    if counted.state == State.PUBLISHING:
        write_event(connection, counted, PROGRESS, counted.sequence - 1, project)
        write_event(connection, counted, State.PUBLISHING, counted.sequence, project)
    else:
        write_event(connection, counted, PROGRESS, counted.sequence, project)
    return counted


def count_observed(connection: Connection, ingestion: int, project: str) -> Ingestion | None:
    """Count an observed chunk and write the event of it.

    Returns:
        The ingestion after the change, or None when it no longer takes chunks.
    """
    counted = query_ingestion(connection, "count_observed", {"ingestion": ingestion})
    if counted is not None:
        write_event(connection, counted, PROGRESS, counted.sequence, project)
    return counted


def insert_receipt(
    connection: Connection, ingestion: int, chunk: int, account: Account, recovered: int = 0
) -> None:
    """Write the receipt of a chunk; a second one violates the constraint `receipts_pk`."""
    key = {"ingestion": ingestion, "chunk": chunk, "recovered": recovered}
    connection.execute(statement("insert_receipt"), {**key, **account_values(account)})


def account_values(account: Account) -> dict[str, int]:
    """Return an account under the names of its columns."""
    return {
        "records_read": account.read,
        "rows_loaded": account.loaded,
        "rows_rejected": account.rejected,
        "duplicates": account.duplicates,
    }


@dataclass(frozen=True)
class RecordedChunk:
    """A chunk in the database, and whether it has its receipt."""

    cut: Cut
    is_loaded: bool


def insert_chunk(connection: Connection, ingestion: int, cut: Cut) -> None:
    """Record a chunk, before its message is sent."""
    connection.execute(statement("insert_chunk"), {"ingestion": ingestion, **vars(cut)})


def select_chunks(connection: Connection, ingestion: int) -> list[RecordedChunk]:
    """Return the recorded chunks of an ingestion in the order of the file."""
    rows = connection.execute(statement("select_chunks"), {"ingestion": ingestion})
    return [
        RecordedChunk(
            Cut(
                row.number,
                row.first_byte,
                row.end_byte,
                row.first_line,
                row.first_record,
                row.records,
                row.lines,
            ),
            row.is_loaded,
        )
        for row in rows
    ]
