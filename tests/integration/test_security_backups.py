"""A manifest is data of a bucket: its texts are checked before the owner runs any as SQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flow import HEADER, Flow, lines
from test_backups import Backups, Clone

from sluice.backups.manifest import Format
from sluice.errors import BackupMismatchError, DamagedBackupError, SluiceError

Change = Callable[[Any], object]


@pytest.fixture(scope="module")
def loaded(clone_database: Clone) -> Iterator[str]:
    """A database with a published file of five things, and a sequence that counts calls of nextval()."""
    with clone_database() as url:
        made = Flow(url)
        made.declare()
        made.run(HEADER + lines(1, 5))
        with made.engine.begin() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE public.calls")
        made.close()
        yield url


@pytest.fixture
def backups(clone_database: Clone, loaded: str) -> Iterator[Backups]:
    with clone_database(loaded) as url:
        made = Flow(url)
        yield Backups(made)
        made.close()


def forge(backups: Backups, change: Change) -> str:
    """Change the manifest of a backup of `things`; return its id."""
    saved = backups.save(kind=Format.PARQUET)
    name = f"backups/{saved.id}/manifest.json"
    document = json.loads(backups.store.objects[name])
    change(document)
    backups.store.objects[name] = json.dumps(document).encode()
    return saved.id


def dataset(document: Any) -> Any:
    return document["datasets"][0]


def rows(document: Any) -> Any:
    return dataset(document)["tables"][0]


def constraint(sql: str) -> Change:
    return lambda each: rows(each)["shape"]["constraints"].append({"name": "things_c", "sql": sql})


def index(sql: str) -> Change:
    return lambda each: rows(each)["shape"]["indexes"].append({"name": "things_i", "sql": sql})


def type_of_column(text: str) -> Change:
    return lambda each: rows(each)["shape"]["columns"][0].update(type=text)


STOLEN = "CREATE INDEX i ON store.things USING btree (ingestion)"

FORGED: dict[str, tuple[str, Change]] = {
    "a second action of ALTER TABLE": ("constraint things_c", constraint(
        "CHECK (true), ADD COLUMN stolen bigint DEFAULT nextval('public.calls')")),
    "a second statement after a constraint": (
        "constraint things_c", constraint("CHECK (true); DROP TABLE store.things")),
    "a parenthesis that closes another": ("constraint things_c", constraint("CHECK (true)) (")),
    "a volatile function in a check": (
        "calls nextval", constraint("CHECK (nextval('public.calls') > 0)")),
    "a foreign key": (
        "constraint things_c", constraint("FOREIGN KEY (id) REFERENCES sluice.ingestions")),
    "an exclusion": ("constraint things_c", constraint("EXCLUDE USING btree (id WITH =)")),
    "a second statement after an index": (
        "index things_i", index(f"{STOLEN}; DROP TABLE store.things")),
    "no index": ("index things_i", index("DROP TABLE store.things")),
    "a function that reads files in an index": (
        "rows of things2", index(
            "CREATE INDEX i ON store.things USING btree (ingestion) WHERE (pg_backend_pid() > 0)")),
    "a second statement in a type": (
        "column ", type_of_column("integer); DROP TABLE store.things; CREATE TABLE public.t (a int")),
    "a row type": ("column ", type_of_column("sluice.datasets")),
    "a default in a type": ("column ", type_of_column("bigint DEFAULT nextval('public.calls')")),
    "a column that is not declared": ("column ", lambda each: rows(each)["shape"]["columns"].append(
        {"name": "more", "type": "text", "nullable": True, "dictionary": ""})),
    "a column twice": ("columns\\[0\\]", lambda each: rows(each)["shape"]["columns"].append(
        rows(each)["shape"]["columns"][0])),
    "another dictionary": ("columns\\[0\\]", lambda each: rows(each)["shape"]["columns"][0].update(
        dictionary="_staging")),
    "a roll-up that is not declared": (
        "no such roll-up", lambda each: rows(each).update(rollup="staging")),
    "no name of a roll-up": ("rollup", lambda each: rows(each).update(rollup='x" CASCADE')),
    "no name of a dataset": ("name", lambda each: dataset(each).update(name="sluice.keys")),
    "a dataset twice": ("name", lambda each: each["datasets"].append(dataset(each))),
    "the declaration of another dataset": (
        "declaration.name", lambda each: dataset(each)["declaration"].update(name="others")),
    "an unknown origin": ("origin", lambda each: dataset(each).update(origin="god")),
    "a part outside the folder": (
        "object", lambda each: rows(each)["parts"][0].update(object="rejects/1.csv")),
    "a part of another backup": ("object", lambda each: rows(each)["parts"][0].update(
        object="backups/20000101T000000Z-000000/a.parquet")),
    "the id of another backup": ("id", lambda each: each.update(id="20000101T000000Z-000000")),
    "a part of more bytes than memory has": (
        "size_bytes", lambda each: rows(each)["parts"][0].update(size_bytes=10**18)),
    "fewer bytes of a part": (
        "does not match", lambda each: rows(each)["parts"][0].update(size_bytes=1)),
    "more rows of a part": (
        "does not contain", lambda each: rows(each)["parts"][0].update(rows=10**15)),
    "a negative number of rows": ("negative", lambda each: rows(each)["parts"][0].update(rows=-1)),
    "a number for a text": ("sql", lambda each: rows(each)["shape"]["constraints"].append(
        {"name": "x", "sql": 1})),
    "a text for a number": ("rows", lambda each: rows(each)["parts"][0].update(rows="5")),
    "a list for the manifest's datasets": ("datasets", lambda each: each.update(datasets={})),
}  # fmt: skip


def restore(backups: Backups, backup: str, suffix: str) -> None:
    backups.restore(backups.repository.manifest(backup), suffix=suffix)


def calls(backups: Backups) -> bool:
    return bool(backups.flow.all("SELECT is_called FROM public.calls")[0].is_called)


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_manifest_is_refused_with_its_field_and_changes_nothing(
    backups: Backups, case: str
) -> None:
    named, change = FORGED[case]
    backup, before = forge(backups, change), backups.state()
    with pytest.raises(DamagedBackupError, match=named):
        restore(backups, backup, "2")
    assert backups.state() == before
    assert not calls(backups)


@pytest.mark.parametrize("case", FORGED)
def test_a_restore_in_place_runs_no_text_of_a_forged_manifest(backups: Backups, case: str) -> None:
    backup = forge(backups, FORGED[case][1])
    with contextlib.suppress(DamagedBackupError, BackupMismatchError):
        restore(backups, backup, "")
    assert backups.flow.ids() == [1, 2, 3, 4, 5]
    assert not calls(backups)


@pytest.mark.parametrize("table", [
    "CREATE TABLE store.things (id int); DROP TABLE sluice.keys",
    "CREATE TABLE store.things (id int DEFAULT nextval('public.calls'), ingestion int)",
])  # fmt: skip
def test_a_forged_declaration_is_checked_as_any_other(backups: Backups, table: str) -> None:
    backup = forge(backups, lambda each: dataset(each)["declaration"].update(table=table))
    with backups.flow.engine.begin() as connection:
        for each in (
            "DROP SCHEMA store CASCADE",
            "CREATE SCHEMA store",
            "DELETE FROM sluice.datasets",
        ):
            connection.exec_driver_sql(each)
    before = backups.state()
    with pytest.raises(SluiceError, match=r"table\.sql"):
        restore(backups, backup, "")
    assert backups.state() == before
    assert not calls(backups)


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b"7", b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("name", ["manifest", "started"])
def test_what_is_no_manifest_is_damage(backups: Backups, name: str, text: bytes) -> None:
    saved = backups.save()
    del backups.store.objects[f"backups/{saved.id}/manifest.json"]
    backups.store.objects[f"backups/{saved.id}/{name}.json"] = text or b" "
    with pytest.raises(DamagedBackupError):
        backups.repository.backup(saved.id)
    whole = backups.save()
    listed = {each.id: each.state for each in backups.repository.backups(10)}
    assert listed == {saved.id: "failed", whole.id: "done"}
