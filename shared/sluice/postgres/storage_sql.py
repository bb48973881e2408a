"""The tables and views of a dataset, and the SQL that reads its stored rows; imports no database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sluice.datasets.identifiers import dictionary_table, literal, quote, rollup_table, store_table
from sluice.datasets.identifiers import view as reader_view
from sluice.datasets.model import (
    INGESTION_COLUMN,
    SEGMENT_COLUMN,
    SLICE_COLUMN,
    UNCOMPACTED,
    Dataset,
    Field,
    Projection,
)
from sluice.postgres.box_counts_sql import functions_sql, tree_table_sql


def table_sql(dataset: Dataset) -> str:
    """Return the table of a dataset whose folder has no `table.sql`."""
    lines = [f"    {INGESTION_COLUMN} integer NOT NULL"]
    for each in dataset.fields:
        null = "" if each.nullable else " NOT NULL"
        lines.append(f"    {quote(each.name)} {each.storage_type}{null}")
    if dataset.key:
        keys = ", ".join(quote(each) for each in dataset.key)
        lines.append(f"    CONSTRAINT {quote(dataset.name + '_pk')} PRIMARY KEY ({keys})")
    columns = ",\n".join(lines)
    return f"CREATE TABLE {store_table(dataset.name)} (\n{columns}\n)"


def dictionary_sql(dataset: Dataset) -> Iterator[str]:
    """Yield the tables of the dataset's dictionary columns: a code for each text."""
    for each in dataset.dictionaries:
        table = dictionary_table(dataset.name, each.name)
        name = f"{dataset.name}__{each.name}"
        yield (
            f"CREATE TABLE IF NOT EXISTS {table} (\n"
            f"    code smallint GENERATED ALWAYS AS IDENTITY CONSTRAINT {quote(name + '_pk')} PRIMARY KEY,\n"
            f"    text text NOT NULL CONSTRAINT {quote(name + '_text_once')} UNIQUE\n)"
        )


def projection_sql(dataset: Dataset, projection: Projection) -> Iterator[str]:
    """Yield the statements that create the empty table of a projection.

    Arrays are stored uncompressed, in the row while it fits a page, because queries read them with the row.
    """
    name = f"{dataset.name}__{projection.name}"
    table = rollup_table(dataset.name, projection.name)
    if projection.tree:
        yield tree_table_sql(dataset, projection, projection.tree)
    else:
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


def projection_rows(dataset: Dataset, condition: str, part: str = "0") -> str:
    """Return the relation `rows` of a projection: stored rows under a condition.

    Args:
        dataset: whose rows.
        condition: which of them, in SQL.
        part: number of their slice.
    """
    names = ", ".join(quote(each.name) for each in dataset.fields)
    return (
        f"SELECT {names}, CAST({part} AS bigint) AS {SLICE_COLUMN}"
        f" FROM {store_table(dataset.name)} WHERE {condition}"
    )


def rows_of(ingestions: Sequence[int]) -> str:
    """Return the condition of the rows of ingestions.

    Block range indexes look up the range in one step, but the values one by one. Both are literals,
    so that the planner can estimate the number of rows.
    """
    listed = ", ".join(str(number) for number in ingestions)
    return (
        f"{INGESTION_COLUMN} BETWEEN {min(ingestions)} AND {max(ingestions)}"
        f" AND ({INGESTION_COLUMN} = ANY (ARRAY[{listed}])) IS TRUE"
    )


def slice_of(dataset: Dataset, projection: Projection, first: str | None, last: str | None) -> str:
    """Return what a slice adds to a condition: from the first up to the last, exclusive; None is no bound."""
    if first is None and last is None:
        return ""
    field = next(each for each in dataset.fields if each.name == projection.slice)
    column, kind = quote(field.name), field.storage_type
    begins = "" if first is None else f" AND {column} >= CAST({literal(first)} AS {kind})"
    ends = "" if last is None else f" AND {column} < CAST({literal(last)} AS {kind})"
    return begins + ends


def view_sql(dataset: Dataset) -> Iterator[str]:
    """Yield the views that readers use: published rows and roll-ups, with texts for dictionary codes.

    The functions of box counts follow.
    """
    stored = {each.name: each for each in dataset.fields}
    fields = list(dataset.fields)
    table = store_table(dataset.name)
    yield from _view(dataset, reader_view(dataset.name), table, fields, place=True)
    for rollup in dataset.rollups:
        names = (*rollup.keys, *(name for name, _ in rollup.measures))
        plain = [stored.get(name) or Field(name, "", nullable=True) for name in names]
        yield from _view(
            dataset,
            reader_view(dataset.name, rollup.name),
            rollup_table(dataset.name, rollup.name),
            plain,
        )
    for projection in dataset.projections:
        yield from _projection_view(dataset, projection)
    if dataset.projections:
        yield f"DROP VIEW IF EXISTS {reader_view(dataset.name, UNCOMPACTED)}"
        yield (
            f"CREATE VIEW {reader_view(dataset.name, UNCOMPACTED)} AS SELECT {INGESTION_COLUMN}"
            f" FROM sluice.publications WHERE dataset = '{dataset.name}' AND segment IS NULL"
        )
    yield from functions_sql(dataset)


def _view(
    dataset: Dataset,
    view: str,
    table: str,
    fields: list[Field],
    *,
    place: bool = False,
) -> Iterator[str]:
    """Yield a view of published rows.

    With `place` it has the position of each row, which distinguishes equal rows.
    """
    selected, joins = _decoded(dataset, fields)
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

    Its conditions cost next to nothing per row, as a search reads a few rows at a time: the segments
    are found once, and a dictionary is joined only if its text is selected.
    """
    stored = {each.name: each for each in dataset.fields}
    if projection.tree:
        # Of its columns only the partition is one of the rows.
        stored = {n: each for n, each in stored.items() if n == projection.tree.counts.partition}
    fields = [
        replace(stored.get(name) or Field(name, "", nullable=True), nullable=True)
        for name in projection.columns
    ]
    selected, joins = _decoded(dataset, fields)
    view = reader_view(dataset.name, projection.name)
    segments = (
        f"SELECT id FROM sluice.segments WHERE dataset = '{dataset.name}'"
        " AND compacted_at IS NOT NULL AND retired_at IS NULL"
    )
    yield f"DROP VIEW IF EXISTS {view}"
    yield (
        f"CREATE VIEW {view} AS\nSELECT {', '.join(selected)}\n"
        f"FROM {rollup_table(dataset.name, projection.name)} AS stored\n"
        + "\n".join(joins)
        + f"\nWHERE stored.{SEGMENT_COLUMN} = ANY (ARRAY({segments}))"
    )


def _decoded(dataset: Dataset, fields: Iterable[Field]) -> tuple[list[str], list[str]]:
    """Return the select list of a view over `stored`, and the joins that give texts for codes."""
    selected, joins = [], []
    for each in fields:
        name = quote(each.name)
        if each.dictionary:
            texts = quote(f"texts_{each.name}")
            source = dictionary_table(dataset.name, each.name)
            # Rows may be older than the rule that a value is required.
            joins.append(f"LEFT JOIN {source} AS {texts} ON {texts}.code = stored.{name}")
            selected.append(f"{texts}.text AS {name}")
        else:
            selected.append(f"stored.{name}")
    return selected, joins
