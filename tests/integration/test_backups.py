"""Backups: one snapshot of the datasets, restored as copies or in place, all or nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import fastavro
import pytest
from flow import HEADER, THINGS, Flow, Killed, lines
from outbox import Store
from test_names import WORDS, words

from sluice.backups import backup as backup_module
from sluice.backups.backup import Backup
from sluice.backups.compare import Comparison, compare
from sluice.backups.manifest import Format, Manifest
from sluice.backups.repository import Repository
from sluice.backups.restore import Restore, Restored
from sluice.errors import (
    BackupMismatchError,
    DamagedBackupError,
    NotFoundError,
    ParameterError,
    StorageUnavailableError,
)
from sluice.postgres.catalog import dataset_versions

#: Deliveries after which a small file is split on its own.
ALONE = 9
Clone = Callable[..., AbstractContextManager[str]]

#: A column of each type.
ZOO: Mapping[str, Any] = {
    "name": "zoo",
    "description": "One column of each type.",
    "columns": [
        {"name": "label", "type": "text"},
        {"name": "kind", "type": "text", "dictionary": True},
        {"name": "small", "type": "integer"},
        {"name": "big", "type": "bigint"},
        {"name": "real", "type": "float"},
        {"name": "exact", "type": "numeric"},
        {"name": "flag", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "at", "type": "timestamp"},
        {"name": "moment", "type": "instant"},
        {"name": "clock", "type": "time"},
        {"name": "code", "type": "uuid"},
        {"name": "document", "type": "json"},
        {"name": "place", "type": "point"},
    ],
}
JOBS: Mapping[str, Any] = {
    "name": "posts",
    "description": "Jobs.",
    "key": ["id"],
    "duplicates": "update",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "job", "type": "text", "required": True},
    ],
}
HIRED: Mapping[str, Any] = {
    "name": "staff",
    "description": "Who has which job.",
    "key": ["id"],
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
        {"name": "job_id", "type": "integer", "references": "posts"},
    ],
}
ZOO_ROWS = """\
(1, 'a', 1, 7, 9223372036854775807, 0.1, 12345678901234567890.123456789, true, '2024-02-29',
    '2018-05-28 09:03:40.123456', '2018-05-28 09:03:40+02', '23:59:59.999999',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    '{"a": [1.50, 12345678901234567890.5, null]}', -180, 90),
(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(1, '', 2, -2147483648, -9223372036854775808, 'NaN', -0.000000001, false, '0044-03-15 BC',
    '1582-10-15', '0001-01-01 00:00+00', '00:00', '00000000-0000-0000-0000-000000000000', 'null', 0, -0.0),
(1, E'two\\nlines, "quotes" \u2713 \U0001f6b2', 2, 0, 0, '-Infinity', 0, true, 'infinity',
    '-infinity', 'infinity', '24:00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '"✓"', 1e-300, 12.5)"""


class Backups:
    """The use cases of backups over a flow."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.store = Store()
        self.back_up = Backup(flow.settings, flow.engine, self.store)
        self._restore = Restore(flow.settings, flow.engine, self.store, flow.topics)
        self.repository = Repository(flow.settings, flow.engine, self.store)

    def save(self, *names: str, kind: Format = Format.AVRO) -> Manifest:
        """Back up some datasets, by default `things`."""
        return self.back_up(names or ("things",), kind)

    def save_all(self, kind: Format = Format.AVRO) -> Manifest:
        return self.back_up(None, kind)

    def restore(
        self, saved: Manifest, *names: str, suffix: str = "2", **more: Any
    ) -> list[Restored]:
        return self._restore(saved, names or None, suffix, **more)

    def compare(self, saved: Manifest, *names: str) -> list[Comparison]:
        return compare(self.flow.engine, saved, names or None, "2")

    def state(self) -> tuple[object, ...]:
        """What a restore that fails must not change."""
        tables = "SELECT relname, oid FROM pg_class WHERE relkind IN ('r', 'v', 'i') ORDER BY oid"
        states = "SELECT id, state, dataset FROM sluice.ingestions ORDER BY id"
        names = "SELECT name, version FROM sluice.datasets ORDER BY name"
        return tuple(tuple(map(tuple, self.flow.all(each))) for each in (tables, states, names))


@pytest.fixture(scope="module")
def loaded(clone_database: Clone) -> Iterator[str]:
    """A database with a published file of 60 things."""
    with clone_database() as url:
        made = Flow(url, chunk_bytes=4096)
        made.declare()
        made.run(HEADER + lines(1, 40) + lines(41, 60, "b"))
        made.close()
        yield url


@pytest.fixture
def flow(clone_database: Clone, loaded: str) -> Iterator[Flow]:
    with clone_database(loaded) as url:
        made = Flow(url)
        yield made
        made.close()


@pytest.fixture
def backups(flow: Flow) -> Backups:
    return Backups(flow)


def parts_of(saved: Manifest, dataset: str = "things") -> list[str]:
    return [part.object for each in saved.datasets if each.name == dataset for part in each.parts]


@pytest.mark.parametrize("kind", Format)
def test_every_dataset_is_restored_as_a_copy_with_the_suffix_2(
    backups: Backups, kind: Format
) -> None:
    backups.flow.declare(ZOO)
    saved = backups.save_all(kind)
    found = backups.restore(saved)
    assert {(each.dataset, each.into) for each in found} >= {("things", "things2"), ("zoo", "zoo2")}
    assert backups.flow.ids("things2") == backups.flow.ids() == list(range(1, 61))
    kinds = "SELECT kind, sum(things) AS n FROM things2_kinds GROUP BY kind ORDER BY kind"
    assert [(row.kind, row.n) for row in backups.flow.all(kinds)] == [("a", 40), ("b", 20)]
    assert all(not (each.only_here or each.only_there) for each in backups.compare(saved))


@pytest.mark.parametrize("has_key", [False, True], ids=["plain", "with a key"])
@pytest.mark.parametrize("kind", Format)
def test_columns_with_any_name_are_restored(backups: Backups, kind: Format, has_key: bool) -> None:
    flow = backups.flow
    flow.declare(words(has_key=has_key))
    header = ",".join(WORDS)

    def load(number: int) -> None:
        cells = ",".join(f"{name} {number}" for name in WORDS)
        flow.run(f"{header}\n{cells}\n".encode(), f"words/{number}.csv")
        flow.deliver()

    load(1)
    load(2)
    saved = backups.save("words", kind=kind)
    backups.restore(saved, "words")
    (found,) = backups.compare(saved, "words")
    assert (found.rows_of_copy, found.only_here, found.only_there) == (2, 0, 0)
    load(3)
    (found,) = backups.compare(saved, "words")
    assert found.sample_here == [{**{name: f"{name} 3" for name in WORDS}, "_times": 1}]
    backups.restore(saved, "words", suffix="")
    assert [row.user for row in flow.all('SELECT "user" FROM words ORDER BY 1')] == [
        "user 1",
        "user 2",
    ]


@pytest.mark.parametrize("kind", Format)
def test_every_type_is_restored_unchanged(backups: Backups, kind: Format) -> None:
    flow = backups.flow
    flow.declare(ZOO)
    columns = [each["name"] for each in ZOO["columns"][:-1]] + ["place_lon", "place_lat"]
    names = ", ".join(["ingestion", *columns])
    with flow.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO store.zoo__kind (text) VALUES ('x'), ('')")
        connection.exec_driver_sql(f"INSERT INTO store.zoo ({names}) VALUES {ZOO_ROWS}")
        connection.exec_driver_sql("UPDATE sluice.publications SET dataset = 'zoo'")
    saved = backups.save("zoo", kind=kind)
    backups.restore(saved, "zoo")
    listed = ", ".join(f"CAST({name} AS text)" for name in columns)
    before, after = (flow.all(f"SELECT {listed} FROM {each}") for each in ("zoo", "zoo2"))
    assert list(map(tuple, after)) == list(map(tuple, before))
    assert len(after) == 4
    (found,) = backups.compare(saved, "zoo")
    assert (found.rows, found.only_here, found.only_there) == (4, 0, 0)


def test_one_chosen_table_is_backed_up_and_restored(backups: Backups) -> None:
    backups.flow.declare(ZOO)
    saved = backups.save()
    assert [each.name for each in saved.datasets] == ["things"]
    backups.restore(saved, "things", suffix="_before")
    assert backups.flow.ids("things_before") == backups.flow.ids()
    with pytest.raises(NotFoundError, match="does not contain zoo"):
        backups.restore(saved, "zoo")
    with pytest.raises(NotFoundError, match="no dataset gone"):
        backups.save("gone")


def test_restoring_twice_neither_duplicates_nor_fails(backups: Backups) -> None:
    saved = backups.save()
    for suffix in ("2", "2", "", ""):
        backups.restore(saved, "things", suffix=suffix)
    assert backups.flow.ids("things2") == backups.flow.ids() == list(range(1, 61))
    assert backups.flow.kinds() == {"a": 40, "b": 20}


def test_a_copy_counts_boxes_with_functions_of_its_own(backups: Backups) -> None:
    flow = backups.flow
    counts = {"kind": "box_counts", "points": ["place"], "time": "at"}
    columns = [{"name": "place", "type": "point"}, {"name": "at", "type": "timestamp"}]
    flow.declare({"name": "stops", "columns": columns, "projections": {"map": counts}})
    flow.run(b"place,at\nPOINT (1 2),2018-05-28\nPOINT (9 9),2018-05-28\n", "stops/a.csv")
    backups.restore(backups.save("stops"), "stops")
    sql = "SELECT CAST(period AS text), rows FROM stops2_map_counts(0, 0, 3, 3)"
    assert [tuple(row) for row in flow.all(sql)] == [("2018-05-28", 1)]
    assert flow.compact("stops2")
    assert flow.all("SELECT 1 FROM stops2_uncompacted") == []
    assert [tuple(row) for row in flow.all(sql)] == [("2018-05-28", 1)]


def test_copies_are_not_backed_up_unless_named(backups: Backups) -> None:
    backups.restore(backups.save(), "things")
    assert "things2" not in {each.name for each in backups.save_all().datasets}


def test_other_readers_of_avro_read_the_parts(backups: Backups) -> None:
    saved = backups.save()
    rows = []
    for name in parts_of(saved):
        if "__" not in name:
            rows += list(fastavro.reader(io.BytesIO(backups.store.objects[name])))
    assert len(rows) == 60
    assert {row["kind"] for row in rows} == {"a", "b"}  # texts, not codes
    assert {row["name"] for row in rows} == {f"thing {n}" for n in range(1, 61)}


def test_large_tables_are_cut_into_parts(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "_PART_BYTES", 64 * 1024)
    monkeypatch.setattr(backup_module, "_BLOCK_BYTES", 16 * 1024)
    with backups.flow.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO store.things (id, name, kind, ingestion)"
            " SELECT n, 'thing ' || n, 1 + n % 2, 1 FROM generate_series(61, 20000) AS n"
        )
    saved = backups.save()
    assert len(parts_of(saved)) > 10
    backups.restore(saved)
    (found,) = backups.compare(saved)
    assert (found.rows, found.only_here, found.only_there) == (20_000, 0, 0)


def test_a_backup_is_of_one_snapshot(backups: Backups) -> None:
    """A file published while parts are written is in none of the tables."""
    flow, loaded = backups.flow.twin(), []

    def publish_once(name: str) -> None:
        if "started" not in name and not loaded:
            loaded.append(flow.run(HEADER + lines(61, 70), "things/b.csv"))

    flow._delivered = backups.flow._delivered
    backups.store.before_keep = publish_once
    saved = backups.save()
    assert backups.flow.ids() == list(range(1, 71))
    backups.restore(saved)
    assert backups.flow.ids("things2") == list(range(1, 61))
    total = backups.flow.one("SELECT sum(things) AS n FROM things2_kinds").n
    assert total == 60
    flow.close()


def test_differences_are_counted_and_sampled(backups: Backups) -> None:
    saved = backups.save()
    backups.restore(saved)
    with backups.flow.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM store.things WHERE id <= 7")
        connection.exec_driver_sql(
            "INSERT INTO store.things SELECT * FROM store.things WHERE id = 8"
        )
        connection.exec_driver_sql(
            "INSERT INTO store.things SELECT * FROM store.things WHERE id = 8"
        )
    (found,) = backups.compare(saved)
    assert (found.rows, found.rows_of_copy) == (56, 60)
    assert (found.only_here, found.only_there) == (3, 7)
    assert found.sample_here == [{"id": 8, "name": "thing 8", "kind": "a", "_times": 3}]
    assert [row["id"] for row in found.sample_there] == [1, 2, 3, 4, 5]


# In place


def test_in_place_later_ingestions_are_withdrawn(backups: Backups) -> None:
    flow = backups.flow
    saved = backups.save()
    later = flow.run(HEADER + lines(61, 70), "things/later.csv")
    backups.restore(saved, "things", suffix="")
    assert flow.ids() == list(range(1, 61))
    assert (flow.state(1), flow.state(later)) == ("done", "undone")
    assert flow.event_names(later)[-1] == "undone"
    assert flow.kinds() == {"a": 40, "b": 20}


def test_in_place_published_files_keep_their_rows_and_are_skipped_when_sent_again(
    backups: Backups,
) -> None:
    flow = backups.flow
    backups.restore(backups.save(), "things", suffix="")
    again = flow.run(HEADER + lines(1, 40) + lines(41, 60, "b"), "things/again.csv")
    assert flow.state(again) == "skipped"
    flow.undo(1)
    assert flow.ids() == []


def test_in_place_rows_of_an_undone_file_return_as_rows_of_the_restore(
    backups: Backups,
) -> None:
    flow = backups.flow
    saved = backups.save()
    flow.undo(1)
    (found,) = backups.restore(saved, "things", suffix="")
    assert flow.ids() == list(range(1, 61))
    assert flow.state(1) == "undone"
    assert flow.account(found.ingestion) == (60, 60, 0)
    assert flow.event_names(found.ingestion) == ["done"]


def test_a_load_continues_while_its_dataset_is_restored(backups: Backups) -> None:
    flow = backups.flow
    saved = backups.save()
    ingestion = flow.split(flow.put(HEADER + lines(61, 90), "things/loading.csv"))
    first, *others = flow.chunks(ingestion)
    flow.load(first)
    backups.restore(saved, "things", suffix="")
    for chunk in others:
        flow.load(chunk)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 91))
    assert sum(flow.kinds().values()) == 90


def test_constraints_and_indexes_are_restored_under_their_names(backups: Backups) -> None:
    flow = backups.flow
    table = (
        "CREATE TABLE store.ranked (id integer CONSTRAINT ranked_pk PRIMARY KEY, kind smallint,"
        " ingestion integer NOT NULL, CONSTRAINT ranked_is_positive CHECK (id > 0));"
        "CREATE INDEX ranked_kind ON store.ranked USING brin (kind) WITH (pages_per_range = 4);"
    )
    columns = [{"name": "id", "type": "integer", "required": True},
               {"name": "kind", "type": "text", "dictionary": True}]  # fmt: skip
    flow.declare({"name": "ranked", "description": "x", "columns": columns, "table": table})
    names = (
        "SELECT c.relname AS t, i.relname AS n FROM pg_index JOIN pg_class c ON c.oid = indrelid"
        " JOIN pg_class i ON i.oid = indexrelid WHERE c.relname LIKE 'ranked%' AND i.relname !~ '__'"
        " ORDER BY 1, 2"
    )
    flow.run(b"id,kind\n1,a\n2,b\n", "ranked/a.csv")
    saved = backups.save("ranked")
    backups.restore(saved, suffix="")
    backups.restore(saved)
    assert list(map(tuple, flow.all(names))) == [
        ("ranked", "ranked_kind"),
        ("ranked", "ranked_pk"),
        ("ranked2", "ranked2_kind"),
        ("ranked2", "ranked2_pk"),
    ]
    checks = "SELECT conname AS n FROM pg_constraint WHERE contype = 'c' AND conname ~ '^ranked'"
    assert {row.n for row in flow.all(checks)} == {"ranked_is_positive", "ranked2_is_positive"}
    later = flow.run(b"id,kind\n3,a\n4,c\n", "ranked/b.csv")
    assert (flow.state(later), flow.ids("ranked")) == ("done", [1, 2, 3, 4])


def test_a_new_database_is_restored_from_the_bucket_alone(
    backups: Backups, clone_database: Callable[[], AbstractContextManager[str]]
) -> None:
    saved = backups.save()
    with clone_database() as url:
        _restore_into(Flow(url), backups, saved.id)


def _restore_into(other: Flow, backups: Backups, saved: str) -> None:
    restore = Restore(other.settings, other.engine, backups.store, other.topics)
    restore(Repository(other.settings, other.engine, backups.store).newest(), None, "")
    assert other.ids() == list(range(1, 61))
    assert saved == Repository(other.settings, other.engine, backups.store).newest().id
    other.run(HEADER + lines(61, 65), "things/b.csv")
    assert other.ids() == list(range(1, 66))
    other.close()


# Datasets with a key


@pytest.fixture
def keyed(flow: Flow) -> Backups:
    """Two datasets, one of which references the other; a later file replaced a row."""
    flow.declare(JOBS)
    flow.declare(HIRED)
    flow.run(b"id,job\n1,Nurse\n2,Judge\n3,Baker\n", "posts/a.csv")
    flow.run(b"id,job\n3,Chef\n", "posts/b.csv")
    flow.run(b"id,name,job_id\n1,Ada,1\n2,Bob,3\n", "staff/a.csv")
    return Backups(flow)


def jobs(flow: Flow, name: str = "posts") -> list[tuple[int, str]]:
    return [tuple(row) for row in flow.all(f"SELECT id, job FROM {name} ORDER BY id")]


def test_copies_of_keyed_tables_keep_their_key(keyed: Backups) -> None:
    flow = keyed.flow
    saved = keyed.save("posts", "staff")
    for _ in range(2):
        keyed.restore(saved)
    assert jobs(flow, "posts2") == jobs(flow) == [(1, "Nurse"), (2, "Judge"), (3, "Chef")]
    assert all(not (each.only_here or each.only_there) for each in keyed.compare(saved))
    flow.run(b"id,job\n3,Cook\n4,Smith\n", "posts2/c.csv")
    assert jobs(flow, "posts2")[2:] == [(3, "Cook"), (4, "Smith")]
    found = [each for each in keyed.compare(saved, "posts") if each.dataset == "posts"]
    assert [(each.only_here, each.only_there) for each in found] == [(1, 2)]
    keyed.restore(saved)
    assert jobs(flow, "posts2") == jobs(flow)


def test_keyed_tables_restored_in_place_can_still_be_undone(keyed: Backups) -> None:
    flow = keyed.flow
    saved = keyed.save("posts", "staff")
    later = flow.run(b"id,job\n1,Surgeon\n3,Cook\n4,Smith\n", "posts/c.csv")
    for _ in range(2):
        keyed.restore(saved, suffix="")
    assert jobs(flow) == [(1, "Nurse"), (2, "Judge"), (3, "Chef")]
    assert flow.state(later) == "undone"
    flow.run(b"id,job\n2,Jury\n", "posts/d.csv")
    assert jobs(flow)[1] == (2, "Jury")
    second = flow.one("SELECT id FROM sluice.ingestions WHERE object = 'posts/b.csv'").id
    flow.undo(second)
    assert jobs(flow) == [(1, "Nurse"), (2, "Jury"), (3, "Baker")]


def test_a_load_of_keyed_rows_continues_while_they_are_restored(keyed: Backups) -> None:
    flow = keyed.flow
    saved = keyed.save("posts")
    data = b"id,job\n" + b"".join(f"{n},job {n}\n".encode() for n in range(3, 30))
    ingestion = flow.split(flow.put(data, "posts/loading.csv"))
    first, *others = flow.chunks(ingestion)
    flow.load(first)
    keyed.restore(saved, suffix="")
    for chunk in others:
        flow.load(chunk)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert jobs(flow) == [(1, "Nurse"), (2, "Judge"), *((n, f"job {n}") for n in range(3, 30))]


@pytest.fixture
def chain(flow: Flow) -> tuple[Backups, list[int]]:
    """A dataset whose only key three files have updated."""
    flow.declare(JOBS)
    names = ("Nurse", "Judge", "Baker")
    files = [flow.run(f"id,job\n1,{each}\n".encode(), f"posts/{each}.csv") for each in names]
    return Backups(flow), files


def undo_each(flow: Flow, ingestions: Sequence[int]) -> list[str]:
    """Undo ingestions one after the other; return what the key has after each."""
    seen = []
    for each in ingestions:
        flow.undo(each)
        seen += [name for _, name in jobs(flow)] or ["nothing"]
    return seen


@pytest.mark.parametrize(
    ("order", "seen"),
    [
        ("RBA", ["Judge", "Nurse", "nothing"]),
        ("RAB", ["Judge", "Judge", "nothing"]),
        ("BRA", ["Baker", "Nurse", "nothing"]),
        ("BAR", ["Baker", "Baker", "nothing"]),
        ("ARB", ["Baker", "Judge", "nothing"]),
        ("ABR", ["Baker", "Baker", "nothing"]),
    ],
)
def test_a_row_that_a_restore_brought_back_is_undone_like_an_update(
    chain: tuple[Backups, list[int]], order: str, seen: list[str]
) -> None:
    backups, (a, b, c) = chain
    saved = backups.save("posts")
    backups.flow.undo(c)
    (restored,) = backups.restore(saved, "posts", suffix="")
    assert jobs(backups.flow) == [(1, "Baker")]
    numbers = {"A": a, "B": b, "R": restored.ingestion}
    assert undo_each(backups.flow, [numbers[each] for each in order]) == seen


def test_an_update_after_a_restore_in_place_is_undone(chain: tuple[Backups, list[int]]) -> None:
    backups, (a, b, c) = chain
    saved = backups.save("posts")
    backups.flow.undo(c)
    (restored,) = backups.restore(saved, "posts", suffix="")
    later = backups.flow.run(b"id,job\n1,Chef\n", "posts/later.csv")
    (again,) = backups.restore(backups.save("posts"), "posts", suffix="")
    seen = undo_each(backups.flow, [restored.ingestion, later, a, again.ingestion, b])
    assert seen == ["Chef", "Judge", "Judge", "Judge", "nothing"]


def test_a_restore_in_place_keeps_what_was_replaced_around_a_withdrawn_file(flow: Flow) -> None:
    flow.declare(JOBS)
    first = flow.run(b"id,job\n1,Nurse\n", "posts/a.csv")
    late = flow.split(flow.put(b"id,job\n1,Judge\n", "posts/late.csv"), ALONE)
    flow._delivered = len(flow.topics.sent)
    newest = flow.run(b"id,job\n1,Baker\n", "posts/c.csv")
    backups = Backups(flow)
    saved = backups.save("posts")
    for each in flow.chunks(late):
        flow.load(each)
    flow.finish(late)
    assert flow.state(late) == "done"
    backups.restore(saved, "posts", suffix="")
    assert flow.state(late) == "undone"
    assert undo_each(flow, [newest, first]) == ["Nurse", "nothing"]


# Backups that do not match


def test_a_new_optional_column_stays_empty(backups: Backups) -> None:
    saved = backups.save()
    more = [*THINGS["columns"], {"name": "color", "type": "text"}]
    backups.flow.declare(THINGS, columns=more)
    backups.restore(saved, "things", suffix="")
    assert backups.flow.one("SELECT count(*) AS n, count(color) AS c FROM things") == (60, 0)


def test_a_dataset_that_is_not_a_copy_is_not_replaced(backups: Backups) -> None:
    backups.flow.declare(THINGS, name="things2", rollups={})
    saved, before = backups.save(), backups.state()
    with pytest.raises(BackupMismatchError, match="things2 is a dataset, not a copy"):
        backups.restore(saved, "things")
    assert backups.state() == before


def test_a_view_of_the_user_is_not_dropped(backups: Backups) -> None:
    with backups.flow.engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT id FROM things")
    saved, before = backups.save(), backups.state()
    with pytest.raises(BackupMismatchError, match="nothing was changed"):
        backups.restore(saved, "things", suffix="")
    assert backups.state() == before


def test_a_suffix_that_makes_no_valid_name_is_refused(backups: Backups) -> None:
    saved = backups.save()
    for suffix in ("-x", " ", "X"):
        with pytest.raises(ParameterError, match="is not a valid name of a dataset"):
            backups.restore(saved, suffix=suffix)


@pytest.mark.parametrize("suffix", ["__staging", "__replaced", "__kinds", "_kinds"])
def test_a_copy_cannot_take_the_name_of_another_table_or_view(
    backups: Backups, suffix: str
) -> None:
    saved, before = backups.save(), backups.state()
    with pytest.raises(ParameterError, match=r"^suffix: name: "):
        backups.restore(saved, suffix=suffix)
    assert backups.state() == before


# Failures


def test_a_damaged_part_is_named_and_nothing_is_changed(backups: Backups) -> None:
    saved = backups.save()
    backups.restore(saved)
    before, name = backups.state(), parts_of(saved)[-1]
    data = backups.store.objects.pop(name)
    flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    for stored in ({}, {name: flipped}, {name: data[:-1]}):
        backups.store.objects.update(stored)
        for suffix in ("2", ""):
            with pytest.raises(DamagedBackupError, match=name):
                backups.restore(saved, suffix=suffix)
    assert backups.state() == before
    assert backups.flow.ids("things2") == list(range(1, 61))


def test_a_wrong_count_is_damage(backups: Backups) -> None:
    saved = backups.save()
    (dataset,) = saved.datasets
    rows, *others = dataset.tables
    wrong = dataclasses.replace(rows, parts=(dataclasses.replace(rows.parts[0], rows=59),))
    forged = dataclasses.replace(dataset, tables=(wrong, *others))
    with pytest.raises(DamagedBackupError, match="does not contain 59 rows"):
        backups.restore(dataclasses.replace(saved, datasets=(forged,)))


@pytest.mark.parametrize("at", ["things-", "things__kinds", "manifest"])
def test_a_killed_backup_is_never_listed_as_done(backups: Backups, at: str) -> None:
    def kill(name: str) -> None:
        if at in name:
            raise Killed

    backups.store.before_keep = kill
    with pytest.raises(Killed):
        backups.save()
    backups.store.before_keep = lambda _name: None
    (found,) = backups.repository.backups(10)
    assert (found.state, found.rows) == ("failed", 0)
    with pytest.raises(NotFoundError):
        backups.repository.manifest(found.id)
    with pytest.raises(NotFoundError):
        backups.repository.newest()
    assert backups.save().datasets
    backups.restore(backups.repository.newest())
    assert backups.flow.ids("things2") == list(range(1, 61))


def test_an_unfinished_backup_is_running(backups: Backups) -> None:
    seen = []

    def look(name: str) -> None:
        if "manifest" in name:
            seen.extend(backups.repository.backups(10))

    backups.store.before_keep = look
    saved = backups.save()
    assert [each.state for each in seen] == ["running"]
    assert backups.repository.backup(saved.id).state == "done"


@pytest.mark.parametrize("suffix", ["2", ""])
def test_a_killed_restore_changes_nothing_and_can_be_repeated(
    backups: Backups, suffix: str
) -> None:
    saved = backups.save()
    backups.restore(saved)
    before = backups.state()

    def kill(progress: Any) -> None:
        if progress.parts == progress.parts_total:
            raise Killed

    with pytest.raises(Killed):
        backups.restore(saved, suffix=suffix, report=kill)
    assert backups.state() == before
    backups.restore(saved, suffix=suffix)
    assert backups.flow.ids("things2") == backups.flow.ids() == list(range(1, 61))


def test_a_failed_backup_has_its_problem(backups: Backups) -> None:
    def refuse(name: str) -> None:
        if ".avro" in name:
            raise StorageUnavailableError("gs://outbox: out of order")

    backups.store.before_keep = refuse
    with pytest.raises(StorageUnavailableError):
        backups.save()
    (found,) = backups.repository.backups(10)
    assert found.state == "failed"
    assert found.problem is not None
    assert found.problem["detail"] == "gs://outbox: out of order"


def test_a_manifest_carries_the_declaration(backups: Backups) -> None:
    saved = backups.save()
    document = json.loads(backups.store.objects[f"backups/{saved.id}/manifest.json"])
    (dataset,) = document["datasets"]
    assert dataset["declaration"]["columns"] == THINGS["columns"]
    with backups.flow.engine.begin() as connection:
        backups.restore(saved)
        found = {each.dataset.name: each for each in dataset_versions(connection)}
    assert found["things2"].origin == "restored"
    assert found["things2"].rows_loaded == 60
