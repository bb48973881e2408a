"""Statements of the steps that prepare a large ingestion of a staged dataset; runs none of them.

A step copies the staged rows of some keys into the dataset, where readers do not see them yet. Keys are
spread over buckets by a hash. A row whose key the dataset has is left for the publication: from then on it is
staged with the negative number of its ingestion. The staged rows that are copied stay until garbage
collection deletes them, as they know the place of each row in the file.
"""

from __future__ import annotations

from sluice.datasets.identifiers import quote
from sluice.datasets.model import INGESTION_COLUMN, RECORD_COLUMN, Dataset
from sluice.postgres.merge_sql import MAX_LISTED_DUPLICATES, MergeStatements
from sluice.postgres.rollup_sql import bucket_sql

_COPIES = "_copies"


def staging_index(ingestion: int) -> str:
    """Return the index of an ingestion's staged rows by bucket."""
    return f"store.{quote(_index(ingestion))}"


def _index(ingestion: int) -> str:
    return f"staging_{ingestion}"


class PrepareStatements(MergeStatements):
    """The statements of one ingestion.

    Args:
        dataset: its dataset; has a key or references.
        ingestion: its number. It is written into the statements, as its index is a partial one.
    """

    def __init__(self, dataset: Dataset, ingestion: int) -> None:
        super().__init__(dataset)
        self._ingestion = ingestion
        # Where rows have no key, each is one of its own.
        self._identity = self._keys or RECORD_COLUMN
        self._rows = (
            f"FROM {self._staging} AS s WHERE s.{INGESTION_COLUMN} = {ingestion}"
            f" AND {self._bucket('s.')} BETWEEN :first AND :last"
        )

    def create_index(self) -> str:
        """Index the staged rows of the ingestion by bucket."""
        return (
            f"CREATE INDEX IF NOT EXISTS {quote(_index(self._ingestion))} ON {self._staging}"
            f" (({self._bucket()})) WHERE {INGESTION_COLUMN} = {self._ingestion}"
        )

    def copy(self) -> str:
        """Copy one row for each key of the buckets from `:first` to `:last` whose key is new.

        It counts the staged rows, their keys, and the rows that it copied.
        """
        order = "DESC" if self._dataset.updates else "ASC"
        conflict = f" ON CONFLICT ({self._keys}) DO NOTHING" if self._keys else ""
        names = f"{self._names}, {INGESTION_COLUMN}"
        return (
            f"WITH chosen AS MATERIALIZED (SELECT DISTINCT ON ({self._identity}) {names},"
            f" count(*) OVER (PARTITION BY {self._identity}) AS {_COPIES}\n"
            f"{self._rows} ORDER BY {self._identity}, {RECORD_COLUMN} {order}),\n"
            f"copied AS (INSERT INTO {self._main} ({names}) SELECT {names} FROM chosen{conflict}"
            " RETURNING 1)\n"
            f"SELECT coalesce(sum({_COPIES}), 0) AS staged, count(*) AS keys,"
            " (SELECT count(*) FROM copied) AS copied FROM chosen"
        )

    def leave(self) -> str:
        """Leave the rows whose key another ingestion has for the publication; count them and their keys."""
        keys = ", ".join(f"s.{quote(name)}" for name in self._dataset.key)
        return (
            f"WITH remaining AS (UPDATE {self._staging} AS s SET {INGESTION_COLUMN} = -{self._ingestion}\n"
            f"FROM {self._main} AS m WHERE s.{INGESTION_COLUMN} = {self._ingestion}"
            f" AND {self._bucket('s.')} BETWEEN :first AND :last\n"
            f"AND {self._same('s', 'm')} AND m.{INGESTION_COLUMN} <> {self._ingestion} RETURNING {keys})\n"
            f"SELECT count(*) AS rows, count(DISTINCT ROW({self._keys})) AS keys FROM remaining"
        )

    def list_copies(self) -> str:
        """List the rows of the buckets that are left out in favour of another row of the file."""
        order = "DESC" if self._dataset.updates else "ASC"
        return (
            f"INSERT INTO sluice.duplicates (ingestion, record, key, won_by, won_record)\n"
            f"SELECT {self._ingestion}, s.{RECORD_COLUMN}, {self._shown_key()}, {self._ingestion}, s._won\n"
            f"FROM (SELECT s.*, first_value({RECORD_COLUMN}) OVER"
            f" (PARTITION BY {self._keys} ORDER BY {RECORD_COLUMN} {order}) AS _won {self._rows}) AS s\n"
            f"WHERE s._won <> s.{RECORD_COLUMN} ORDER BY s.{RECORD_COLUMN}\n"
            f"LIMIT greatest(0, {MAX_LISTED_DUPLICATES}"
            f" - (SELECT count(*) FROM sluice.duplicates WHERE ingestion = {self._ingestion}))\n"
            "ON CONFLICT ON CONSTRAINT duplicates_pk DO NOTHING"
        )

    def _bucket(self, table: str = "") -> str:
        names = self._dataset.key or (RECORD_COLUMN,)
        return f"({bucket_sql(f'{table}{quote(each)}' for each in names)})"
