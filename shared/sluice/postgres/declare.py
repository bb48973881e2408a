"""Declares datasets: creates their tables and views, and stores their documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.access.audit import SYSTEM, record
from sluice.datasets import identifiers
from sluice.datasets.declaration_size import check_size
from sluice.datasets.declarations import parse_document
from sluice.datasets.identifiers import quote
from sluice.datasets.model import (
    INGESTION_COLUMN,
    SEGMENT_COLUMN,
    Column,
    Dataset,
    Projection,
    Rollup,
)
from sluice.datasets.types import STORED_TYPES, WIDER
from sluice.errors import DeclarationError
from sluice.parsing.duckdb_sql import refuse_unsafe_sql
from sluice.parsing.parser import rollup_types, try_bound, try_cluster, try_rules
from sluice.parsing.plan import Plan, compile_dataset
from sluice.postgres.box_counts_sql import function_names
from sluice.postgres.catalog import declarations
from sluice.postgres.connection import refusals, run_script, transaction
from sluice.postgres.dependencies import (
    Dependencies,
    UndeclaredRelationError,
    check_projection,
    dependencies_from_json,
    dependencies_to_json,
    find_dependencies,
    published_views,
)
from sluice.postgres.merge_sql import MergeStatements
from sluice.postgres.named_sql import statement
from sluice.postgres.names import check_names
from sluice.postgres.rollup_sql import rollup_sql
from sluice.postgres.storage_sql import (
    dictionary_sql,
    projection_sql,
    table_sql,
    view_sql,
)
from sluice.postgres.table_declarations import make_declared_table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


#: Rules that are tested by one query: some, as each costs time for each column that the others read.
_TESTED_RULES = 64


def declare(
    engine: Engine, document: Mapping[str, Any], *, origin: str, actor: str = SYSTEM
) -> bool:
    """Declare a dataset or a new version of it; return whether anything changed.

    A change may add columns, queries and roll-ups or alter rules. One that would lose stored values
    (a column gone, or of another type), or give stored rows another key, is refused.

    Args:
        engine: the database.
        document: the JSON document, see `sluice.datasets.declarations`.
        origin: `folder`, `api` or `inferred`.
        actor: who declares it, for the audit log.

    Raises:
        DeclarationError: the document is wrong, or would lose stored values.
    """
    with transaction(engine) as connection:
        return declare_within(connection, document, origin=origin, actor=actor)


def _parse(document: Mapping[str, Any], origin: str) -> Dataset:
    """Check a declaration, and its size unless it was declared before and is restored."""
    if origin != "restored":
        check_size(document)
    return parse_document(document)


def declare_within(
    connection: Connection,
    document: Mapping[str, Any],
    *,
    origin: str,
    has_table: bool = False,
    is_last: bool = True,
    widens: bool = False,
    toml: str = "",
    actor: str = SYSTEM,
) -> bool:
    """Declare a dataset inside the caller's transaction; see `declare`.

    Args:
        connection: an open transaction.
        document: the JSON document.
        origin: as for `declare`, or `restored`.
        has_table: the stored table of a new dataset exists already.
        is_last: whether everything that its queries read is declared; otherwise the caller declares
            more and calls `check_queries`.
        widens: columns may get a wider type; the caller has locked the dataset's columns.
        toml: the document as a `dataset.toml` with comments, if it was inferred.
        actor: who declares it, for the audit log.
    """
    dataset = _parse(document, origin)
    key = {"dataset": dataset.name}
    connection.execute(statement("lock_dataset"), key)
    connection.execute(statement("lock_declarations"))
    every = declarations(connection)
    others = [each for each in every if each.dataset.name != dataset.name]
    known = connection.execute(statement("select_declaration"), key).one_or_none()
    body = {name: value for name, value in document.items() if name != "version"}
    is_changed = known is None or known.declaration != body
    if is_changed:
        _check_rules(dataset)
        _check_aliases(dataset, [each.dataset for each in others])
        is_new = known is None and not has_table
        before = next((d.dataset for d in every if d.dataset.name == dataset.name), None)
        made = dataset if has_table else before
        check_names(connection, dataset, made, [each.dataset for each in others])
        if known is not None and before is not None:
            _rename(connection, before, dataset)
            has_key = tuple(known.declaration.get("key", ())) == dataset.key
            is_new = _prepare_change(connection, dataset, has_key=has_key, is_checked=widens)
            if not is_new and has_key:
                _allow_nulls(connection, before, dataset)
        if is_new:
            _make_table(connection, dataset)
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
        written = {"origin": origin, "declaration": json.dumps(body), "toml": toml}
        connection.execute(
            statement("upsert_declaration"),
            {**key, **written, "dependencies": dependencies_to_json(found)},
        )
        record(
            connection,
            actor,
            "dataset.declare",
            dataset=dataset.name,
            details={"origin": origin, "is_new": known is None},
        )
    else:
        _update_dependencies(connection, dataset, found)
    for each in others:
        kept = {q: d for q, d in each.dependencies.items() if dataset.name not in d.datasets}
        found, _ = _find_missing(connection, each.dataset, kept, owners)
        _update_dependencies(connection, each.dataset, found)
    return is_changed


def check_queries(connection: Connection, datasets: Collection[str]) -> list[str]:
    """Check every query that is not known to be safe, as after a migration that added rules.

    Args:
        connection: an open transaction.
        datasets: those whose queries must be right; the others were declared by users.

    Returns:
        The errors of queries of other datasets, which are not answered until they are declared again.

    Raises:
        DeclarationError: names the query's file, and what is wrong.
    """
    every = declarations(connection)
    owners = published_views(each.dataset for each in every)
    refused = []
    for each in every:
        found, errors = _find_missing(connection, each.dataset, each.dependencies, owners)
        for error in errors:
            if each.dataset.name in datasets:
                raise error
            refused.append(f"{each.dataset.name}/{error.detail}")
        _update_dependencies(connection, each.dataset, found)
    return refused


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


def _prepare_change(
    connection: Connection, dataset: Dataset, *, has_key: bool, is_checked: bool
) -> bool:
    """Prepare stored tables for columns of other types, or another key.

    Returns:
        Whether the tables are gone, because they had no rows that anybody may still read.

    Raises:
        DeclarationError: they have rows that do not fit the declaration.
    """
    has_types = not _changed_types(connection, dataset, dataset.name)
    if has_types and has_key:
        return False
    key = {"dataset": dataset.name}
    if not connection.scalar(statement("has_rows_to_keep"), key):
        _drop_tables(connection, dataset)
        return True
    if not has_key:
        _check_empty(connection, dataset)
    if not is_checked:
        connection.execute(statement("lock_columns"), key)
        if connection.scalar(statement("is_loading"), key):
            raise DeclarationError(
                "files of the dataset are being loaded with other types; declare it when they are done",
                key="columns",
            )
    _widen(connection, dataset)
    return False


def _rename(connection: Connection, before: Dataset, dataset: Dataset) -> None:
    """Rename stored columns whose header has another name now.

    Raises:
        DeclarationError: files are being loaded, or something else is made of a column.
    """
    columns = _renamed(before, dataset)
    if not columns:
        return
    _check_renames(connection, before, columns)
    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {identifiers.view(dataset.name)}")
    for table in _tables(before):
        found = _columns_of(connection, table)
        for old, new in columns:
            for field, renamed in zip(old.fields, new.fields, strict=True):
                if renamed.name in found:
                    raise DeclarationError(
                        "the table has the values of an earlier column of this name; take another name",
                        key=new.name,
                    )
                connection.exec_driver_sql(
                    f"ALTER TABLE {identifiers.store_table(table)}"
                    f" RENAME COLUMN {quote(field.name)} TO {quote(renamed.name)}"
                )


def _renamed(before: Dataset, dataset: Dataset) -> list[tuple[Column, Column]]:
    """Return the columns that have another name now: by their header, or without one by their place."""
    names, were = ({each.name for each in d.columns} for d in (dataset, before))
    added = [(at, each) for at, each in enumerate(dataset.columns) if each.name not in were]
    pairs = []
    for at, old in enumerate(before.columns):
        if old.name in names:
            continue
        is_numbered = (old.name, old.headers) == (f"column_{at + 1}", (f"column_{at + 1}",))
        has_places = is_numbered and len(before.columns) == len(dataset.columns)
        headers = {each.casefold() for each in old.headers}
        found = [
            new
            for place, new in added
            if len(new.fields) == len(old.fields)
            and (
                headers & {each.casefold() for each in new.headers} or (has_places and place == at)
            )
        ]
        if len(found) == 1:
            pairs.append((old, found[0]))
    return pairs


def _check_renames(
    connection: Connection, before: Dataset, columns: Sequence[tuple[Column, Column]]
) -> None:
    """Refuse new names of columns on which something else depends."""
    key = columns[0][1].name
    connection.execute(statement("lock_columns"), {"dataset": before.name})
    if connection.scalar(statement("is_loading"), {"dataset": before.name}):
        raise DeclarationError(
            "files of the dataset are being loaded under the old name; declare it when they are done",
            key=key,
        )
    is_dictionary = any(old.dictionary for old, _ in columns)
    if before.rollups or before.projections or is_dictionary:
        raise DeclarationError(
            "roll-ups, projections or a dictionary depend on the old name of the column; keep it, or declare"
            " a new dataset",
            key=key,
        )


def _allow_nulls(connection: Connection, before: Dataset, dataset: Dataset) -> None:
    """Let stored columns be null that are no longer required, or no longer declared."""
    required = {each.name for each in dataset.fields if not each.nullable}
    for table in _tables(before):
        found = _columns_of(connection, table)
        for each in before.fields:
            if each.name in found and not each.nullable and each.name not in required:
                connection.exec_driver_sql(
                    f"ALTER TABLE {identifiers.store_table(table)}"
                    f" ALTER COLUMN {quote(each.name)} DROP NOT NULL"
                )


def _changed_types(connection: Connection, dataset: Dataset, table: str) -> dict[str, str]:
    """Return the types that stored columns must have and have not, by column."""
    found = _columns_of(connection, table)
    wanted = {
        each.name: STORED_TYPES[each.storage_type].full_name or each.storage_type
        for each in dataset.fields
    }
    return {name: kind for name, kind in wanted.items() if found.get(name, kind) != kind}


def _drop_tables(connection: Connection, dataset: Dataset) -> None:
    """Drop what has no rows of published ingestions; views and parts of roll-ups go with it."""
    names = {*_tables(dataset), f"{dataset.name}__staging", f"{dataset.name}__replaced"}
    for table in sorted(names):
        run_script(connection, f"DROP TABLE IF EXISTS {identifiers.store_table(table)} CASCADE")
    for rollup in dataset.rollups:
        table = identifiers.rollup_table(dataset.name, rollup.name)
        run_script(connection, f"DROP TABLE IF EXISTS {table} CASCADE")


def _widen(connection: Connection, dataset: Dataset) -> None:
    """Give stored columns their wider types; the values stay, as PostgreSQL writes them.

    Raises:
        DeclarationError: something else is made of the column.
    """
    for table in _tables(dataset):
        found = _columns_of(connection, table)
        for name, wanted in _changed_types(connection, dataset, table).items():
            if wanted not in WIDER.get(found[name], ()):
                continue
            if dataset.rollups or dataset.projections or dataset.queries:
                raise DeclarationError(
                    f"{wanted} is needed instead of {found[name]}, and roll-ups, projections or queries may"
                    " depend on that; declare the type in a new dataset, and change them with it",
                    key=name,
                )
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {identifiers.view(dataset.name)}")
            column, place = quote(name), identifiers.store_table(table)
            connection.exec_driver_sql(
                f"ALTER TABLE {place} ALTER COLUMN {column} TYPE {wanted} USING CAST({column} AS {wanted})"
            )


def _tables(dataset: Dataset) -> list[str]:
    """Return the names of the tables that have the dataset's stored columns."""
    staged = [f"{dataset.name}__staging"] if dataset.is_staged else []
    replaced = [f"{dataset.name}__replaced"] if dataset.key else []
    return [dataset.name, *staged, *replaced]


def _make_table(connection: Connection, dataset: Dataset) -> None:
    if dataset.table_sql:
        make_declared_table(connection, dataset)
    else:
        run_script(connection, table_sql(dataset))


def _make_tables(connection: Connection, dataset: Dataset) -> None:
    if dataset.is_staged:
        for each in MergeStatements(dataset).tables():
            run_script(connection, each)
    for table in _tables(dataset):
        _check_columns(connection, dataset, table)
    if dataset.key:
        _make_key(connection, dataset)
    for each in dictionary_sql(dataset):
        run_script(connection, each)
    for rollup in dataset.rollups:
        for each in rollup_sql(dataset, rollup, _types(dataset, rollup)):
            run_script(connection, each)


def _make_projections(
    connection: Connection,
    dataset: Dataset,
    before: Mapping[str, Any],
    document: Mapping[str, Any],
) -> None:
    """Create the tables of the projections again if any changed; compaction fills them."""
    old, new = (each.get("projections", {}) for each in (before, document))
    if old == new:
        return
    connection.execute(statement("delete_segments"), {"dataset": dataset.name})
    known = parse_document({**before, "name": dataset.name}) if before else None
    if known:
        for name in function_names(known):
            run_script(connection, f"DROP FUNCTION IF EXISTS {name}")
    names = {each.name for each in (*(known.projections if known else ()), *dataset.projections)}
    for name in sorted(names):
        table = identifiers.rollup_table(dataset.name, name)
        run_script(connection, f"DROP TABLE IF EXISTS {table} CASCADE")
    for each in dataset.projections:
        file = f"projections/{each.name}.sql"
        if not each.tree:
            check_projection(connection, dataset, each)
        for sql in projection_sql(dataset, each):
            with refusals(partial(_refused, file)):
                run_script(connection, sql)
        _check_projection(connection, dataset, each)


def _refused(file: str, message: str, _: Exception) -> DeclarationError:
    return DeclarationError(message, file=file)


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
    """Refuse a new key for a table that has rows."""
    table = identifiers.store_table(dataset.name)
    if connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {table})").scalar():
        raise DeclarationError(
            "the table has rows that were loaded with another key; undo all its ingestions first, or"
            " declare a new dataset",
            key="key",
        )


def _make_key(connection: Connection, dataset: Dataset) -> None:
    """Create the unique constraint of the key, unless `table.sql` does."""
    facts = {"table": dataset.name, "columns": sorted(dataset.key)}
    if not connection.scalar(statement("has_unique_key"), facts):
        run_script(connection, MergeStatements(dataset).key_sql())


def _make_views(connection: Connection, dataset: Dataset) -> None:
    """Create the reader views again, as a new version of the engine may add columns."""
    for each in view_sql(dataset):
        run_script(connection, each)


def _columns_of(connection: Connection, table: str) -> dict[str, str]:
    rows = connection.execute(statement("columns_of_store_table"), {"table": table})
    return {row.name: row.type for row in rows}


def _check_columns(connection: Connection, dataset: Dataset, name: str) -> None:
    """Add new columns, and refuse a table whose columns have other types."""
    found = _columns_of(connection, name)
    for each in dataset.fields:
        wanted = each.storage_type
        if each.name not in found:
            connection.exec_driver_sql(
                f"ALTER TABLE {identifiers.store_table(name)} ADD COLUMN {quote(each.name)} {wanted}"
            )
        elif found[each.name] != (STORED_TYPES[wanted].full_name or wanted):
            raise DeclarationError(
                f"the table stores {each.name} as {found[each.name]}, the declaration asks for "
                f"{wanted}; undo all its ingestions first, or declare a new dataset",
                file="table.sql",
                key=each.name,
            )
    if INGESTION_COLUMN not in found:
        raise DeclarationError(
            f"the table has no column {INGESTION_COLUMN} integer NOT NULL", file="table.sql"
        )


def _check_rules(dataset: Dataset) -> None:
    refuse_unsafe_sql(dataset)
    numbers = {column.name: number for number, column in enumerate(dataset.columns)}
    plan = compile_dataset(dataset)
    is_tested = _are_right(plan)
    for rule in plan.rules:
        column = dataset.columns[numbers[rule.column]]
        bound = {"minimum": column.minimum, "maximum": column.maximum}.get(rule.name)
        try:
            if isinstance(bound, str):
                try_bound(column, bound)
            if not is_tested:
                try_rules(plan, [rule])
        except (
            Exception
        ) as error:  # DuckDB's errors have no base class that says "this SQL is wrong"
            key = "checks" if rule.name == "check" else rule.name
            place = f"columns[{numbers[rule.column]}].{key}"
            raise DeclarationError(str(error).partition("\n")[0], key=place) from error
    try:
        try_cluster(dataset)
    except Exception as error:  # as above
        raise DeclarationError(str(error).partition("\n")[0], key="cluster") from error


def _are_right(plan: Plan) -> bool:
    """Whether all rules are right."""
    try:
        for first in range(0, len(plan.rules), _TESTED_RULES):
            try_rules(plan, plan.rules[first : first + _TESTED_RULES])
    except Exception:  # noqa: BLE001  # each is tested to name the wrong one
        return False
    return True


def _types(dataset: Dataset, rollup: Rollup) -> dict[str, str]:
    file = f"rollups/{rollup.name}.sql"
    try:
        types = rollup_types(dataset, rollup)
    except KeyError as error:
        raise DeclarationError(
            f"a column has type {error}, which is not stored", file=file
        ) from None
    missing = {*rollup.keys, *(name for name, _ in rollup.measures)} ^ set(types)
    if missing:
        raise DeclarationError(
            f"{', '.join(sorted(missing))}: name each column of the result as key or measure",
            file=file,
        )
    return types
