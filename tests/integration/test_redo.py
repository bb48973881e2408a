"""An undone ingestion can be redone, until garbage collection deletes its rows."""

from __future__ import annotations

from typing import Any

import pytest
from flow import HEADER, Flow, assert_events_in_order, lines

from sluice.errors import IllegalTransitionError

KEYED: dict[str, Any] = {"key": ["id"], "rollups": {}}

pytestmark = pytest.mark.flow(chunk_bytes=64)


def named(flow: Flow) -> dict[int, str]:
    return {row.id: row.name for row in flow.all("SELECT id, name FROM things")}


def test_rows_and_rollups_come_back_with_an_event(flow: Flow) -> None:
    flow.declare(
        projections={
            "listed": "-- Things.\n-- columns: kind, id\nSELECT kind, id FROM rows ORDER BY kind, id"
        }
    )
    ingestion = flow.run(HEADER + lines(1, 9))
    flow.undo(ingestion)
    assert (flow.ids(), flow.kinds()) == ([], {})
    flow.redo(ingestion)
    assert (flow.ids(), flow.kinds()) == (list(range(1, 10)), {"a": 9})
    flow.deliver()
    assert flow.one("SELECT count(*) AS n FROM things_listed").n == 9
    assert flow.event_names(ingestion)[-3:] == ["done", "undone", "done"]
    assert_events_in_order(flow, ingestion)
    with pytest.raises(IllegalTransitionError, match="only one that is undone"):
        flow.redo(ingestion)


def test_garbage_collection_ends_the_time_for_a_redo(flow: Flow) -> None:
    ingestion = flow.run(HEADER + lines(1, 9))
    flow.undo(ingestion)
    flow.run_sql("UPDATE sluice.ingestions SET finished_at = finished_at - interval '1 day'")
    flow.recover()
    with pytest.raises(IllegalTransitionError, match="upload the file again"):
        flow.redo(ingestion)
    assert flow.ids() == []


def test_a_redone_update_takes_its_place_in_the_order_of_uploads(flow: Flow) -> None:
    flow.declare(**KEYED, duplicates="update")
    first = flow.run(HEADER + b"1,first,a\n2,first,a\n")
    second = flow.run(HEADER + b"2,second,a\n3,second,a\n", "things/b.csv")
    third = flow.run(HEADER + b"3,third,a\n", "things/c.csv")
    before = named(flow)
    for ingestion in (second, first, third):
        flow.undo(ingestion)
    for ingestion in (third, first, second):
        flow.redo(ingestion)
        assert flow.account(ingestion)[2] == 0
    assert named(flow) == before == {1: "first", 2: "second", 3: "third"}
    flow.undo(third)
    assert named(flow) == {1: "first", 2: "second", 3: "second"}


def test_keys_that_were_loaded_meanwhile_are_duplicates(flow: Flow) -> None:
    flow.declare(**KEYED)
    first = flow.run(HEADER + b"1,first,a\n2,first,a\n")
    flow.undo(first)
    flow.run(HEADER + b"2,other,a\n", "things/b.csv")
    flow.redo(first)
    assert named(flow) == {1: "first", 2: "other"}
    row = flow.ingestion(first)
    assert (row.rows_loaded, row.duplicates) == (1, 1)


def test_keys_that_were_loaded_meanwhile_refuse_a_redo_where_they_are_errors(flow: Flow) -> None:
    flow.declare(**KEYED, duplicates="error")
    first = flow.run(HEADER + b"1,first,a\n2,first,a\n")
    flow.undo(first)
    flow.run(HEADER + b"2,other,a\n", "things/b.csv")
    with pytest.raises(IllegalTransitionError, match="the keys of 1 of its rows"):
        flow.redo(first)
    assert named(flow) == {2: "other"}


def test_the_same_content_or_a_newer_version_refuses_a_redo(flow: Flow) -> None:
    data = HEADER + lines(1, 3)
    first = flow.run(data)
    flow.undo(first)
    again = flow.run(data, "things/again.csv")
    with pytest.raises(IllegalTransitionError, match=f"ingestion {again} has"):
        flow.redo(first)
    flow.undo(again)
    flow.declare(reupload="replace")
    newer = flow.run(HEADER + lines(1, 2))
    with pytest.raises(IllegalTransitionError, match=f"ingestion {newer} has"):
        flow.redo(first)
    flow.undo(newer)
    flow.redo(first)
    assert flow.ids() == [1, 2, 3]


def test_fixed_rows_are_redone_too(flow: Flow) -> None:
    ingestion = flow.run(HEADER + b"1,a,a\nx,b,a\n")
    flow.run(HEADER + b"2,b,a\n", f"things/_fixes/{ingestion}/f.csv")
    flow.undo(ingestion)
    flow.redo(ingestion)
    assert flow.ids() == [1, 2]
