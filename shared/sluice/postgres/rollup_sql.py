"""The table of a roll-up, and the statements about its parts; runs none of them.

Loaders write a part for each group of a chunk. The parts of an ingestion are merged before readers see it, so
that it has one row for each group. Groups are spread over buckets by a hash of their key, and the index by
ingestion has the bucket, so that the parts of some buckets are merged without reading the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sluice.datasets.identifiers import quote, rollup_table
from sluice.datasets.model import INGESTION_COLUMN, Dataset, Rollup

#: Number of buckets; indexes are made of it, so another one needs a migration.
BUCKETS = 1024
RANGE_OF_BUCKETS = "BETWEEN :first AND :last"
LISTED_BUCKETS = "= ANY (CAST(:buckets AS bigint[]))"


def rollup_sql(dataset: Dataset, rollup: Rollup, types: Mapping[str, str]) -> Iterator[str]:
    """Yield the table of a roll-up and its indexes: a part for each ingestion, summed up by readers.

    Args:
        dataset: whose roll-up.
        rollup: its keys, measures and indexes.
        types: PostgreSQL type of each column.
    """
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
    table = rollup_table(dataset.name, rollup.name)
    name = f"{dataset.name}__{rollup.name}"
    yield f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {INGESTION_COLUMN} integer NOT NULL)"
    yield (
        f"CREATE INDEX IF NOT EXISTS {quote(f'{name}_{INGESTION_COLUMN}')} ON {table}"
        f" ({INGESTION_COLUMN}, ({_bucket(rollup)}))"
    )
    for index in rollup.indexes:
        columns = ", ".join(quote(each) for each in index)
        index_name = quote(f"{name}_{'_'.join(index)}")
        yield f"CREATE INDEX IF NOT EXISTS {index_name} ON {table} ({columns})"


def analyze(dataset: Dataset, rollup: Rollup) -> str:
    """Update the planner's statistics, which a table has not right after a load."""
    return f"ANALYZE {rollup_table(dataset.name, rollup.name)}"


def count_parts(dataset: Dataset, rollup: Rollup) -> str:
    """Count the parts of `:ingestion`, up to `:limit`."""
    table = rollup_table(dataset.name, rollup.name)
    return (
        f"SELECT count(*) FROM (SELECT FROM {table} WHERE {INGESTION_COLUMN} = :ingestion"
        " LIMIT CAST(:limit AS bigint)) AS parts"
    )


def buckets_of(dataset: Dataset, rollup: Rollup) -> str:
    """List the buckets in which `:ingestion` has parts."""
    table = rollup_table(dataset.name, rollup.name)
    return f"SELECT DISTINCT {_bucket(rollup)} FROM {table} WHERE {INGESTION_COLUMN} = :ingestion"


def merge_parts(dataset: Dataset, rollup: Rollup, buckets: str) -> str:
    """Merge the parts of `:ingestion` in some buckets into one row for each group.

    Groups of one part stay as they are, so a second run changes nothing. The parts of others are found in
    one sort, by the hash of the key first, which is cheap to compare.

    Args:
        dataset: whose roll-up.
        rollup: whose parts.
        buckets: what their bucket is, in SQL: `RANGE_OF_BUCKETS` or `LISTED_BUCKETS`.
    """
    table = rollup_table(dataset.name, rollup.name)
    keys = ", ".join(quote(name) for name in rollup.keys)
    names = ", ".join(quote(name) for name, _ in rollup.measures)
    merged = ", ".join(f"{how}({quote(name)})" for name, how in rollup.measures)
    return (
        "WITH counted AS (\n"
        f"SELECT ctid AS place, count(*) OVER (PARTITION BY {_hash(rollup)}, {keys}) AS parts\n"
        f"FROM {table} WHERE {INGESTION_COLUMN} = :ingestion AND {_bucket(rollup)} {buckets}\n"
        f"), parts AS (\nDELETE FROM {table}"
        " WHERE ctid = ANY (ARRAY(SELECT place FROM counted WHERE parts > 1)) RETURNING *\n"
        f")\nINSERT INTO {table} ({keys}, {names}, {INGESTION_COLUMN})\n"
        f"SELECT {keys}, {merged}, CAST(:ingestion AS integer) FROM parts GROUP BY {keys}"
    )


def _hash(rollup: Rollup) -> str:
    return _hash_of(quote(name) for name in rollup.keys)


def _hash_of(values: Iterable[str]) -> str:
    return f"hash_record_extended(ROW({', '.join(values)}), 0)"


def _bucket(rollup: Rollup) -> str:
    return bucket_sql(quote(name) for name in rollup.keys)


def bucket_sql(values: Iterable[str]) -> str:
    """Return the bucket of a key, whose values are SQL expressions."""
    return f"{_hash_of(values)} & {BUCKETS - 1}"
