"""Statements that merge staged rows into a dataset and withdraw them again; runs none of them.

Rows of a dataset with a key, or with references, are loaded into `store.<dataset>__staging` and merged at
publish. Each step is one statement for all rows. The table of a dataset with a key
has exactly the rows that readers see, so that PostgreSQL enforces the key. Rows that later uploads replaced
are kept in `store.<dataset>__replaced`, and restored when those are undone: the rows of a key form a chain
in the order of their uploads, in which `_replaced_by` is the ingestion of the next row.

Every statement takes `:ingestion`, and `:staged`, the number under which its rows are staged. Some take
`:older`, ingestions whose rows do not count, or `:later`, the published ingestions with later uploads, in
that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluice.csv.rejects import MASK
from sluice.datasets.identifiers import (
    dictionary_table,
    literal,
    quote,
    replaced_table,
    staging_table,
    store_table,
)
from sluice.datasets.model import (
    INGESTION_COLUMN,
    LINE_COLUMN,
    MAX_RECORDS,
    ORIGINAL_COLUMN,
    RECORD_COLUMN,
    Column,
    Dataset,
    Duplicates,
)
from sluice.postgres.rollup_sql import bucket_sql

_MINE = f"s.{INGESTION_COLUMN} = :staged"
_OWN = f"CAST(:ingestion AS integer) AS {INGESTION_COLUMN}"
#: Excludes rows that this ingestion replaces, which are deleted with its publication, and prepared ones.
_COUNTS = (
    f"{INGESTION_COLUMN} <> ALL (CAST(:older AS integer[]) || ARRAY(SELECT ingestion FROM sluice.prepared"
    " WHERE switched_at IS NULL AND ingestion <> :ingestion))"
)
_REJECTS = (
    "kept AS (INSERT INTO sluice.rejects"
    " (ingestion, line, record, column_name, rule, value, reason, original, line_end)"
)
#: The first rejects are kept, and all are counted.
_KEPT = f"ORDER BY {RECORD_COLUMN} LIMIT :kept)\nSELECT count(*) FROM refused"
#: The bytes of a staged record, and the line end after them.
_RECORD_ONLY = f"rtrim({ORIGINAL_COLUMN}, '\\x0d0a'::bytea)"
_RECORD_AND_END = f"{_RECORD_ONLY}, substr({ORIGINAL_COLUMN}, length({_RECORD_ONLY}) + 1)"
REPLACED_BY = "_replaced_by"
#: How many duplicates of an ingestion are listed; its account counts all.
MAX_LISTED_DUPLICATES = 100_000


@dataclass(frozen=True)
class Reference:
    """The statements about values that are not keys of another dataset.

    Attributes:
        column: the column that refers.
        count: how many rows dangle, and one of their values.
        refuse: turns them into rejects, keeps the first `:kept`, and counts all.
    """

    column: Column
    count: str
    refuse: str


class MergeStatements:
    """The statements of one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._main = store_table(dataset.name)
        self._staging = staging_table(dataset.name)
        self._replaced = replaced_table(dataset.name)
        self._names = ", ".join(quote(each.name) for each in dataset.fields)
        self._keys = ", ".join(quote(name) for name in dataset.key)

    def tables(self) -> Iterator[str]:
        """Yield the statements that create the staging table and, for a key, the table of replaced rows."""
        main, name = self._main, self._dataset.name
        columns = f"{RECORD_COLUMN} bigint NOT NULL, {LINE_COLUMN} bigint, {ORIGINAL_COLUMN} bytea"
        tables = [(self._staging, f"{name}__staging", f", {columns}")]
        if self._dataset.key:
            tables.append(
                (self._replaced, f"{name}__replaced", f", {REPLACED_BY} integer NOT NULL")
            )
        fields = ", ".join(
            f"{quote(each.name)} {each.storage_type}" for each in self._dataset.fields
        )
        for table, index, extra in tables:
            yield (
                f"CREATE TABLE IF NOT EXISTS {table}"
                f" ({fields}, {INGESTION_COLUMN} integer NOT NULL{extra})"
            )
            # The rows of an ingestion are contiguous, so a block range index finds them at next to no cost.
            yield self._brin(table, index)
        if self._dataset.key:
            yield self._brin(main, name)

    def _brin(self, table: str, name: str) -> str:
        index = quote(f"{name}_{INGESTION_COLUMN}")
        return f"CREATE INDEX IF NOT EXISTS {index} ON {table} USING brin ({INGESTION_COLUMN})"

    def key_sql(self) -> str:
        """Return the statement that makes the key unique, for a `table.sql` that does not."""
        name = quote(f"{self._dataset.name}_key")
        return f"ALTER TABLE {self._main} ADD CONSTRAINT {name} UNIQUE ({self._keys})"

    def analyze(self) -> str:
        """Update the planner's statistics, which a table has not right after the load."""
        columns = ", ".join([INGESTION_COLUMN, *(quote(name) for name in self._dataset.key)])
        return f"ANALYZE {self._staging} ({columns})"

    def staged(self) -> str:
        """Count the staged rows."""
        return f"SELECT count(*) FROM {self._staging} AS s WHERE {_MINE}"

    def number_records(self) -> str:
        """Give staged rows the numbers of their records in the file; see `MAX_RECORDS`."""
        number = f"s.{RECORD_COLUMN}"
        chunk = f"width_bucket({number}, firsts)"
        return (
            f"UPDATE {self._staging} AS s SET {RECORD_COLUMN} = CASE\n"
            f"WHEN {number} < {MAX_RECORDS} THEN {number} + starts[{chunk}] - firsts[{chunk}]\n"
            f"ELSE starts[{number} / {MAX_RECORDS}] + mod({number}, {MAX_RECORDS}) END\n"
            "FROM (SELECT array_agg(first_record ORDER BY number) AS firsts,"
            " array_agg(CAST(first_record + earlier AS bigint) ORDER BY number) AS starts\n"
            "FROM (SELECT number, first_record,"
            " sum(recovered) OVER (ORDER BY number) - recovered AS earlier\n"
            "FROM sluice.chunks JOIN sluice.receipts"
            " ON receipts.ingestion = chunks.ingestion AND chunk = number\n"
            f"WHERE chunks.ingestion = :ingestion) AS counted) AS chunks\nWHERE {_MINE}"
        )

    def keyed(self) -> str:
        """List the staged rows that have a key: record, key, and whether readers see one with that key."""
        known = (
            f"SELECT FROM {self._main} AS m JOIN sluice.publications USING ({INGESTION_COLUMN})"
            f" WHERE {self._same('s', 'm')}"
        )
        given = " AND ".join(f"s.{quote(name)} IS NOT NULL" for name in self._dataset.key)
        return (
            f"SELECT {RECORD_COLUMN} AS record, CAST(ROW({self._keys}) AS text) AS key,"
            f" EXISTS ({known}) AS was_there\n"
            f"FROM {self._staging} AS s WHERE {_MINE} AND {given} ORDER BY {RECORD_COLUMN}"
        )

    def number(self) -> str | None:
        """Give rows without a key the next free whole numbers, in the order of the file."""
        column = next((quote(each.name) for each in self._dataset.columns if each.absent), None)
        if column is None:
            return None
        return (
            f"UPDATE {self._staging} AS s SET {column} = top.number + absent.place\n"
            f"FROM (SELECT s.{RECORD_COLUMN}, row_number() OVER (ORDER BY s.{RECORD_COLUMN}) AS place"
            f" FROM {self._staging} AS s WHERE {_MINE} AND s.{column} IS NULL) AS absent,\n"
            f"(SELECT greatest(0, (SELECT max({column}) FROM {self._main}),"
            f" (SELECT max(s.{column}) FROM {self._staging} AS s WHERE {_MINE})) AS number) AS top\n"
            f"WHERE {_MINE} AND s.{RECORD_COLUMN} = absent.{RECORD_COLUMN}"
        )

    def reference(self, column: Column, other: Dataset) -> Reference:
        """Return the statements about a column's values that are not keys of another dataset.

        Args:
            column: the column that refers.
            other: the dataset to which it refers; its key is one column.
        """
        name, (key,) = quote(column.name), other.key
        known = f"SELECT FROM {store_table(other.name)} AS o WHERE o.{quote(key)} = s.{name}"
        places = [f"{known} AND o.{_COUNTS}"]
        if other.name == self._dataset.name:
            places.append(
                f"SELECT FROM {self._staging} AS o"
                f" WHERE o.{INGESTION_COLUMN} = :staged AND o.{quote(key)} = s.{name}"
            )
        dangles = " AND ".join(f"NOT EXISTS ({each})" for each in places)
        where = f"FROM {self._staging} AS s WHERE {_MINE} AND s.{name} IS NOT NULL AND {dangles}"
        reason = literal(f'"%s" is not the {key} of any row of {other.name}')
        shown = literal(MASK) if column.pii else f"CAST({name} AS text)"
        return Reference(
            column,
            f"SELECT count(*) AS rows, CAST(min(s.{name}) AS text) AS example {where}",
            f"WITH refused AS (DELETE {where} RETURNING s.*),\n{_REJECTS}\n"
            f"SELECT {_OWN}, {LINE_COLUMN}, {RECORD_COLUMN}, {literal(column.name)}, 'references',"
            f" {shown}, format({reason}, {shown}), {_RECORD_AND_END} FROM refused {_KEPT}",
        )

    def refuse_repeated(self) -> str | None:
        """Turn rows with a key that exists already into rejects, if the dataset declares that.

        The first `:kept` are kept, and all are counted.
        """
        if not self._dataset.key or self._dataset.duplicates is not Duplicates.ERROR:
            return None
        named = literal(", ".join(self._dataset.key))
        value = f"concat_ws(', ', {', '.join(self._shown())})"
        return (
            f"WITH placed AS (SELECT {self._keys}, {RECORD_COLUMN},"
            f" row_number() OVER same AS _place, first_value({LINE_COLUMN}) OVER same AS _first_line\n"
            f"FROM {self._staging} AS s WHERE {_MINE}\n"
            f"WINDOW same AS (PARTITION BY {self._keys} ORDER BY {RECORD_COLUMN})),\n"
            f"repeated AS (SELECT p.{RECORD_COLUMN}, p._first_line, m.{INGESTION_COLUMN} AS _earlier\n"
            f"FROM placed AS p LEFT JOIN {self._main} AS m ON {self._same('p', 'm')} AND m.{_COUNTS}\n"
            f"WHERE p._place > 1 OR m.{INGESTION_COLUMN} IS NOT NULL),\n"
            f"refused AS (DELETE FROM {self._staging} AS s USING repeated\n"
            f"WHERE {_MINE} AND s.{RECORD_COLUMN} = repeated.{RECORD_COLUMN}\n"
            f"RETURNING s.*, repeated._first_line, repeated._earlier),\n"
            f"{_REJECTS}\n"
            f"SELECT {_OWN}, s.{LINE_COLUMN}, s.{RECORD_COLUMN}, {named}, 'key', {value},\n"
            f"CASE WHEN s._earlier IS NULL"
            f" THEN format('%s %s is already on line %s', {named}, {value}, s._first_line)\n"
            f"ELSE format('%s %s was loaded before, by ingestion %s', {named}, {value}, s._earlier) END,\n"
            f"{_RECORD_AND_END} FROM refused AS s {_KEPT}"
        )

    def _shown(self) -> Iterator[str]:
        """Yield the values of the key as texts."""
        coded = {each.name for each in self._dataset.dictionaries}
        masked = {field.name for each in self._dataset.columns if each.pii for field in each.fields}
        for name in self._dataset.key:
            if name in masked:
                yield f"CAST({literal(MASK)} AS text)"
            elif name in coded:
                table = dictionary_table(self._dataset.name, name)
                yield f"(SELECT d.text FROM {table} AS d WHERE d.code = s.{quote(name)})"
            else:
                yield f"s.{quote(name)}"

    def keep_replaced(self) -> str | None:
        """Keep the rows that the staged ones will replace, if the dataset declares that."""
        if not self._dataset.updates:
            return None
        return (
            f"INSERT INTO {self._replaced} ({self._names}, {INGESTION_COLUMN}, {REPLACED_BY})\n"
            f"SELECT {self._names}, {INGESTION_COLUMN}, CAST(:ingestion AS integer)"
            f" FROM {self._main} AS m\n"
            f"WHERE EXISTS (SELECT FROM {self._staging} AS s WHERE {_MINE} AND {self._same('s', 'm')})"
        )

    def adopt(self) -> str:
        """Stage the rows of `:fix` as rows of the ingestion."""
        return f"UPDATE {self._staging} SET {INGESTION_COLUMN} = :staged WHERE {INGESTION_COLUMN} = :fix"

    def replace_own(self) -> tuple[str, str]:
        """Replace the ingestion's own rows by the staged ones with the same key, wherever they are."""
        plain = [each.name for each in self._dataset.fields if each.name not in self._dataset.key]
        changed = ", ".join(f"{quote(name)} = s.{quote(name)}" for name in plain)
        newest = (
            f"(SELECT DISTINCT ON ({self._keys}) * FROM {self._staging} AS s WHERE {_MINE}"
            f" ORDER BY {self._keys}, {RECORD_COLUMN} DESC) AS s"
        )
        main, replaced = (
            f"UPDATE {table} AS m SET {changed or f'{INGESTION_COLUMN} = :ingestion'} FROM {newest}"
            f" WHERE m.{INGESTION_COLUMN} = :ingestion AND {self._same('m', 's')}"
            for table in (self._main, self._replaced)
        )
        return main, replaced

    def unstage_own(self) -> str:
        """Delete the staged rows that `replace_own` has stored."""
        own = " UNION ALL ".join(
            f"SELECT FROM {table} AS m WHERE m.{INGESTION_COLUMN} = :ingestion"
            f" AND {self._same('m', 's')}"
            for table in (self._main, self._replaced)
        )
        return f"DELETE FROM {self._staging} AS s WHERE {_MINE} AND EXISTS ({own})"

    def file_under_later(self) -> tuple[str, str]:
        """Insert staged rows into the chains of keys that later uploads have updated, and unstage them.

        The first statement counts the rows that it inserts, the second the staged ones that it deletes.
        """
        keys, later = self._keys, f"{INGESTION_COLUMN} = ANY (CAST(:later AS integer[]))"
        return (
            (
                f"WITH overtaken AS (SELECT DISTINCT ON ({keys}) {self._names}, {_OWN}\n"
                f"FROM {self._staging} AS s WHERE {_MINE} AND EXISTS"
                f" (SELECT FROM {self._main} AS m WHERE {self._same('s', 'm')} AND m.{later})\n"
                f"ORDER BY {keys}, {RECORD_COLUMN} DESC),\n"
                f"updates AS (SELECT {keys}, {INGESTION_COLUMN} FROM {self._main} WHERE {later}\n"
                f"UNION ALL SELECT {keys}, {INGESTION_COLUMN} FROM {self._replaced} WHERE {later}),\n"
                f"linked AS (SELECT DISTINCT ON ({self._qualified('o')}) o.*,"
                f" u.{INGESTION_COLUMN} AS _next\n"
                f"FROM overtaken AS o JOIN updates AS u ON {self._same('o', 'u')}\n"
                f"ORDER BY {self._qualified('o')},"
                f" array_position(CAST(:later AS integer[]), u.{INGESTION_COLUMN})),\n"
                f"relinked AS (UPDATE {self._replaced} AS r SET {REPLACED_BY} = :ingestion FROM linked\n"
                f"WHERE r.{REPLACED_BY} = linked._next AND {self._same('r', 'linked')})\n"
                f"INSERT INTO {self._replaced} ({self._names}, {INGESTION_COLUMN}, {REPLACED_BY})\n"
                f"SELECT {self._names}, {INGESTION_COLUMN}, _next FROM linked"
            ),
            (
                f"DELETE FROM {self._staging} AS s USING {self._main} AS m\n"
                f"WHERE {_MINE} AND {self._same('s', 'm')} AND m.{later}"
            ),
        )

    def _qualified(self, table: str) -> str:
        return ", ".join(f"{table}.{quote(name)}" for name in self._dataset.key)

    def merge(self) -> str:
        """Merge the staged rows into the dataset, one for each key."""
        target = f"INSERT INTO {self._main} ({self._names}, {INGESTION_COLUMN})\n"
        chosen = f"{self._names}, {_OWN} FROM {self._staging} AS s WHERE {_MINE}"
        if self._dataset.updates:
            plain = [
                each.name for each in self._dataset.fields if each.name not in self._dataset.key
            ]
            changes = ", ".join(
                f"{quote(name)} = excluded.{quote(name)}" for name in (*plain, INGESTION_COLUMN)
            )
            return (
                f"{target}SELECT DISTINCT ON ({self._keys}) {chosen}\n"
                f"ORDER BY {self._keys}, {RECORD_COLUMN} DESC\n"
                f"ON CONFLICT ({self._keys}) DO UPDATE SET {changes}"
            )
        if self._dataset.key and self._dataset.duplicates is Duplicates.IGNORE:
            known = f"SELECT FROM {self._main} AS m WHERE {self._same('s', 'm')}"
            return (
                f"{target}SELECT DISTINCT ON ({self._keys}) {chosen} AND NOT EXISTS ({known})\n"
                f"ORDER BY {self._keys}, {RECORD_COLUMN}"
            )
        return f"{target}SELECT {chosen} ORDER BY {RECORD_COLUMN}"

    def list_duplicates(self, *, is_merged: bool) -> str:
        """List the staged rows that are left out, each with the row that counts; `:owner` has them.

        Args:
            is_merged: whether the rows that count are in the dataset already.
        """
        order = "DESC" if self._dataset.updates else "ASC"
        own = "s._won <> s._record"
        known = f"LEFT JOIN {self._main} AS m ON {self._same('s', 'm')}"
        won_by = f"m.{INGESTION_COLUMN}"
        if self._dataset.updates:
            known, condition, won_by = "", own, "CAST(:ingestion AS integer)"
            won = "s._won"
        elif is_merged:
            condition = f"{own} OR {won_by} <> :ingestion"
            won = f"CASE WHEN {won_by} = :ingestion THEN s._won END"
        else:
            condition = f"{own} OR {won_by} IS NOT NULL"
            won = f"CASE WHEN {won_by} IS NULL THEN s._won END"
            won_by = f"coalesce({won_by}, :ingestion)"
        return (
            f"INSERT INTO sluice.duplicates (ingestion, record, key, won_by, won_record)\n"
            f"SELECT CAST(:owner AS integer), s.{RECORD_COLUMN}, {self._shown_key()},"
            f" {won_by}, {won}\n"
            f"FROM (SELECT s.*, first_value({RECORD_COLUMN}) OVER"
            f" (PARTITION BY {self._keys} ORDER BY {RECORD_COLUMN} {order}) AS _won"
            f" FROM {self._staging} AS s WHERE {_MINE}) AS s {known}\n"
            f"WHERE {condition} ORDER BY s.{RECORD_COLUMN} LIMIT {MAX_LISTED_DUPLICATES}\n"
            f"ON CONFLICT ON CONSTRAINT duplicates_pk DO NOTHING"
        )

    def _shown_key(self) -> str:
        """Return the key of the row `s` as a JSON object."""
        shown = ", ".join(
            f"{literal(name)}, {value}"
            for name, value in zip(self._dataset.key, self._shown(), strict=True)
        )
        return f"jsonb_build_object({shown})"

    def delete_duplicates(self) -> str:
        """Delete what was listed of the staged rows: it is listed again."""
        return (
            f"DELETE FROM sluice.duplicates AS d USING {self._staging} AS s\n"
            f"WHERE {_MINE} AND d.ingestion = :owner AND d.record = s.{RECORD_COLUMN}"
        )

    def known(self) -> str:
        """Count the staged rows whose key is in the dataset."""
        known = f"SELECT FROM {self._main} AS m WHERE {self._same('s', 'm')}"
        return f"SELECT count(*) FROM {self._staging} AS s WHERE {_MINE} AND EXISTS ({known})"

    def lost(self) -> str:
        """Count the staged rows whose key is not in the dataset: none after a merge."""
        if not self._dataset.key:
            return "SELECT 0"
        known = f"SELECT FROM {self._main} AS m WHERE {self._same('s', 'm')}"
        return f"SELECT count(*) FROM {self._staging} AS s WHERE {_MINE} AND NOT EXISTS ({known})"

    def clear(self) -> str:
        """Empty the staging table of the ingestion."""
        return f"DELETE FROM {self._staging} AS s WHERE {_MINE}"

    def relink(self, restored: str) -> str:
        """Build the chains anew for a restored table, from the rows that are stored now.

        They have the rows of `:kept`, published ingestions in the order of their uploads, which are not those
        of the restored table; the last one of a key is replaced by the restored row.

        Args:
            restored: the table that will be the stored one.
        """
        columns = f"{self._names}, {INGESTION_COLUMN}"
        return (
            f"WITH former AS (DELETE FROM {self._replaced} RETURNING {columns}),\n"
            f"stored AS (SELECT {columns} FROM former UNION ALL SELECT {columns} FROM {self._main}),\n"
            f"below AS (SELECT s.*, k.place, t.{INGESTION_COLUMN} AS _top FROM stored AS s\n"
            f"JOIN unnest(CAST(:kept AS integer[])) WITH ORDINALITY AS k (number, place)"
            f" ON k.number = s.{INGESTION_COLUMN}\n"
            f"JOIN {restored} AS t ON {self._same('s', 't')}"
            f" AND t.{INGESTION_COLUMN} <> s.{INGESTION_COLUMN})\n"
            f"INSERT INTO {self._replaced} ({columns}, {REPLACED_BY})\n"
            f"SELECT {columns}, coalesce(lead({INGESTION_COLUMN})"
            f" OVER (PARTITION BY {self._keys} ORDER BY place), _top) FROM below"
        )

    def make_room(self) -> str:
        """Take the rows of `:hidden`, which are prepared, out of the way of the staged ones.

        The steps that prepared them are repeated, and find the keys taken.
        """
        bucket = bucket_sql([f"m.{quote(name)}" for name in self._dataset.key])
        return (
            f"WITH gone AS (DELETE FROM {self._main} AS m USING {self._staging} AS s\n"
            f"WHERE {_MINE} AND {self._same('s', 'm')}"
            f" AND m.{INGESTION_COLUMN} = ANY (CAST(:hidden AS integer[]))\n"
            f"RETURNING m.{INGESTION_COLUMN}, {bucket} AS bucket)\n"
            f"UPDATE sluice.publish_steps AS steps SET done_at = NULL FROM gone\n"
            f"WHERE steps.ingestion = gone.{INGESTION_COLUMN} AND rollup = '' AND done_at IS NOT NULL\n"
            f"AND bucket BETWEEN first_bucket AND last_bucket"
        )

    def take_back(self) -> tuple[str, ...]:
        """Withdraw the ingestion's rows, and restore what they replaced.

        The rows are staged, so that the ingestion can be redone until garbage collection deletes them.
        If one of its rows was itself replaced, what it had replaced is now replaced by that newer row.
        """
        if not self._dataset.key:
            return ()
        return (
            f"DELETE FROM {self._staging} WHERE {INGESTION_COLUMN} IN (:ingestion, :staged)",
            (
                f"INSERT INTO {self._staging} ({self._names}, {INGESTION_COLUMN}, {RECORD_COLUMN})\n"
                f"SELECT {self._names}, {INGESTION_COLUMN}, row_number() OVER () - 1 FROM (\n"
                f"SELECT {self._names}, {INGESTION_COLUMN} FROM {self._main}"
                f" WHERE {INGESTION_COLUMN} = :ingestion\n"
                f"UNION ALL SELECT {self._names}, {INGESTION_COLUMN} FROM {self._replaced}"
                f" WHERE {INGESTION_COLUMN} = :ingestion) AS own"
            ),
            (
                f"UPDATE {self._replaced} AS older SET {REPLACED_BY} = newer.{REPLACED_BY}\n"
                f"FROM {self._replaced} AS newer\n"
                f"WHERE newer.{INGESTION_COLUMN} = :ingestion AND older.{REPLACED_BY} = :ingestion"
                f" AND {self._same('older', 'newer')}"
            ),
            f"DELETE FROM {self._replaced} WHERE {INGESTION_COLUMN} = :ingestion",
            f"DELETE FROM {self._main} WHERE {INGESTION_COLUMN} = :ingestion",
            (
                f"WITH back AS (DELETE FROM {self._replaced} WHERE {REPLACED_BY} = :ingestion RETURNING *)\n"
                f"INSERT INTO {self._main} ({self._names}, {INGESTION_COLUMN})\n"
                f"SELECT {self._names}, {INGESTION_COLUMN} FROM back"
            ),
        )

    def _same(self, one: str, other: str) -> str:
        """Return the condition that two rows have the same key."""
        return " AND ".join(
            f"{one}.{quote(name)} = {other}.{quote(name)}" for name in self._dataset.key
        )
