"""The rows of large files with a key are copied in steps before their publication, once each, and unseen."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from faults import Fault, before_named, injected
from flow import IDLE_S, Flow, Killed, kill_after
from outbox import Store

from sluice.backups.backup import Backup
from sluice.backups.manifest import Format
from sluice.backups.restore import Restore
from sluice.errors import DatabaseUnavailableError, PublicationUnfinishedError, RowsRefusedError
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import cached_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

THINGS: Mapping[str, Any] = {
    "name": "things",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
    ],
    "key": ["id"],
    "duplicates": "update",
}
HEADER = b"id,name\n"
STEP_ROWS = 20
KILLS = 10
ROWS = {number: f"n{number}" for number in range(400)}

pytestmark = pytest.mark.flow(declared=THINGS, chunk_bytes=512, publish_step_rows=STEP_ROWS)


def content(rows: Iterable[tuple[int, str]]) -> bytes:
    return HEADER + "".join(f"{number},{name}\n" for number, name in rows).encode()


def shuffled(rows: Mapping[int, str]) -> bytes:
    return content(random.Random("things").sample(sorted(rows.items()), len(rows)))


def loaded(flow: Flow, data: bytes = b"", name: str = "things/large.csv") -> int:
    """Load the chunks of a file; it remains to be published."""
    ingestion = flow.split(flow.put(data or shuffled(ROWS), name))
    for each in flow.chunks(ingestion):
        flow.load(each)
    return ingestion


def seen(flow: Flow) -> dict[int, str]:
    """What readers see; each key is there once."""
    rows = flow.all("SELECT id, name FROM things")
    assert len({row.id for row in rows}) == len(rows)
    return {row.id: row.name for row in rows}


def account(flow: Flow, ingestion: int) -> tuple[int, int, int, int]:
    row = flow.ingestion(ingestion)
    return row.records_read, row.rows_loaded, row.rows_rejected, row.duplicates


def collect(flow: Flow) -> None:
    """Delete what nobody needs; nothing of a preparation is left."""
    flow.run_sql(f"UPDATE sluice.ingestions SET finished_at = now() - interval '{2 * IDLE_S} s'")
    flow.recover()
    assert flow.all("SELECT 1 FROM store.things__staging") == []
    assert flow.all("SELECT 1 FROM sluice.prepared") == []
    assert flow.all("SELECT 1 FROM pg_indexes WHERE indexname LIKE 'staging\\_%'") == []
    hidden = "SELECT 1 FROM store.things WHERE ingestion NOT IN (SELECT ingestion FROM sluice.publications)"
    assert flow.all(hidden) == []


def post(flow: Flow, rows: Mapping[int, str]) -> Any:
    """Send rows by HTTP."""
    dataset = cached_dataset(flow.engine, "things")
    assert dataset is not None
    sent = [{"id": str(number), "name": name} for number, name in rows.items()]
    (group,) = insert_rows(flow.env("intake"), [RowGroup(dataset, sent)]).groups
    return group


def test_a_large_file_is_prepared_although_its_handler_is_killed_ten_times(flow: Flow) -> None:
    first = flow.run(content([(1, "old"), (2, "old"), (1000, "old")]), "things/first.csv")
    ingestion = loaded(flow)
    for delivery in range(1, KILLS + 1):
        with flow.before("complete_publish_step", kill_after(1)), pytest.raises(Killed):
            flow.finish(ingestion, delivery)
        planned, done = flow.steps()
        assert delivery == done < planned
        assert seen(flow) == {1: "old", 2: "old", 1000: "old"}
    flow.finish(ingestion, KILLS + 1)
    assert flow.state(ingestion) == "done"
    assert seen(flow) == {**ROWS, 1000: "old"}
    assert account(flow, ingestion) == (400, 400, 0, 0)
    collect(flow)
    flow.undo(ingestion)
    assert seen(flow) == {1: "old", 2: "old", 1000: "old"}
    assert account(flow, first) == (3, 3, 0, 0)


def test_the_publication_itself_handles_only_keys_that_were_there(flow: Flow) -> None:
    flow.run(content([(1, "old")]), "things/first.csv")
    ingestion = loaded(flow)
    flow.prepare(ingestion)
    assert seen(flow) == {1: "old"}
    left = flow.all("SELECT id FROM store.things__staging WHERE ingestion < 0")
    assert [row.id for row in left] == [1]
    unchanged = "SELECT id, xmin FROM store.things WHERE id <> 1 ORDER BY id"
    prepared = flow.all(unchanged)
    flow.finish(ingestion)
    assert flow.all(unchanged) == prepared
    assert seen(flow) == ROWS


@pytest.mark.parametrize("policy", ["ignore", "update", "error"])
@pytest.mark.parametrize("step_rows", [STEP_ROWS, 250_000], ids=["in-steps", "at-once"])
def test_duplicates_and_rejects_are_as_without_steps(
    flow: Flow, policy: str, step_rows: int
) -> None:
    flow.declare(THINGS, duplicates=policy)
    flow.run(content([(1, "old"), (2, "old")]), "things/first.csv")
    process = flow.twin(chunk_bytes=512, publish_step_rows=step_rows)
    rows = [*ROWS.items(), (5, "again"), (5, "and again"), (2, "again")]
    ingestion = loaded(flow, content(rows))
    process.finish(ingestion)
    own = {**ROWS, 5: "and again", 2: "again"} if policy == "update" else ROWS
    old = {} if policy == "update" else {1: "old", 2: "old"}
    assert seen(flow) == {**own, **old}
    dropped = 3 if policy == "update" else 5
    counted = (0, dropped) if policy != "error" else (dropped, 0)
    assert account(flow, ingestion) == (403, 403 - dropped, *counted)
    listed = {
        (row.record, row.won_record)
        for row in flow.all("SELECT * FROM sluice.duplicates WHERE ingestion = :id", id=ingestion)
    }
    assert (
        listed
        == {
            "update": {(5, 401), (400, 401), (2, 402)},
            "ignore": {(400, 5), (401, 5), (1, None), (2, None), (402, None)},
            "error": set(),
        }[policy]
    )
    lines = [row.line for row in flow.rejects(ingestion)]
    assert lines == ([3, 4, 402, 403, 404] if policy == "error" else [])


@pytest.mark.parametrize("policy", ["ignore", "update", "error"])
def test_a_file_published_after_the_steps_keeps_its_place(flow: Flow, policy: str) -> None:
    flow.declare(THINGS, duplicates=policy)
    large = loaded(flow)
    flow.prepare(large)
    assert seen(flow) == {}
    small = loaded(flow, content([(7, "small"), (1000, "small")]), "things/small.csv")
    flow.finish(small)
    assert flow.state(small) == "done"
    assert seen(flow) == {7: "small", 1000: "small"}
    assert flow.steps()[0] > flow.steps()[1]
    flow.finish(large)
    # Where rows are updated, the later upload counts; otherwise the one that was published first.
    assert seen(flow) == {**ROWS, 7: "small", 1000: "small"}
    flow.undo(small)
    assert (
        seen(flow) == {**ROWS} if policy == "update" else {k: v for k, v in ROWS.items() if k != 7}
    )
    collect(flow)


def test_rows_by_http_do_not_see_prepared_ones_and_do_not_wait(flow: Flow) -> None:
    large = loaded(flow)
    flow.prepare(large)
    group = post(flow, {7: "mine", 8: "mine"})
    assert group.account.loaded == 2
    assert seen(flow) == {7: "mine", 8: "mine"}
    flow.finish(large)
    assert seen(flow) == {**ROWS, 7: "mine", 8: "mine"}  # they came after the file


def test_two_large_files_are_prepared_side_by_side(flow: Flow) -> None:
    first = loaded(flow, name="things/a.csv")
    other = {number: f"b{number}" for number in range(200, 600)}
    second = loaded(flow, shuffled(other), "things/b.csv")

    def finish(ingestion: int) -> None:
        process = flow.twin(publish_step_rows=STEP_ROWS)
        for delivery in range(1, 20):
            with suppress(PublicationUnfinishedError):
                process.finish(ingestion, delivery)
                return

    with ThreadPoolExecutor() as threads:
        list(threads.map(finish, (first, second)))
    assert (flow.state(first), flow.state(second)) == ("done", "done")
    assert seen(flow) == {**ROWS, **other}
    flow.undo(second)
    assert seen(flow) == ROWS
    collect(flow)


def fail(flow: Flow, ingestion: int) -> None:
    """Let an ingestion fail after its rows were prepared."""
    fault = Fault(RowsRefusedError("refused"))
    with injected(flow, before_named("publish"), fault):
        flow.finish(ingestion)
    assert flow.state(ingestion) == "failed"
    assert flow.stored() == len(ROWS)
    assert seen(flow) == {}


def test_prepared_rows_of_a_file_that_failed_are_in_nobodys_way(flow: Flow) -> None:
    large = loaded(flow)
    fail(flow, large)
    small = loaded(flow, content([(7, "small")]), "things/small.csv")
    flow.finish(small)
    assert seen(flow) == {7: "small"}
    flow.retry(large)
    flow.deliver()
    assert flow.state(large) == "done"
    assert seen(flow) == {**ROWS, 7: "small"}
    collect(flow)


def test_prepared_rows_of_a_file_that_failed_are_collected(flow: Flow) -> None:
    fail(flow, loaded(flow))
    collect(flow)
    assert flow.stored() == 0


def test_a_step_that_ends_after_its_file_failed_leaves_nothing(flow: Flow) -> None:
    large = loaded(flow)
    failed = (
        "UPDATE sluice.ingestions SET state = 'failed', finished_at = now(), sequence = sequence + 1"
        " WHERE state = 'publishing'"
    )
    with (
        flow.before("complete_publish_step", lambda: flow.run_sql(failed)),
        suppress(PublicationUnfinishedError),
    ):
        flow.finish(large)
    assert flow.state(large) == "failed"
    assert flow.stored() == 0


@pytest.mark.flow(declared=None, chunk_bytes=512, publish_step_rows=STEP_ROWS)
def test_references_do_not_count_rows_that_are_prepared(flow: Flow) -> None:
    flow.declare(THINGS)
    uses = {
        "name": "uses",
        "columns": [
            {"name": "thing", "type": "integer", "references": "things", "dangling": "reject"},
            {"name": "note", "type": "text"},
        ],
    }
    flow.declare(uses)
    large = loaded(flow)
    flow.prepare(large)
    early = loaded(flow, b"thing,note\n1,x\n2,y\n", "uses/a.csv")
    flow.finish(early)
    assert account(flow, early) == (2, 0, 2, 0)
    flow.finish(large)
    many = b"thing,note\n" + b"".join(b"%d,x\n" % number for number in range(420))
    prepared = loaded(flow, many, "uses/b.csv")
    flow.prepare(prepared)
    assert flow.all("SELECT 1 FROM uses") == []
    flow.finish(prepared)
    assert account(flow, prepared) == (420, 400, 20, 0)
    assert len(flow.all("SELECT 1 FROM uses")) == 400


@pytest.mark.parametrize("is_collected", [False, True])
def test_a_prepared_file_is_undone_and_redone(flow: Flow, is_collected: bool) -> None:
    large = loaded(flow)
    flow.finish(large)
    if is_collected:
        collect(flow)
    flow.undo(large)
    assert seen(flow) == {}
    other = loaded(
        flow, shuffled({7: "other", **dict.fromkeys(range(1000, 1100), "other")}), "things/b.csv"
    )
    flow.prepare(other)
    flow.redo(large)
    assert seen(flow) == ROWS
    flow.finish(other)
    assert seen(flow)[7] == "other"
    assert len(seen(flow)) == 500


def test_fixes_join_a_prepared_file(flow: Flow) -> None:
    large = flow.run(shuffled(ROWS) + b"x,wrong\ny,wrong\n", "things/large.csv")
    assert account(flow, large) == (402, 400, 2, 0)
    fix = flow.run(content([(7, "fixed"), (900, "fixed")]), f"things/_fixes/{large}/a.csv")
    assert flow.state(fix) == "done", flow.ingestion(fix).problem
    assert seen(flow) == {**ROWS, 7: "fixed", 900: "fixed"}
    collect(flow)
    flow.undo(large)
    assert seen(flow) == {}
    flow.redo(large)
    assert seen(flow) == {**ROWS, 7: "fixed", 900: "fixed"}


def test_a_restore_takes_prepared_rows_away_and_they_are_prepared_again(flow: Flow) -> None:
    flow.run(content([(1, "old"), (1000, "old")]), "things/first.csv")
    store = Store()
    manifest = Backup(flow.settings, flow.engine, store)(["things"], Format.AVRO)
    flow.run(content([(2000, "newer")]), "things/second.csv")
    large = loaded(flow)
    flow.prepare(large)
    Restore(flow.settings, flow.engine, store, flow.topics)(manifest, None, "")
    assert seen(flow) == {1: "old", 1000: "old"}
    flow.finish(large)
    assert flow.state(large) == "done"
    assert seen(flow) == {**ROWS, 1000: "old"}


def test_a_function_of_an_earlier_version_does_not_publish_what_is_prepared(flow: Flow) -> None:
    large = loaded(flow)
    flow.prepare(large)
    with pytest.raises(DatabaseUnavailableError, match="a newer version"):
        flow.run_sql("UPDATE sluice.ingestions SET state = 'done' WHERE id = :id", id=large)
