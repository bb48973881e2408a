"""The use case of deciding: merges what loaders observed in a file, and declares or widens its dataset.

The chunks are loaded after that. Everything is one transaction but the messages of the chunks; a second
delivery finds the decision and sends the chunks that are not loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sluice.csv.dialects import Dialect
from sluice.documents.ingestions import State
from sluice.inference.detection.dialects import Evidence
from sluice.inference.evolution import evolved
from sluice.inference.inferred import infer_declaration
from sluice.inference.typing.observations import Observations, merge_all
from sluice.ingestion.dispatch import publish_chunks
from sluice.ingestion.failures import Step, attempt
from sluice.ingestion.ingestions import lock_ingestion, query_ingestion, select_chunks
from sluice.ingestion.opening import OBSERVING
from sluice.ingestion.outbox import relay
from sluice.ingestion.sources import recorded_source
from sluice.parsing.layout import check_header, lay_out_names, sheet_json
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare_within
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment


def decide_types(env: Environment, ingestion: int, delivery: int = 1) -> None:
    """Decide the types of a file that is observed completely, and send its chunks to be loaded.

    Args:
        env: settings `project`, `outbox`, and those of `attempt`.
        ingestion: in state `loading`; nothing is done in any other state.
        delivery: how often the message was delivered.

    Raises:
        TransientError: deliver the message again.
    """
    step = Step(ingestion, "inference", delivery, (State.LOADING,))
    attempt(env, step, lambda: _decide(env, ingestion))
    relay(env.engine, env.publisher, ingestion)


def _decide(env: Environment, number: int) -> None:
    with transaction(env.engine) as connection:
        ingestion = lock_ingestion(connection, number)
        if ingestion is None or ingestion.state != State.LOADING:
            return
        if ingestion.is_observing:
            if not ingestion.is_observed:
                return
            ingestion = _declare(connection, ingestion)
        chunks = select_chunks(connection, number)
    source = recorded_source(env.storage, ingestion, env.settings.outbox)
    missing = [each.cut for each in chunks if not each.is_loaded]
    publish_chunks(env.publisher, ingestion, source, missing)


def _declare(connection: Connection, ingestion: Ingestion) -> Ingestion:
    """Declare what was observed, or check it against what is declared; return the ingestion after that."""
    name, layout = ingestion.dataset or "", dict(ingestion.layout or {})
    key = {"dataset": name}
    names = layout["names"] if layout["dialect"]["header"] else None
    observations = _observations(connection, ingestion.id)
    connection.execute(statement("become_owner"))
    connection.execute(statement("lock_dataset"), key)
    current = read_dataset(connection, name)
    if current is not None and names is not None:  # another file may have been the first meanwhile
        check_header(current, names, Dialect.from_json(layout["dialect"]))
    if current is None:
        inferred = infer_declaration(name, _Recorded.of(layout), names, observations)
        declare_within(connection, inferred.document, origin="inferred", toml=inferred.toml)
    elif document := evolved(_document(connection, name), current, names, observations):
        connection.execute(statement("lock_columns"), key)
        declare_within(connection, document, origin=_origin(connection, name), widens=True)
        _move_others(connection, ingestion, current)
    dataset = read_dataset(connection, name)
    assert dataset is not None  # noqa: S101  # declared above, under its lock
    return _store(connection, ingestion, dataset, names, layout)


@dataclass(frozen=True)
class _Recorded:
    """The dialect as split detected it."""

    dialect: Dialect
    evidence: Sequence[Evidence]
    warnings: Sequence[str]

    @classmethod
    def of(cls, layout: Mapping[str, Any]) -> Self:
        evidence = [Evidence(*each) for each in layout["evidence"]]
        return cls(Dialect.from_json(layout["dialect"]), evidence, layout["warnings"])


def _observations(connection: Connection, ingestion: int) -> Observations:
    merged = merge_all(_parts(connection, ingestion))
    connection.execute(statement("delete_observations"), {"ingestion": ingestion})
    return merged


def _parts(connection: Connection, ingestion: int) -> Iterator[Observations]:
    """Yield what the chunks of a file may be, of which only a few are in memory."""
    values = {"ingestion": ingestion, "chunk": -1}
    while rows := connection.execute(statement("select_observations"), values).all():
        yield from (Observations.from_json(each.observations) for each in rows)
        values["chunk"] = rows[-1].chunk


def _document(connection: Connection, name: str) -> Mapping[str, Any]:
    found = connection.execute(statement("select_declaration"), {"dataset": name}).one()
    return {"name": name, **found.declaration}


def _origin(connection: Connection, name: str) -> str:
    return str(connection.scalar(statement("origin_of_dataset"), {"dataset": name}))


def _move_others(connection: Connection, ingestion: Ingestion, before: Dataset) -> None:
    """Let the other unfinished ingestions follow the new declaration, which takes all that theirs takes."""
    dataset = read_dataset(connection, before.name)
    assert dataset is not None  # noqa: S101  # declared above, under its lock
    absent = [None] * (len(dataset.columns) - len(before.columns))
    values = {
        "dataset": dataset.name,
        "ingestion": ingestion.id,
        "declaration_version": dataset.version,
        "absent": jsonb(absent),
    }
    connection.execute(statement("follow_declaration"), values)


def _store(
    connection: Connection,
    ingestion: Ingestion,
    dataset: Dataset,
    names: Sequence[str] | None,
    observed: Mapping[str, Any],
) -> Ingestion:
    dialect = Dialect.from_json(observed["dialect"])
    layout = lay_out_names(dataset, names, dialect, is_detected=observed["is_detected"])
    kept = {name: each for name, each in observed.items() if name not in OBSERVING}
    warnings = [
        {"rule": "dialect", "column": None, "rows": 0, "message": each}
        for each in observed["warnings"]
    ]
    document = {**kept, **layout.to_json()}
    if observed.get("sheet"):
        document |= sheet_json(observed["sheet"], observed["letters"], dataset, document)
    values = {
        "ingestion": ingestion.id,
        "layout": jsonb(document),
        "declaration_version": dataset.version,
        "warnings": jsonb(warnings),
    }
    stored = query_ingestion(connection, "store_decision", values)
    assert stored is not None  # noqa: S101  # it is locked
    return stored
