"""Datasets with a key or references: merged at publish by their policy, undone completely, exactly once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flow import Flow, assert_events_in_order

from sluice.documents.ingestions import State
from sluice.errors import DeclarationError

HEADER = b"id,name\n"
KEYED = {
    "name": "things",
    "key": ["id"],
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
    ],
}
POLICIES = ("ignore", "update", "error")

pytestmark = pytest.mark.flow(chunk_bytes=16, declared=None)


def declare(flow: Flow, duplicates: str = "ignore", **changes: Any) -> None:
    flow.declare(KEYED, duplicates=duplicates, **changes)


def rows(flow: Flow, dataset: str = "things") -> dict[int, str]:
    """What readers see."""
    found = flow.all(f"SELECT id, name FROM {dataset}")
    named = {each.id: each.name for each in found}
    assert len(named) == len(found), "a key occurs twice"
    return named


def account(flow: Flow, ingestion: int) -> tuple[int, int, int, int]:
    row = flow.ingestion(ingestion)
    return row.records_read, row.rows_loaded, row.rows_rejected, row.duplicates


def is_clear(flow: Flow, dataset: str = "things") -> bool:
    return int(flow.one(f"SELECT count(*) AS n FROM store.{dataset}__staging").n) == 0


def last_event(flow: Flow, ingestion: int) -> Any:
    return next(
        each.body["data"] | {"severity": each.attributes["severity"]}
        for each in reversed(flow.topics.of("status"))
        if each.body["data"]["ingestion"] == ingestion
    )


REPEATED = HEADER + b"1,first\n2,b\n1,second\n3,c\n1,third\n2,e\n"


def test_ignore_keeps_the_first_row_of_a_key(flow: Flow) -> None:
    declare(flow, "ignore")
    ingestion = flow.run(REPEATED)
    assert flow.state(ingestion) == "done"
    assert rows(flow) == {1: "first", 2: "b", 3: "c"}
    assert account(flow, ingestion) == (6, 3, 0, 3)
    later = flow.run(HEADER + b"3,other\n4,d\n", "things/b.csv")
    assert rows(flow) == {1: "first", 2: "b", 3: "c", 4: "d"}
    assert account(flow, later) == (2, 1, 0, 1)
    assert is_clear(flow)
    assert_events_in_order(flow, later)


def test_update_keeps_the_last_row_of_a_key(flow: Flow) -> None:
    declare(flow, "update")
    ingestion = flow.run(REPEATED)
    assert rows(flow) == {1: "third", 2: "e", 3: "c"}
    assert account(flow, ingestion) == (6, 3, 0, 3)
    later = flow.run(HEADER + b"3,other\n4,d\n", "things/b.csv")
    assert rows(flow) == {1: "third", 2: "e", 3: "other", 4: "d"}
    assert account(flow, later) == (2, 2, 0, 0)
    assert is_clear(flow)


def test_error_refuses_a_repeated_key_with_its_line_and_text(flow: Flow) -> None:
    declare(flow, "error")
    ingestion = flow.run(HEADER + b'1,first\n2,b\n\n1,"sec\nond"\nx,bad\n2,e\n')
    assert flow.state(ingestion) == "done"
    assert rows(flow) == {1: "first", 2: "b"}
    assert account(flow, ingestion) == (5, 2, 3, 0)
    second, bad, third = flow.rejects(ingestion)
    assert (second.line, second.record, second.column_name, second.rule) == (5, 2, "id", "key")
    assert (second.value, bytes(second.original)) == ("1", b'1,"sec\nond"')
    assert second.reason == "id 1 is already on line 2"
    assert bad.rule == "type"
    assert (third.line, bytes(third.original)) == (8, b"2,e")
    later = flow.run(HEADER + b"2,other\n3,c\n", "things/b.csv")
    (reject,) = flow.rejects(later)
    assert reject.reason == f"id 2 was loaded before, by ingestion {ingestion}"
    assert rows(flow) == {1: "first", 2: "b", 3: "c"}
    assert is_clear(flow)


def test_a_key_may_have_several_columns(flow: Flow) -> None:
    columns = [
        {"name": "id", "type": "integer", "required": True},
        {"name": "place", "type": "text", "required": True, "dictionary": True},
        {"name": "name", "type": "text"},
    ]
    flow.declare(KEYED, columns=columns, key=["place", "id"], duplicates="error")
    ingestion = flow.run(b"id,place,name\n1,x,a\n1,y,b\n1,x,c\n")
    assert flow.state(ingestion) == "done"
    (reject,) = flow.rejects(ingestion)
    assert (reject.column_name, reject.value) == ("place, id", "x, 1")
    assert account(flow, ingestion) == (3, 2, 1, 0)


@pytest.mark.parametrize("duplicates", POLICIES)
def test_types_that_are_copied_as_text_are_staged_too(flow: Flow, duplicates: str) -> None:
    columns = [*KEYED["columns"], {"name": "wage", "type": "numeric"}]
    declare(flow, duplicates, columns=columns)
    ingestion = flow.run('id,name,wage\n1,ä\\x,1.50\n1,"b,\\",2\n'.encode())
    assert flow.state(ingestion) == "done"
    assert flow.one("SELECT wage FROM things").wage in (1.5, 2)
    if duplicates == "error":
        (reject,) = flow.rejects(ingestion)
        assert bytes(reject.original) == b'1,"b,\\",2'


def test_duplicates_are_told_with_a_warning(flow: Flow) -> None:
    declare(flow)
    ingestion = flow.run(REPEATED)
    event = last_event(flow, ingestion)
    assert (event["state"], event["severity"]) == ("done", "WARNING")
    assert event["account"]["duplicates"] == 3
    (warning,) = event["warnings"]
    assert (warning["rule"], warning["column"], warning["rows"]) == ("key", "id", 3)


@pytest.mark.parametrize("duplicates", POLICIES)
def test_readers_see_all_or_nothing_of_a_merge(flow: Flow, duplicates: str) -> None:
    declare(flow, duplicates)
    flow.run(HEADER + b"1,old\n")
    ingestion = flow.split(flow.put(HEADER + b"1,new\n2,b\n3,c\n4,d\n", "things/b.csv"))
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
        assert rows(flow) == {1: "old"}
    flow.finish(ingestion)
    assert len(rows(flow)) == 4


@pytest.mark.parametrize("duplicates", POLICIES)
def test_every_message_may_come_again_and_in_any_order(flow: Flow, duplicates: str) -> None:
    declare(flow, duplicates)
    ids = [random.Random(7).randrange(30) for _ in range(60)]
    data = HEADER + b"".join(b"%d,r%d\n" % (each, n) for n, each in enumerate(ids))
    stored = flow.put(data)
    ingestion = flow.split(stored)
    flow.split(stored)
    chunks = flow.chunks(ingestion) * 3
    random.Random(1).shuffle(chunks)
    for chunk in chunks:
        flow.load(chunk)
        flow.finish(ingestion)
    with ThreadPoolExecutor(3) as threads:
        for each in [threads.submit(flow.finish, ingestion) for _ in range(3)]:
            each.result()
    pairs = list(enumerate(ids))
    chosen = pairs if duplicates == "update" else reversed(pairs)
    assert rows(flow) == {each: f"r{n}" for n, each in chosen}
    read, loaded, rejected, duplicate = account(flow, ingestion)
    assert (read, loaded) == (60, len(set(ids)))
    assert (rejected, duplicate)[duplicates != "error"] == 60 - len(set(ids))
    assert is_clear(flow)
    assert_events_in_order(flow, ingestion)


def test_two_files_at_once_agree_on_the_first_of_a_key(flow: Flow) -> None:
    declare(flow)
    ingestions = [
        flow.split(flow.put(HEADER + b"1,%b\n2,%b\n" % (each, each), f"things/{n}.csv"))
        for n, each in enumerate((b"a", b"b", b"c"))
    ]
    for each in ingestions:
        for chunk in flow.chunks(each):
            flow.load(chunk)
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(flow.finish, each) for each in ingestions]:
            done.result()
    assert len(set(rows(flow).values())) == 1
    assert sum(account(flow, each)[1] for each in ingestions) == 2
    assert sum(account(flow, each)[3] for each in ingestions) == 4


# Taking back


def test_undo_takes_the_rows_of_the_file_back(flow: Flow) -> None:
    declare(flow)
    flow.run(HEADER + b"1,a\n")
    later = flow.run(HEADER + b"1,b\n2,c\n", "things/b.csv")
    flow.undo(later)
    assert rows(flow) == {1: "a"}
    again = flow.run(HEADER + b"1,b\n2,c\n", "things/b.csv")
    assert flow.state(again) == "done"
    assert rows(flow) == {1: "a", 2: "c"}


ORDERS = [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_undo_restores_what_an_update_replaced_in_any_order(
    flow: Flow, order: tuple[int, ...]
) -> None:
    declare(flow, "update")
    files = {
        n: flow.run(HEADER + b"0,v%d\n%d,own\n" % (n, n), f"things/{n}.csv") for n in (1, 2, 3)
    }
    left = set(files)
    for each in order:
        flow.undo(files[each])
        left.discard(each)
        newest = {0: f"v{max(left)}"} if left else {}
        assert rows(flow) == newest | dict.fromkeys(left, "own")
    assert flow.one("SELECT count(*) AS n FROM store.things__replaced").n == 0


@pytest.mark.parametrize("duplicates", POLICIES)
def test_a_new_generation_replaces_the_rows_of_the_old_one(flow: Flow, duplicates: str) -> None:
    declare(flow, duplicates, reupload="replace")
    old = flow.run(HEADER + b"1,a\n2,b\n")
    new = flow.run(HEADER + b"2,c\n3,d\n")
    assert rows(flow) == {2: "c", 3: "d"}
    assert (flow.state(old), flow.state(new)) == ("undone", "done")
    assert account(flow, new) == (2, 2, 0, 0)


def test_a_replacement_that_fails_leaves_the_old_rows_and_tells_its_rejects(flow: Flow) -> None:
    declare(flow, "error", reupload="replace", load="all_or_nothing")
    flow.run(HEADER + b"1,a\n2,b\n")
    new = flow.run(HEADER + b"2,c\n2,d\n")
    assert flow.state(new) == "failed"
    assert flow.ingestion(new).problem["code"] == "CSV106"
    assert [each.reason for each in flow.rejects(new)] == ["id 2 is already on line 2"]
    assert account(flow, new) == (2, 1, 1, 0)
    assert rows(flow) == {1: "a", 2: "b"}
    assert is_clear(flow)


def test_cancelling_empties_the_staging_table(flow: Flow) -> None:
    declare(flow)
    ingestion = flow.split(flow.put(REPEATED))
    first, *others = flow.chunks(ingestion)
    flow.load(first)
    assert not is_clear(flow)
    flow.cancel(ingestion)
    for each in others:
        flow.load(each)
    assert is_clear(flow)
    assert rows(flow) == {}


@pytest.mark.parametrize("table", ["sluice.receipts", "sluice.events"])
def test_a_loader_that_is_cancelled_in_the_middle_leaves_nothing(flow: Flow, table: str) -> None:
    """Its rows are staged: it waits before it counts them, or already holds the lock on the ingestion."""
    declare(flow)
    ingestion = flow.split(flow.put(REPEATED))
    with ThreadPoolExecutor(2) as threads:
        with flow.held(table):
            loading = threads.submit(flow.load, flow.chunks(ingestion)[0])
            time.sleep(0.5)
            cancelling = threads.submit(flow.cancel, ingestion)
            time.sleep(0.2)
        loading.result(10)
        cancelling.result(10)
    assert flow.state(ingestion) == "cancelled"
    assert is_clear(flow)


def test_a_retry_begins_anew(flow: Flow) -> None:
    declare(flow, "error", load="all_or_nothing")
    ingestion = flow.run(REPEATED)
    assert flow.state(ingestion) == "failed"
    declare(flow, "ignore")
    retrying = flow.twin()
    retrying.retry(ingestion)
    retrying.deliver()
    assert retrying.state(ingestion) == "done"
    assert account(retrying, ingestion) == (6, 3, 0, 3)
    assert retrying.rejects(ingestion) == []


def test_the_same_content_is_skipped_and_leaves_nothing(flow: Flow) -> None:
    declare(flow)
    both = [flow.split(flow.put(REPEATED, f"things/{n}.csv")) for n in range(2)]
    flow.deliver()
    assert sorted(flow.state(each) for each in both) == ["done", "skipped"]
    assert is_clear(flow)


def test_rows_that_wait_must_be_those_that_were_counted(flow: Flow) -> None:
    declare(flow)
    ingestion = flow.split(flow.put(REPEATED))
    for each in flow.chunks(ingestion):
        flow.load(each)
    flow.run_sql("DELETE FROM store.things__staging WHERE id = 3")
    flow.finish(ingestion)
    assert flow.state(ingestion) == "failed"
    assert flow.ingestion(ingestion).problem["code"] == "CSV107"
    assert rows(flow) == {}


def test_a_row_that_the_table_refuses_fails_the_file(flow: Flow) -> None:
    table = (
        "CREATE TABLE store.things (id integer NOT NULL, name text"
        " CONSTRAINT things_name_not_x CHECK (name <> 'x'), ingestion integer NOT NULL)"
    )
    declare(flow, table=table)
    ingestion = flow.run(HEADER + b"1,a\n2,x\n")
    assert flow.ingestion(ingestion).problem["code"] == "CSV111"
    assert "things_name_not_x" in flow.ingestion(ingestion).problem["detail"]
    assert is_clear(flow)


# The next free number


def test_an_absent_key_is_the_next_free_number(flow: Flow) -> None:
    columns = [
        {"name": "id", "type": "integer", "absent": "next"},
        {"name": "name", "type": "text"},
    ]
    declare(flow, columns=columns)
    flow.run(b"name\nfirst\nsecond\n")
    flow.run(b"id,name\n,a\n7,b\n,c\n", "things/b.csv")
    assert rows(flow) == {1: "first", 2: "second", 7: "b", 8: "a", 9: "c"}
    assert is_clear(flow)


# References


PARTS = {
    "name": "parts",
    "columns": [
        {"name": "label", "type": "text"},
        {"name": "thing", "type": "integer", "references": "things"},
    ],
}
PART_LINES = b"label,thing\na,1\nb,9\nc,\nd,2\n"


def test_a_dangling_reference_is_a_reject(flow: Flow) -> None:
    declare(flow)
    flow.declare(PARTS)
    flow.run(HEADER + b"1,a\n2,b\n")
    ingestion = flow.run(PART_LINES, "parts/a.csv")
    assert flow.state(ingestion) == "done"
    (reject,) = flow.rejects(ingestion)
    assert (reject.line, reject.column_name, reject.rule) == (3, "thing", "references")
    assert (reject.value, bytes(reject.original)) == ("9", b"b,9")
    assert reject.reason == '"9" is not the id of any row of things'
    assert [each.label for each in flow.all("SELECT label FROM parts ORDER BY 1")] == [
        "a",
        "c",
        "d",
    ]
    assert account(flow, ingestion) == (4, 3, 1, 0)
    assert is_clear(flow, "parts")
    flow.undo(ingestion)
    assert flow.all("SELECT label FROM parts") == []


def test_a_dangling_reference_may_only_warn(flow: Flow) -> None:
    declare(flow)
    flow.declare(PARTS, columns=[PARTS["columns"][0], {**PARTS["columns"][1], "dangling": "warn"}])
    ingestion = flow.run(PART_LINES, "parts/a.csv")
    assert account(flow, ingestion) == (4, 4, 0, 0)
    event = last_event(flow, ingestion)
    assert (event["state"], event["severity"]) == ("done", "WARNING")
    (warning,) = event["warnings"]
    assert (warning["rule"], warning["column"], warning["rows"]) == ("references", "thing", 3)
    assert warning["message"] == 'thing is not the id of any row of things, such as "1"'


def test_rows_may_refer_to_rows_of_their_own_file(flow: Flow) -> None:
    columns = [*KEYED["columns"], {"name": "above", "type": "integer", "references": "things"}]
    declare(flow, columns=columns)
    ingestion = flow.run(b"id,name,above\n1,a,2\n2,b,\n3,c,4\n4,d,5\n")
    assert rows(flow) == {1: "a", 2: "b"}
    assert [each.value for each in flow.rejects(ingestion)] == ["4", "5"]


def test_a_reference_to_nothing_fails_the_file_with_what_to_do(flow: Flow) -> None:
    flow.declare(PARTS)
    ingestion = flow.run(PART_LINES, "parts/a.csv")
    assert flow.state(ingestion) == "failed"
    assert (
        "things, which is not declared; declare it and retry"
        in (flow.ingestion(ingestion).problem["detail"])
    )
    assert is_clear(flow, "parts")


# Declaring


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rollups": {"n": "-- N.\n-- key: id\n-- measure n: sum\nSELECT id, count(*) AS n FROM rows"}},
         "has no roll-ups"),
        ({"columns": [{"name": "id", "type": "integer"}]}, "declare it required = true"),
        ({"columns": [{"name": "id", "type": "text", "absent": "next"}]}, "whole number"),
        ({"key": [], "columns": [{"name": "id", "type": "integer", "absent": "next"}]}, "the key column"),
        ({"columns": [*KEYED["columns"], {"name": "x", "type": "point", "references": "a"}]}, "point"),
        ({"columns": [*KEYED["columns"], {"name": "x", "type": "text", "dangling": "warn"}]}, "missing"),
    ],
    ids=["rollups", "null", "next-text", "next-no-key", "point", "dangling"],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(flow: Flow, changes: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        flow.declare(KEYED, **changes)


def test_a_key_cannot_be_changed_under_stored_rows(flow: Flow) -> None:
    declare(flow, key=[])
    declare(flow)
    flow.run(HEADER + b"1,a\n")
    with pytest.raises(DeclarationError, match="loaded with another key"):
        declare(flow, key=[])


def test_a_new_column_reaches_every_table_of_the_dataset(flow: Flow) -> None:
    declare(flow, "update")
    first = flow.run(HEADER + b"1,a\n")
    declare(flow, "update", columns=[*KEYED["columns"], {"name": "kind", "type": "text"}])
    other = flow.twin()
    assert other.state(first) == State.DONE
    later = other.run(b"id,name,kind\n1,b,k\n", "things/b.csv")
    other.deliver()
    assert other.one("SELECT kind FROM things").kind == "k"
    other.undo(later)
    assert rows(other) == {1: "a"}
