"""Puts a declared dataset into the database: its tables, its reader views, its document."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.datasets import identifiers
from sluice.datasets.declarations import parse_document
from sluice.datasets.identifiers import quote
from sluice.datasets.model import (
    INGESTION_COLUMN,
    SEGMENT_COLUMN,
    UNCOMPACTED,
    Dataset,
    Field,
    Projection,
    Rollup,
)
from sluice.datasets.types import STORED_TYPES
from sluice.errors import DeclarationError
from sluice.parsing.parser import rollup_types
from sluice.postgres.catalog import declarations
from sluice.postgres.connection import refusals, run_script, transaction
from sluice.postgres.dependencies import (
    Dependencies,
    UndeclaredRelationError,
    dependencies_from_json,
    dependencies_to_json,
    find_dependencies,
    published_views,
)
from sluice.postgres.merge_sql import Merging
from sluice.postgres.named_sql import statement
from sluice.postgres.storage_sql import projection_rows, stored_type

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


def declare(engine: Engine, document: Mapping[str, Any], *, origin: str) -> bool:
    """Declare a dataset, or change it; tell whether anything changed.

    A change may add columns, queries and roll-ups or alter rules. One that would lose stored values
    (a column gone, or of another type), or give stored rows another key, is refused.

    Args:
        engine: the database.
        document: the JSON document, see `sluice.datasets.declarations`.
        origin: `folder`, `api` or `inferred`.

    Raises:
        DeclarationError: the document is wrong, or would lose stored values.
    """
    with transaction(engine) as connection:
        return declare_within(connection, document, origin=origin)


def declare_within(
    connection: Connection,
    document: Mapping[str, Any],
    *,
    origin: str,
    has_table: bool = False,
    is_last: bool = True,
) -> bool:
    """Declare a dataset inside the caller's transaction; see `declare`.

    Args:
        connection: an open transaction.
        document: the JSON document.
        origin: as for `declare`, or `restored`.
        has_table: the stored table of a new dataset exists already.
        is_last: whether everything that its queries read is declared; otherwise the caller declares
            more and calls `check_queries`.
    """
    dataset = parse_document(document)
    key = {"dataset": dataset.name}
    connection.execute(statement("lock_dataset"), key)
    connection.execute(statement("lock_declarations"))
    others = [each for each in declarations(connection) if each.dataset.name != dataset.name]
    known = connection.execute(statement("select_declaration"), key).one_or_none()
    body = {name: value for name, value in document.items() if name != "version"}
    is_changed = known is None or known.declaration != body
    if is_changed:
        _check_aliases(dataset, [each.dataset for each in others])
        if known is None and not has_table:
            run_script(connection, dataset.table_sql or table_sql(dataset))
        if known is not None and tuple(known.declaration.get("key", ())) != dataset.key:
            _check_empty(connection, dataset)
        _make_tables(connection, dataset)
        _make_projections(connection, dataset, known.declaration if known else {}, body)
    _make_views(connection, dataset)
    owners = published_views([dataset, *(each.dataset for each in others)])
    found = {}
    if known is not None and not is_changed:
        found = dependencies_from_json(known.dependencies)
    found, errors = _find_missing(connection, dataset, found, owners)
    for error in errors:
        if is_last or not isinstance(error, UndeclaredRelationError):
            raise error
    if is_changed:
        written = {"origin": origin, "declaration": json.dumps(body)}
        connection.execute(
            statement("upsert_declaration"),
            {**key, **written, "dependencies": dependencies_to_json(found)},
        )
    else:
        _update_dependencies(connection, dataset, found)
    for each in others:
        kept = {q: d for q, d in each.dependencies.items() if dataset.name not in d.datasets}
        found, _ = _find_missing(connection, each.dataset, kept, owners)
        _update_dependencies(connection, each.dataset, found)
    return is_changed


def check_queries(connection: Connection, datasets: Collection[str]) -> None:
    """Check that everything that the queries of these datasets read is declared.

    Raises:
        DeclarationError: names the query's file, and what is missing.
    """
    found = declarations(connection)
    owners = published_views(each.dataset for each in found)
    for each in found:
        if each.dataset.name in datasets:
            for error in _find_missing(connection, each.dataset, each.dependencies, owners)[1]:
                raise error


def _find_missing(
    connection: Connection,
    dataset: Dataset,
    known: Mapping[str, Dependencies],
    owners: Mapping[str, str],
) -> tuple[dict[str, Dependencies], list[DeclarationError]]:
    """Return the dependencies of each query of a dataset, and the errors of queries without any."""
    found, errors = dict(known), []
    for query in dataset.queries:
        if query.name not in found:
            try:
                found[query.name] = find_dependencies(connection, query, owners)
            except DeclarationError as error:
                errors.append(error)
    return found, errors


def _update_dependencies(
    connection: Connection, dataset: Dataset, found: Mapping[str, Dependencies]
) -> None:
    connection.execute(
        statement("update_dependencies"),
        {"dataset": dataset.name, "dependencies": dependencies_to_json(found)},
    )


def _check_aliases(dataset: Dataset, others: Iterable[Dataset]) -> None:
    """Refuse a route that another dataset serves."""
    taken = {alias.place: each.name for each in others for alias in each.aliases}
    for alias in dataset.aliases:
        if alias.place in taken:
            key = f'aliases."{alias.route}"'
            raise DeclarationError(f"dataset {taken[alias.place]} serves this route", key=key)


def _make_tables(connection: Connection, dataset: Dataset) -> None:
    tables = [dataset.name]
    if dataset.is_staged:
        for each in Merging(dataset).tables():
            run_script(connection, each)
        tables += [
            f"{dataset.name}__staging",
            *([f"{dataset.name}__replaced"] if dataset.key else []),
        ]
    for table in tables:
        _check_columns(connection, dataset, table)
    if dataset.key:
        _make_key(connection, dataset)
    for each in (*dictionary_sql(dataset), *_rollup_tables(dataset)):
        run_script(connection, each)


def _make_projections(
    connection: Connection,
    dataset: Dataset,
    before: Mapping[str, Any],
    document: Mapping[str, Any],
) -> None:
    """Make the tables of the projections anew where any changed; they are filled in the background."""
    old, new = (each.get("projections", {}) for each in (before, document))
    if old == new:
        return
    connection.execute(statement("delete_segments"), {"dataset": dataset.name})
    for name in {*old, *(each.name for each in dataset.projections)}:
        table = identifiers.rollup_table(dataset.name, name)
        run_script(connection, f"DROP TABLE IF EXISTS {table} CASCADE")
    for each in dataset.projections:
        for sql in projection_sql(dataset, each):
            with refusals(partial(DeclarationError, file=f"projections/{each.name}.sql")):
                run_script(connection, sql)
        _check_projection(connection, dataset, each)


def _check_projection(connection: Connection, dataset: Dataset, projection: Projection) -> None:
    found = _columns_of(connection, f"{dataset.name}__{projection.name}")
    wanted = {*projection.columns, SEGMENT_COLUMN}
    if wanted != set(found):
        listed = ", ".join(sorted(wanted ^ set(found)))
        raise DeclarationError(
            f"{listed}: the line `columns` lists every column of the result, and no other",
            file=f"projections/{projection.name}.sql",
            key="columns",
        )


def _check_empty(connection: Connection, dataset: Dataset) -> None:
    """Refuse another key for rows that were loaded without it."""
    table = identifiers.store_table(dataset.name)
    if connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {table})").scalar():
        raise DeclarationError(
            "the table holds rows that were loaded under another key; declare a new dataset",
            key="key",
        )


def _make_key(connection: Connection, dataset: Dataset) -> None:
    """Have PostgreSQL keep the key unique."""
    facts = {"table": dataset.name, "columns": sorted(dataset.key)}
    if not connection.scalar(statement("has_unique_key"), facts):
        run_script(connection, Merging(dataset).key_sql())


def _make_views(connection: Connection, dataset: Dataset) -> None:
    """Make the reader views anew; a newer engine may give them more columns."""
    for each in view_sql(dataset):
        run_script(connection, each)


def _columns_of(connection: Connection, table: str) -> dict[str, str]:
    rows = connection.execute(statement("columns_of_store_table"), {"table": table})
    return {row.name: row.type for row in rows}


def _check_columns(connection: Connection, dataset: Dataset, name: str) -> None:
    """Add the columns that are new, and refuse a table that lacks or retypes one."""
    found = _columns_of(connection, name)
    for each in dataset.fields:
        wanted = stored_type(each)
        if each.name not in found:
            connection.exec_driver_sql(
                f"ALTER TABLE {identifiers.store_table(name)} ADD COLUMN {quote(each.name)} {wanted}"
            )
        elif found[each.name] != (STORED_TYPES[wanted].full_name or wanted):
            raise DeclarationError(
                f"the table stores {each.name} as {found[each.name]}, the declaration asks for "
                f"{wanted}; declare a new dataset or migrate the table first",
                file="table.sql",
                key=each.name,
            )
    if INGESTION_COLUMN not in found:
        raise DeclarationError(
            f"the table has no column {INGESTION_COLUMN} integer NOT NULL", file="table.sql"
        )


def table_sql(dataset: Dataset) -> str:
    """Return the table of a dataset whose folder has no `table.sql`."""
    lines = [f"    {INGESTION_COLUMN} integer NOT NULL"]
    for each in dataset.fields:
        null = "" if each.nullable else " NOT NULL"
        lines.append(f"    {quote(each.name)} {stored_type(each)}{null}")
    if dataset.key:
        keys = ", ".join(quote(each) for each in dataset.key)
        lines.append(f"    CONSTRAINT {quote(dataset.name + '_pk')} PRIMARY KEY ({keys})")
    columns = ",\n".join(lines)
    return f"CREATE TABLE {identifiers.store_table(dataset.name)} (\n{columns}\n)"


def dictionary_sql(dataset: Dataset) -> Iterator[str]:
    """Yield the tables of the dataset's dictionary columns: a code for each text."""
    for each in dataset.dictionaries:
        table = identifiers.dictionary_table(dataset.name, each.name)
        name = f"{dataset.name}__{each.name}"
        yield (
            f"CREATE TABLE IF NOT EXISTS {table} (\n"
            f"    code smallint GENERATED ALWAYS AS IDENTITY CONSTRAINT {quote(name + '_pk')} PRIMARY KEY,\n"
            f"    text text NOT NULL CONSTRAINT {quote(name + '_text_once')} UNIQUE\n)"
        )


def _rollup_tables(dataset: Dataset) -> Iterator[str]:
    """Yield the tables of the roll-ups: parts by ingestion, merged when it is published."""
    for rollup in dataset.rollups:
        types = _types(dataset, rollup)
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
        table = identifiers.rollup_table(dataset.name, rollup.name)
        name = f"{dataset.name}__{rollup.name}"
        yield f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {INGESTION_COLUMN} integer NOT NULL)"
        indexes = ((INGESTION_COLUMN,), *rollup.indexes)
        for index in indexes:
            columns = ", ".join(quote(each) for each in index)
            index_name = quote(f"{name}_{'_'.join(index)}")
            yield f"CREATE INDEX IF NOT EXISTS {index_name} ON {table} ({columns})"


def projection_sql(dataset: Dataset, projection: Projection) -> Iterator[str]:
    """Yield what makes the table of a projection, empty.

    Lists are not compressed, and lie in the row as long as that fits a page: who reads a row reads them.
    """
    name = f"{dataset.name}__{projection.name}"
    table = identifiers.rollup_table(dataset.name, projection.name)
    rows = projection_rows(dataset, "false")
    made = f"SELECT * FROM ({projection.sql}) AS made"
    yield f"CREATE TABLE {table} AS WITH rows AS ({rows}) {made} WITH NO DATA"
    yield f"ALTER TABLE {table} ADD COLUMN {SEGMENT_COLUMN} integer NOT NULL"
    yield f"ALTER TABLE {table} SET (toast_tuple_target = 8160)"
    yield (
        "DO $$ DECLARE one name; BEGIN FOR one IN SELECT attname FROM pg_attribute"
        " JOIN pg_type ON pg_type.oid = atttypid"
        f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND typcategory = 'A'"
        f" LOOP EXECUTE format('ALTER TABLE {table} ALTER %I SET STORAGE EXTERNAL', one); END LOOP; END $$"
    )
    for index in projection.indexes:
        columns = ", ".join(quote(each) for each in index)
        index_name = quote(f"{name}_{'_'.join(index)}")
        yield f"CREATE INDEX {index_name} ON {table} ({columns})"


def _types(dataset: Dataset, rollup: Rollup) -> dict[str, str]:
    file = f"rollups/{rollup.name}.sql"
    try:
        types = rollup_types(dataset, rollup)
    except KeyError as error:
        raise DeclarationError(
            f"a column has type {error}, which is not stored", file=file
        ) from None
    except Exception as error:  # DuckDB's errors have no base class that says "this SQL is wrong"
        raise DeclarationError(str(error), file=file) from error
    missing = {*rollup.keys, *(name for name, _ in rollup.measures)} ^ set(types)
    if missing:
        raise DeclarationError(
            f"{', '.join(sorted(missing))}: name each column of the result as key or measure",
            file=file,
        )
    return types


def view_sql(dataset: Dataset) -> Iterator[str]:
    """Yield the views that readers use: published rows and roll-ups, dictionaries spelled out."""
    stored = {each.name: each for each in dataset.fields}
    fields = list(dataset.fields)
    table = identifiers.store_table(dataset.name)
    yield from _view(dataset, identifiers.view(dataset.name), table, fields, place=True)
    for rollup in dataset.rollups:
        names = (*rollup.keys, *(name for name, _ in rollup.measures))
        plain = [stored.get(name) or Field(name, "", nullable=True) for name in names]
        yield from _view(
            dataset,
            identifiers.view(dataset.name, rollup.name),
            identifiers.rollup_table(dataset.name, rollup.name),
            plain,
        )
    for projection in dataset.projections:
        yield from _projection_view(dataset, projection)
    if dataset.projections:
        yield f"DROP VIEW IF EXISTS {identifiers.view(dataset.name, UNCOMPACTED)}"
        yield (
            f"CREATE VIEW {identifiers.view(dataset.name, UNCOMPACTED)} AS SELECT {INGESTION_COLUMN}"
            f" FROM sluice.publications WHERE dataset = '{dataset.name}' AND segment IS NULL"
        )


def _view(
    dataset: Dataset,
    view: str,
    table: str,
    fields: list[Field],
    *,
    place: bool = False,
) -> Iterator[str]:
    """Yield a view of published rows.

    With `place` it shows where a row is stored, by which equal rows can be told apart.
    """
    selected, joins = _spelled_out(dataset, fields)
    shown = ", stored.ctid AS _place" if place else ""
    yield f"DROP VIEW IF EXISTS {view}"
    yield (
        f"CREATE VIEW {view} AS\nSELECT {', '.join(selected)}, stored.{INGESTION_COLUMN}{shown}\n"
        f"FROM {table} AS stored\n"
        f"JOIN sluice.publications ON publications.ingestion = stored.{INGESTION_COLUMN}\n"
        + "\n".join(joins)
    )


def _projection_view(dataset: Dataset, projection: Projection) -> Iterator[str]:
    """Yield the view of a projection's complete segments.

    Its conditions cost next to nothing a row, for a search reads some rows at a time: the segments
    are found once, and a dictionary is joined only where its text is asked for.
    """
    stored = {each.name: each for each in dataset.fields}
    fields = [
        replace(stored.get(name) or Field(name, "", nullable=True), nullable=True)
        for name in projection.columns
    ]
    selected, joins = _spelled_out(dataset, fields)
    view = identifiers.view(dataset.name, projection.name)
    segments = (
        f"SELECT id FROM sluice.segments WHERE dataset = '{dataset.name}'"
        " AND compacted_at IS NOT NULL AND retired_at IS NULL"
    )
    yield f"DROP VIEW IF EXISTS {view}"
    yield (
        f"CREATE VIEW {view} AS\nSELECT {', '.join(selected)}\n"
        f"FROM {identifiers.rollup_table(dataset.name, projection.name)} AS stored\n"
        + "\n".join(joins)
        + f"\nWHERE stored.{SEGMENT_COLUMN} = ANY (ARRAY({segments}))"
    )


def _spelled_out(dataset: Dataset, fields: Iterable[Field]) -> tuple[list[str], list[str]]:
    """Return the select list of a view over `stored`, and the joins that give texts for codes."""
    selected, joins = [], []
    for each in fields:
        name = quote(each.name)
        if each.dictionary:
            texts = quote(f"texts_{each.name}")
            source = identifiers.dictionary_table(dataset.name, each.name)
            join = "LEFT JOIN" if each.nullable else "JOIN"
            joins.append(f"{join} {source} AS {texts} ON {texts}.code = stored.{name}")
            selected.append(f"{texts}.text AS {name}")
        else:
            selected.append(f"stored.{name}")
    return selected, joins
