"""Backups: one moment of the datasets, restored beside or in place, all or nothing, whatever happens amid."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastavro
import pytest
from flow import HEADER, THINGS, Flow, Killed, lines

from sluice.backups import backup as backup_module
from sluice.backups.backup import Backup
from sluice.backups.compare import Comparison, compare
from sluice.backups.manifest import Format, Manifest
from sluice.backups.repository import Shelf
from sluice.backups.restore import Restore, Restored
from sluice.errors import (
    BackupMismatchError,
    DamagedBackupError,
    NotFoundError,
    ParameterError,
    StorageUnavailableError,
)
from sluice.postgres.catalog import dataset_versions
from sluice.postgres.migrations import migrate

#: Every type, with what is awkward of it.
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
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', -180, 90),
(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(1, '', 2, -2147483648, -9223372036854775808, 'NaN', -0.000000001, false, '0044-03-15 BC',
    '1582-10-15', '0001-01-01 00:00+00', '00:00', '00000000-0000-0000-0000-000000000000', 0, -0.0),
(1, E'two\\nlines, "quotes" \u2713 \U0001f6b2', 2, 0, 0, '-Infinity', 0, true, 'infinity',
    '-infinity', 'infinity', '24:00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1e-300, 12.5)"""


class Store:
    """The outbox in memory; `before_keep` may raise."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.before_keep: Callable[[str], object] = lambda _name: None

    def fetch(self, bucket: str, name: str) -> bytes | None:
        return self.objects.get(name)

    def keep(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        self.before_keep(name)
        self.objects[name] = data

    def folders(self, bucket: str, prefix: str) -> list[str]:
        found = {n.removeprefix(prefix).split("/")[0] for n in self.objects if n.startswith(prefix)}
        return sorted(found)


class Keeper:
    """A flow and its backups."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.store = Store()
        self.back_up = Backup(flow.settings, flow.engine, self.store)
        self._restore = Restore(flow.settings, flow.engine, self.store, flow.topics)
        self.shelf = Shelf(flow.settings, flow.engine, self.store)

    def save(self, *names: str, kind: Format = Format.AVRO) -> Manifest:
        return self.back_up(names or None, kind)

    def restore(
        self, saved: Manifest, *names: str, suffix: str = "2", **more: Any
    ) -> list[Restored]:
        return self._restore(saved, names or None, suffix, **more)

    def compare(self, saved: Manifest, *names: str) -> list[Comparison]:
        return compare(self.flow.engine, saved, names or None, "2")

    def traces(self) -> tuple[object, ...]:
        """What a restore that fails may not change."""
        tables = "SELECT relname, oid FROM pg_class WHERE relkind IN ('r', 'v', 'i') ORDER BY oid"
        states = "SELECT id, state, dataset FROM sluice.ingestions ORDER BY id"
        names = "SELECT name, version FROM sluice.datasets ORDER BY name"
        return tuple(tuple(map(tuple, self.flow.all(each))) for each in (tables, states, names))


@pytest.fixture
def flow(database: str) -> Iterator[Flow]:
    made = Flow(database)
    made.declare()
    yield made
    made.engine.dispose()


@pytest.fixture
def keeper(flow: Flow) -> Keeper:
    flow.run(HEADER + lines(1, 40) + lines(41, 60, "b"))
    return Keeper(flow)


def parts_of(saved: Manifest, dataset: str = "things") -> list[str]:
    return [part.object for each in saved.datasets if each.name == dataset for part in each.parts]


@pytest.mark.parametrize("kind", Format)
def test_every_table_is_restored_beside_the_datasets_under_the_suffix_2(
    keeper: Keeper, kind: Format
) -> None:
    keeper.flow.declare(ZOO)
    saved = keeper.save(kind=kind)
    found = keeper.restore(saved)
    assert {(each.dataset, each.into) for each in found} >= {("things", "things2"), ("zoo", "zoo2")}
    assert keeper.flow.ids("things2") == keeper.flow.ids() == list(range(1, 61))
    kinds = "SELECT kind, sum(things) AS n FROM things2_kinds GROUP BY kind ORDER BY kind"
    assert [(row.kind, row.n) for row in keeper.flow.all(kinds)] == [("a", 40), ("b", 20)]
    assert all(not (each.only_here or each.only_there) for each in keeper.compare(saved))


@pytest.mark.parametrize("kind", Format)
def test_every_type_comes_back_as_it_was(keeper: Keeper, kind: Format) -> None:
    flow = keeper.flow
    flow.declare(ZOO)
    columns = [each["name"] for each in ZOO["columns"][:-1]] + ["place_lon", "place_lat"]
    names = ", ".join(["ingestion", *columns])
    with flow.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO store.zoo__kind (text) VALUES ('x'), ('')")
        connection.exec_driver_sql(f"INSERT INTO store.zoo ({names}) VALUES {ZOO_ROWS}")
        connection.exec_driver_sql("UPDATE sluice.publications SET dataset = 'zoo'")
    saved = keeper.save("zoo", kind=kind)
    keeper.restore(saved, "zoo")
    listed = ", ".join(f"CAST({name} AS text)" for name in columns)
    before, after = (flow.all(f"SELECT {listed} FROM {each}") for each in ("zoo", "zoo2"))
    assert list(map(tuple, after)) == list(map(tuple, before))
    assert len(after) == 4
    (found,) = keeper.compare(saved, "zoo")
    assert (found.rows, found.only_here, found.only_there) == (4, 0, 0)


def test_one_chosen_table_is_backed_up_and_restored(keeper: Keeper) -> None:
    keeper.flow.declare(ZOO)
    saved = keeper.save("things")
    assert [each.name for each in saved.datasets] == ["things"]
    keeper.restore(saved, "things", suffix="_before")
    assert keeper.flow.ids("things_before") == keeper.flow.ids()
    with pytest.raises(NotFoundError, match="does not hold zoo"):
        keeper.restore(saved, "zoo")
    with pytest.raises(NotFoundError, match="no dataset gone"):
        keeper.save("gone")


def test_restoring_twice_neither_duplicates_nor_fails(keeper: Keeper) -> None:
    saved = keeper.save()
    for suffix in ("2", "2", "", ""):
        keeper.restore(saved, "things", suffix=suffix)
    assert keeper.flow.ids("things2") == keeper.flow.ids() == list(range(1, 61))
    assert keeper.flow.kinds() == {"a": 40, "b": 20}


def test_a_copy_of_a_copy_is_not_made_unless_named(keeper: Keeper) -> None:
    keeper.restore(keeper.save("things"), "things")
    assert "things2" not in {each.name for each in keeper.save().datasets}


def test_parts_are_avro_that_others_read(keeper: Keeper) -> None:
    saved = keeper.save("things")
    rows = []
    for name in parts_of(saved):
        if "__" not in name:
            rows += list(fastavro.reader(io.BytesIO(keeper.store.objects[name])))
    assert len(rows) == 60
    assert {row["kind"] for row in rows} == {"a", "b"}  # texts, not codes
    assert {row["name"] for row in rows} == {f"thing {n}" for n in range(1, 61)}


def test_large_tables_are_cut_into_parts(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "_PART_BYTES", 64 * 1024)
    monkeypatch.setattr(backup_module, "_BLOCK_BYTES", 16 * 1024)
    with keeper.flow.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO store.things (id, name, kind, ingestion)"
            " SELECT n, 'thing ' || n, 1 + n % 2, 1 FROM generate_series(61, 20000) AS n"
        )
    saved = keeper.save("things")
    assert len(parts_of(saved)) > 10
    keeper.restore(saved)
    (found,) = keeper.compare(saved)
    assert (found.rows, found.only_here, found.only_there) == (20_000, 0, 0)


def test_a_backup_is_of_one_moment(keeper: Keeper) -> None:
    """A file that is published while parts are written is in none of the tables."""
    flow, amid = keeper.flow.twin(), []

    def publish_once(name: str) -> None:
        if "started" not in name and not amid:
            amid.append(flow.run(HEADER + lines(61, 70), "things/b.csv"))

    flow._delivered = keeper.flow._delivered
    keeper.store.before_keep = publish_once
    saved = keeper.save("things")
    assert keeper.flow.ids() == list(range(1, 71))
    keeper.restore(saved)
    assert keeper.flow.ids("things2") == list(range(1, 61))
    total = keeper.flow.one("SELECT sum(things) AS n FROM things2_kinds").n
    assert total == 60
    flow.engine.dispose()


def test_what_differs_is_counted_and_shown(keeper: Keeper) -> None:
    saved = keeper.save("things")
    keeper.restore(saved)
    with keeper.flow.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM store.things WHERE id <= 7")
        connection.exec_driver_sql(
            "INSERT INTO store.things SELECT * FROM store.things WHERE id = 8"
        )
        connection.exec_driver_sql(
            "INSERT INTO store.things SELECT * FROM store.things WHERE id = 8"
        )
    (found,) = keeper.compare(saved)
    assert (found.rows, found.rows_of_copy) == (56, 60)
    assert (found.only_here, found.only_there) == (3, 7)
    assert found.sample_here == [{"id": 8, "name": "thing 8", "kind": "a", "_times": 3}]
    assert [row["id"] for row in found.sample_there] == [1, 2, 3, 4, 5]


# In place


def test_in_place_what_came_after_the_backup_is_withdrawn(keeper: Keeper) -> None:
    flow = keeper.flow
    saved = keeper.save()
    later = flow.run(HEADER + lines(61, 70), "things/later.csv")
    keeper.restore(saved, "things", suffix="")
    assert flow.ids() == list(range(1, 61))
    assert (flow.state(1), flow.state(later)) == ("done", "undone")
    assert flow.told(later)[-1] == "undone"
    assert flow.kinds() == {"a": 40, "b": 20}


def test_in_place_files_that_are_published_keep_their_rows_and_are_still_skipped(
    keeper: Keeper,
) -> None:
    flow = keeper.flow
    keeper.restore(keeper.save(), "things", suffix="")
    again = flow.run(HEADER + lines(1, 40) + lines(41, 60, "b"), "things/again.csv")
    assert flow.state(again) == "skipped"
    flow.control.undo(1)
    assert flow.ids() == []


def test_in_place_rows_of_a_file_that_was_undone_come_back_as_those_of_the_restore(
    keeper: Keeper,
) -> None:
    flow = keeper.flow
    saved = keeper.save()
    flow.control.undo(1)
    (found,) = keeper.restore(saved, "things", suffix="")
    assert flow.ids() == list(range(1, 61))
    assert flow.state(1) == "undone"
    assert flow.account(found.ingestion) == (60, 60, 0)
    assert flow.told(found.ingestion) == ["done"]


def test_a_load_goes_on_while_its_dataset_is_restored(keeper: Keeper) -> None:
    flow = keeper.flow
    saved = keeper.save()
    ingestion = flow.split(flow.put(HEADER + lines(61, 90), "things/loading.csv"))
    first, *others = flow.chunks(ingestion)
    flow.load(first)
    keeper.restore(saved, "things", suffix="")
    for chunk in others:
        flow.load(chunk)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 91))
    assert sum(flow.kinds().values()) == 90


def test_constraints_and_indexes_come_back_under_their_names(keeper: Keeper) -> None:
    flow = keeper.flow
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
    saved = keeper.save("ranked")
    keeper.restore(saved, suffix="")
    keeper.restore(saved)
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
    keeper: Keeper, empty_database: str
) -> None:
    saved = keeper.save("things")
    other = Flow(empty_database)
    migrate(other.engine)
    restore = Restore(other.settings, other.engine, keeper.store, other.topics)
    restore(Shelf(other.settings, other.engine, keeper.store).newest(), None, "")
    assert other.ids() == list(range(1, 61))
    assert saved.id == Shelf(other.settings, other.engine, keeper.store).newest().id
    other.run(HEADER + lines(61, 65), "things/b.csv")
    assert other.ids() == list(range(1, 66))
    other.engine.dispose()


# Datasets with a key


@pytest.fixture
def keyed(flow: Flow) -> Keeper:
    """Two datasets, one of which refers to the other; a later file replaced a row."""
    flow.declare(JOBS)
    flow.declare(HIRED)
    flow.run(b"id,job\n1,Nurse\n2,Judge\n3,Baker\n", "posts/a.csv")
    flow.run(b"id,job\n3,Chef\n", "posts/b.csv")
    flow.run(b"id,name,job_id\n1,Ada,1\n2,Bob,3\n", "staff/a.csv")
    return Keeper(flow)


def jobs(flow: Flow, name: str = "posts") -> list[tuple[int, str]]:
    return [tuple(row) for row in flow.all(f"SELECT id, job FROM {name} ORDER BY id")]


def test_keyed_tables_are_restored_beside_and_keep_their_key(keyed: Keeper) -> None:
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


def test_keyed_tables_are_restored_in_place_with_what_an_undo_needs(keyed: Keeper) -> None:
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
    flow.control.undo(second)
    assert jobs(flow) == [(1, "Nurse"), (2, "Jury"), (3, "Baker")]


def test_a_load_of_keyed_rows_goes_on_while_they_are_restored(keyed: Keeper) -> None:
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


# What does not fit


def test_a_column_that_is_new_and_not_required_stays_empty(keeper: Keeper) -> None:
    saved = keeper.save()
    more = [*THINGS["columns"], {"name": "color", "type": "text"}]
    keeper.flow.declare(THINGS, columns=more)
    keeper.restore(saved, "things", suffix="")
    assert keeper.flow.one("SELECT count(*) AS n, count(color) AS c FROM things") == (60, 0)


def test_a_dataset_of_ones_own_is_no_copy_and_stays(keeper: Keeper) -> None:
    keeper.flow.declare(THINGS, name="things2", rollups={})
    saved, before = keeper.save(), keeper.traces()
    with pytest.raises(BackupMismatchError, match="things2 is a dataset of its own"):
        keeper.restore(saved, "things")
    assert keeper.traces() == before


def test_a_view_of_ones_own_is_not_dropped(keeper: Keeper) -> None:
    with keeper.flow.engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT id FROM things")
    saved, before = keeper.save(), keeper.traces()
    with pytest.raises(BackupMismatchError, match="nothing was changed"):
        keeper.restore(saved, "things", suffix="")
    assert keeper.traces() == before


@pytest.mark.parametrize("suffix", ["-x", " ", "X"])
def test_a_suffix_makes_a_name(keeper: Keeper, suffix: str) -> None:
    with pytest.raises(ParameterError, match="is not the name of a dataset"):
        keeper.restore(keeper.save("things"), suffix=suffix)


# What breaks


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("damage", ["missing", "flipped", "cut"])
def test_a_damaged_part_is_named_and_nothing_is_changed(
    keeper: Keeper, kind: Format, damage: str
) -> None:
    saved = keeper.save("things", kind=kind)
    keeper.restore(saved)
    before, name = keeper.traces(), parts_of(saved)[-1]
    data = keeper.store.objects.pop(name)
    if damage == "flipped":
        keeper.store.objects[name] = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    elif damage == "cut":
        keeper.store.objects[name] = data[:-1]
    for suffix in ("2", ""):
        with pytest.raises(DamagedBackupError, match=name):
            keeper.restore(saved, suffix=suffix)
    assert keeper.traces() == before
    assert keeper.flow.ids("things2") == list(range(1, 61))


def test_a_count_that_is_wrong_is_damage(keeper: Keeper) -> None:
    saved = keeper.save("things")
    (dataset,) = saved.datasets
    rows, *others = dataset.tables
    wrong = dataclasses.replace(rows, parts=(dataclasses.replace(rows.parts[0], rows=59),))
    forged = dataclasses.replace(dataset, tables=(wrong, *others))
    with pytest.raises(DamagedBackupError, match="does not hold 59 rows"):
        keeper.restore(dataclasses.replace(saved, datasets=(forged,)))


@pytest.mark.parametrize("at", ["things-", "things__kinds", "manifest"])
def test_a_killed_backup_is_never_listed_as_done(keeper: Keeper, at: str) -> None:
    def kill(name: str) -> None:
        if at in name:
            raise Killed

    keeper.store.before_keep = kill
    with pytest.raises(Killed):
        keeper.save()
    keeper.store.before_keep = lambda _name: None
    (found,) = keeper.shelf.documents(10)
    assert (found["state"], found["rows"]) == ("failed", 0)
    with pytest.raises(NotFoundError):
        keeper.shelf.manifest(found["id"])
    with pytest.raises(NotFoundError):
        keeper.shelf.newest()
    assert keeper.save().datasets
    keeper.restore(keeper.shelf.newest())
    assert keeper.flow.ids("things2") == list(range(1, 61))


def test_a_backup_under_way_is_running(keeper: Keeper) -> None:
    seen = []

    def look(name: str) -> None:
        if "manifest" in name:
            seen.extend(keeper.shelf.documents(10))

    keeper.store.before_keep = look
    saved = keeper.save()
    assert [each["state"] for each in seen] == ["running"]
    assert keeper.shelf.document(saved.id)["state"] == "done"


@pytest.mark.parametrize("suffix", ["2", ""])
def test_a_killed_restore_changes_nothing_and_is_repeated(keeper: Keeper, suffix: str) -> None:
    saved = keeper.save()
    keeper.restore(saved)
    before = keeper.traces()

    def kill(progress: Any) -> None:
        if progress.parts == progress.parts_total:
            raise Killed

    with pytest.raises(Killed):
        keeper.restore(saved, suffix=suffix, tell=kill)
    assert keeper.traces() == before
    keeper.restore(saved, suffix=suffix)
    assert keeper.flow.ids("things2") == keeper.flow.ids() == list(range(1, 61))


def test_a_backup_that_fails_says_why(keeper: Keeper) -> None:
    def refuse(name: str) -> None:
        if ".avro" in name:
            raise StorageUnavailableError("gs://outbox: out of order")

    keeper.store.before_keep = refuse
    with pytest.raises(StorageUnavailableError):
        keeper.save()
    (found,) = keeper.shelf.documents(10)
    assert found["state"] == "failed"
    assert found["problem"]["detail"] == "gs://outbox: out of order"


def test_a_manifest_carries_the_declaration(keeper: Keeper) -> None:
    saved = keeper.save("things")
    document = json.loads(keeper.store.objects[f"backups/{saved.id}/manifest.json"])
    (dataset,) = document["datasets"]
    assert dataset["declaration"]["columns"] == THINGS["columns"]
    with keeper.flow.engine.begin() as connection:
        keeper.restore(saved)
        found = {each.dataset.name: each for each in dataset_versions(connection)}
    assert found["things2"].origin == "restored"
    assert found["things2"].rows_loaded == 60
