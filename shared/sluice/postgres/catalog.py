"""The declared datasets in the database: their declarations, parsed once, and the version readers see."""

from __future__ import annotations

import functools
import hashlib
import threading
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sluice.datasets.identifiers import NAME
from sluice.errors import DeclarationChangedError, NotFoundError, QueryRefusedError
from sluice.postgres.connection import run_plain, transaction
from sluice.postgres.dependencies import Dependencies, dependencies_from_json
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset, Query

_MAX_OLDER = 64
_PREPARED = "dataset_versions_named"


@dataclass(frozen=True)
class DatasetVersion:
    """A dataset as one snapshot of the database shows it to readers.

    Attributes:
        document: the declaration as it was given.
        freshness: grows with every change of what readers see.
        ingestion: the newest published ingestion.
        rows_loaded: rows that the published ingestions loaded, if they were counted.
        etag: differs whenever an answer made of this dataset, and of the others read with it, may
            differ; empty if such an answer may change while the datasets stay as they are.
        reads: the datasets that a query reads with this one; None where that is not known.
        reads_pii: whether the query may read a column with personal data.
    """

    dataset: Dataset
    document: dict[str, Any]
    origin: str
    freshness: int
    changed_at: datetime | None
    ingestion: int | None
    rows_loaded: int | None
    etag: str
    reads: tuple[str, ...] | None = None
    reads_pii: bool = True


class _Facts(NamedTuple):
    """A row of the statements on dataset versions, in the order of their columns."""

    name: str
    version: int
    origin: str
    declared_at: datetime
    freshness: int
    changed_at: datetime | None
    ingestion: int | None
    rows_loaded: int | None


@dataclass(frozen=True)
class Declaration:
    """A parsed declaration.

    Attributes:
        document: as it was given.
        dependencies: of each query, by name; a query that reads what is not declared yet, or that was stored
            before a rule that it breaks, has none, and is not answered.
    """

    version: int
    declared_at: datetime
    document: dict[str, Any]
    dataset: Dataset
    dependencies: Mapping[str, Dependencies]


class _Cache:
    """The newest known declaration of each dataset of each database; any thread may use it.

    Attributes:
        older: earlier versions, by dataset and version, which ingestions that began with them use.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: weakref.WeakKeyDictionary[Engine, dict[str, Declaration]] = (
            weakref.WeakKeyDictionary()
        )
        self._older: weakref.WeakKeyDictionary[Engine, dict[tuple[str, int], Dataset]] = (
            weakref.WeakKeyDictionary()
        )

    def find_older(self, engine: Engine, name: str, version: int) -> Dataset | None:
        with self._lock:
            return self._older.get(engine, {}).get((name, version))

    def keep_older(self, engine: Engine, dataset: Dataset) -> None:
        with self._lock:
            older = self._older.setdefault(engine, {})
            if len(older) >= _MAX_OLDER:
                older.clear()
            older[dataset.name, dataset.version] = dataset

    def find(self, engine: Engine, name: str) -> Declaration | None:
        with self._lock:
            return self._kept.get(engine, {}).get(name)

    def keep(self, engine: Engine, declaration: Declaration) -> None:
        with self._lock:
            self._kept.setdefault(engine, {})[declaration.dataset.name] = declaration


_cache = _Cache()


def cached_dataset(engine: Engine, name: str) -> Dataset | None:
    """Return the dataset as this process last read it; None when there is none.

    What it is used for must call `check_current` before it takes effect.

    Raises:
        DatabaseUnavailableError: try again later.
    """
    if not NAME.fullmatch(name):
        return None
    kept = _cache.find(engine, name)
    if kept is not None:
        return kept.dataset
    with transaction(engine) as connection:
        return read_dataset(connection, name)


def check_current(connection: Connection, dataset: Dataset) -> None:
    """Check that a dataset is declared as it was read; the cache is current afterwards.

    Args:
        connection: a transaction that holds the dataset's lock, so that it stays current.
        dataset: what was read.

    Raises:
        DeclarationChangedError: read it again.
    """
    current = read_dataset(connection, dataset.name)
    if current is None or current.version != dataset.version:
        raise DeclarationChangedError(dataset.name)


def dataset_of_version(connection: Connection, name: str, version: int | None) -> Dataset | None:
    """Return a dataset as one version declares it; None when there is none.

    Args:
        connection: a connection to the database.
        name: of the dataset.
        version: the version; None for the current one.
    """
    from sluice.datasets.declarations import parse_document  # noqa: PLC0415  # paid where first used

    if version is None:
        return read_dataset(connection, name)
    engine = connection.engine
    newest = _cache.find(engine, name)
    if newest is not None and newest.version == version:
        return newest.dataset
    if kept := _cache.find_older(engine, name, version):
        return kept
    values = {"dataset": name, "version": version}
    row = connection.execute(statement("select_declaration_version"), values).one_or_none()
    if row is None:
        return None
    dataset = parse_document({**row.declaration, "version": version})
    _cache.keep_older(engine, dataset)
    return dataset


def read_dataset(connection: Connection, name: str) -> Dataset | None:
    """Return the dataset of that name as it is declared now; None when there is none."""
    found = _current(connection, name)
    return None if found is None else found.dataset


def _current(connection: Connection, name: str) -> Declaration | None:
    row = connection.execute(statement("declared_version"), {"dataset": name}).one_or_none()
    if row is None:
        return None
    return _declaration(connection, row.name, row.version, row.declared_at)


def declarations(connection: Connection) -> list[Declaration]:
    """Return every current declaration."""
    rows = connection.execute(statement("list_declarations")).all()
    return [_declaration(connection, r.name, r.version, r.declared_at) for r in rows]


def declared_datasets(connection: Connection) -> list[Dataset]:
    """Return every declared dataset, without its freshness."""
    return [each.dataset for each in declarations(connection)]


def dataset_versions(connection: Connection) -> list[DatasetVersion]:
    """Return every declared dataset, with its rows counted."""
    rows = connection.execute(statement("list_dataset_versions"), {"dataset": None})
    return [_version(connection, row, [row]) for row in rows.all()]


def dataset_version(
    connection: Connection, name: str, *, has_counts: bool = False
) -> DatasetVersion:
    """Return a declared dataset, with its rows counted if asked for.

    Raises:
        NotFoundError: there is none of that name.
    """
    rows: Sequence[Any]
    if has_counts:
        rows = connection.execute(statement("list_dataset_versions"), {"dataset": name}).all()
    else:
        rows = _named(connection, (name,))
    return _version(connection, _one(rows, name), rows)


def version_for_query(
    connection: Connection, name: str, query: str
) -> tuple[DatasetVersion, Query | None]:
    """Return a declared dataset and its query of a name; the etag covers all that the query reads.

    The query determines the datasets; those of a query that was answered before are read together.

    Raises:
        NotFoundError: there is no dataset of that name.
        QueryRefusedError: the query is not known to be safe.
    """
    names = _names_of().get((name, query), ())
    while True:
        rows = _named(connection, (name, *names))
        row = _one(rows, name)
        found = _declaration(connection, row.name, row.version, row.declared_at)
        dependencies = found.dependencies.get(query)
        reads = dependencies.datasets if dependencies else ()
        if reads == names:
            version = _version(connection, row, rows)
            asked = found.dataset.query(query)
            if dependencies is None and asked is not None:
                raise QueryRefusedError(name, query)
            if dependencies is None or not dependencies.is_cacheable:
                version = replace(version, etag="")
            if dependencies is not None:
                reads_pii = _reads_pii(connection, dependencies, rows)
                version = replace(version, reads=dependencies.datasets, reads_pii=reads_pii)
            return version, asked
        names = _names_of()[name, query] = reads


def _reads_pii(connection: Connection, dependencies: Dependencies, rows: Sequence[_Facts]) -> bool:
    """Return whether a query may read a column that holds personal data by the current declarations."""
    declared = (_declaration(connection, r.name, r.version, r.declared_at).dataset for r in rows)
    return any(dependencies.reads_any(each.name, each.pii_fields) for each in declared)


def _one(rows: Sequence[Any], name: str) -> Any:
    for row in rows:
        if row.name == name:
            return row
    raise NotFoundError(f"there is no dataset {name}; GET /v1/datasets lists them")


def _named(connection: Connection, names: tuple[str, ...]) -> list[_Facts]:
    """Return the facts of the datasets of these names.

    Every request asks for them, so the statement is prepared once on each connection: to plan it
    takes longer than to run it.
    """
    if _PREPARED not in connection.info:
        sql = str(statement(_PREPARED)).replace(":names", "$1").rstrip(";")
        run_plain(connection, f"PREPARE {_PREPARED} (text[]) AS {sql}")
        connection.info[_PREPARED] = True
    found = run_plain(connection, f"EXECUTE {_PREPARED} ({names_literal(names)})")
    return [_Facts(*each) for each in found.rows]


@functools.lru_cache(maxsize=1024)
def names_literal(names: tuple[str, ...]) -> str:
    """Return names as the literal of an array, without texts that are no valid names."""
    return "'{" + ",".join(f'"{name}"' for name in names if NAME.fullmatch(name)) + "}'"


@functools.cache
def _names_of() -> dict[tuple[str, str], tuple[str, ...]]:
    return {}


def _etag(rows: Sequence[Any]) -> str:
    """Return a short text that differs where a declaration, or what readers see, differs."""
    facts = [(r.name, r.version, r.declared_at, r.freshness, r.changed_at) for r in rows]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def _version(connection: Connection, row: Any, rows: Sequence[Any]) -> DatasetVersion:
    declaration = _declaration(connection, row.name, row.version, row.declared_at)
    return DatasetVersion(
        dataset=declaration.dataset,
        document=declaration.document,
        origin=row.origin,
        freshness=row.freshness,
        changed_at=row.changed_at,
        ingestion=row.ingestion,
        rows_loaded=row.rows_loaded,
        etag=_etag(rows),
    )


def _declaration(
    connection: Connection, name: str, version: int, declared_at: datetime
) -> Declaration:
    """Return the declaration that the connection sees as the current one."""
    from sluice.datasets.declarations import parse_document  # noqa: PLC0415  # paid where first used

    kept = _cache.find(connection.engine, name)
    if kept is not None and (kept.version, kept.declared_at) == (version, declared_at):
        return kept
    row = connection.execute(statement("select_declaration"), {"dataset": name}).one()
    found = Declaration(
        version=version,
        declared_at=declared_at,
        document=row.declaration,
        dataset=parse_document({**row.declaration, "version": version}),
        dependencies=dependencies_from_json(row.dependencies),
    )
    _cache.keep(connection.engine, found)
    return found
