"""Files that fix rejects: their rows join the ingestion whose rejects they were, and its account balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, assert_events_in_order, lines

from sluice.errors import IllegalTransitionError

if TYPE_CHECKING:
    from serving import Serve

#: Two of five rows are rejects.
FILE = HEADER + b"1,one,a\nx,two,a\n3,three,b\ny,four,b\n5,five,a\n"
FIXED = HEADER + b"2,two,a\n4,four,b\n"

pytestmark = pytest.mark.flow(chunk_bytes=32)


def fix(flow: Flow, ingestion: int, data: bytes, name: str = "fixed.csv") -> int:
    return flow.run(data, f"things/_fixes/{ingestion}/{name}")


def account(flow: Flow, ingestion: int) -> tuple[int, int, int, int]:
    row = flow.ingestion(ingestion)
    return row.records_read, row.rows_loaded, row.rows_rejected, row.duplicates


def lines_left(flow: Flow, serve: Serve, ingestion: int) -> bytes:
    return serve("status").get(f"/v1/ingestions/{ingestion}/rejects?format=csv").data


def refusal(flow: Flow, fixing: int) -> str:
    assert flow.state(fixing) == "failed"
    problem = flow.ingestion(fixing).problem
    assert problem["code"] == "CSV123"
    return str(problem["detail"])


def test_fixed_rows_join_the_ingestion_and_its_account(flow: Flow, serve: Serve) -> None:
    ingestion = flow.run(FILE)
    other = flow.run(HEADER + lines(100, 103), "things/other.csv")
    fixing = fix(flow, ingestion, FIXED)
    assert flow.state(fixing) == "done", flow.ingestion(fixing).problem
    assert account(flow, ingestion) == (5, 5, 0, 0)
    assert account(flow, fixing) == (2, 2, 0, 0)
    assert flow.ids() == [1, 2, 3, 4, 5, 100, 101, 102, 103]
    assert flow.kinds() == {"a": 7, "b": 2}
    rows = serve("query").get(f"/v1/datasets/things/rows?ingestion=eq.{ingestion}").json["rows"]
    assert sorted(each["id"] for each in rows) == [1, 2, 3, 4, 5]
    assert account(flow, other) == (4, 4, 0, 0)
    status = serve("status")
    shown = status.get(f"/v1/ingestions/{ingestion}").json
    assert (shown["fixed"], shown["fixes"], shown["rejects"]) == (2, None, None)
    assert status.get(f"/v1/ingestions/{fixing}").json["fixes"] == ingestion
    assert status.get(f"/v1/ingestions/{ingestion}/rejects").json["rejects"] == []
    assert flow.events(ingestion)[-1]["data"]["account"]["loaded"] == 5
    assert_events_in_order(flow, ingestion)
    assert_events_in_order(flow, fixing)


def test_what_is_still_wrong_remains_a_reject(flow: Flow, serve: Serve) -> None:
    ingestion = flow.run(FILE)
    assert lines_left(flow, serve, ingestion) == HEADER + b"x,two,a\ny,four,b\n"
    fixing = fix(flow, ingestion, HEADER + b"x,two,a\n4,four,b\n")
    assert account(flow, fixing) == (2, 1, 1, 0)
    assert account(flow, ingestion) == (5, 4, 1, 0)
    assert lines_left(flow, serve, ingestion) == HEADER + b"x,two,a\n"
    again = fix(flow, ingestion, HEADER + b"2,two,a\n", "again.csv")
    assert flow.state(again) == "done"
    assert account(flow, ingestion) == (5, 5, 0, 0)
    assert flow.ids() == [1, 2, 3, 4, 5]


def test_some_of_the_rejects_can_be_fixed(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fix(flow, ingestion, HEADER + b"4,four,b\n")
    assert account(flow, ingestion) == (5, 4, 1, 0)
    fix(flow, ingestion, HEADER + b"2,two,a\n")
    assert account(flow, ingestion) == (5, 5, 0, 0)


def test_undo_withdraws_the_fixed_rows_too(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, FIXED)
    with pytest.raises(IllegalTransitionError, match=f"undo ingestion {ingestion}"):
        flow.undo(fixing)
    flow.undo(ingestion)
    assert flow.ids() == []
    assert flow.kinds() == {}


def test_a_fix_delivered_or_uploaded_twice_counts_once(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    file = flow.put(FIXED, f"things/_fixes/{ingestion}/a.csv")
    first = flow.split(file)
    flow.deliver()
    assert flow.split(file) == first
    for sent in list(flow.topics.sent):
        flow.handle(sent)
    second = fix(flow, ingestion, FIXED, "b.csv")
    assert flow.state(second) == "skipped"
    assert account(flow, ingestion) == (5, 5, 0, 0)
    assert flow.ids() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FIXED + b"6,six,a\n", "has 3 rows or more, and ingestion 1 has 2 rejects left"),
        (HEADER + lines(10, 60), "has 51 rows or more"),
    ],
    ids=["one chunk", "many chunks"],
)
def test_more_rows_than_rejects_are_refused(flow: Flow, data: bytes, words: str) -> None:
    ingestion = flow.run(FILE)
    assert words.replace("ingestion 1 ", f"ingestion {ingestion} ") in refusal(
        flow, fix(flow, ingestion, data)
    )
    assert account(flow, ingestion) == (5, 3, 2, 0)
    assert flow.ids() == [1, 3, 5]


def test_another_header_is_refused(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, b"id,colour\n2,red\n")
    assert flow.ingestion(fixing).problem["code"] == "CSV104"
    assert account(flow, ingestion) == (5, 3, 2, 0)


def test_an_ingestion_that_is_not_done_is_refused(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    flow.undo(ingestion)
    assert f"ingestion {ingestion} is undone" in refusal(flow, fix(flow, ingestion, FIXED))
    assert "there is no ingestion 99" in refusal(flow, fix(flow, 99, FIXED))
    assert "the folder does not name an ingestion" in refusal(
        flow, flow.run(FIXED, "things/_fixes/a.csv")
    )


def test_an_ingestion_of_another_dataset_or_a_fix_is_refused(flow: Flow) -> None:
    flow.declare({**THINGS, "name": "others"})
    other = flow.run(FILE, "others/a.csv")
    assert f"ingestion {other} is of dataset others" in refusal(flow, fix(flow, other, FIXED))
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, HEADER + b"x,two,a\n4,four,b\n")
    assert "itself fixed rejects" in refusal(flow, fix(flow, fixing, HEADER + b"2,two,a\n"))


def test_a_fix_all_of_whose_rows_are_rejected_changes_nothing(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, HEADER + b"z,two,a\n")
    assert flow.ingestion(fixing).problem["code"] == "CSV201"
    assert account(flow, ingestion) == (5, 3, 2, 0)


def test_the_same_content_as_a_fix_is_still_a_file(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fix(flow, ingestion, FIXED)
    flow.undo(ingestion)
    assert flow.state(flow.run(FIXED, "things/whole.csv")) == "done"


KEYED: dict[str, Any] = {"key": ["id"], "rollups": {}}


@pytest.mark.parametrize(
    ("policy", "named", "loaded", "duplicates"),
    [("ignore", "one", 4, 1), ("update", "uno", 4, 1)],
)
def test_a_fix_merges_by_the_policy_of_the_key(
    flow: Flow, policy: str, named: str, loaded: int, duplicates: int
) -> None:
    flow.declare(**KEYED, duplicates=policy)
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, HEADER + b"1,uno,a\n4,four,b\n")
    assert flow.state(fixing) == "done", flow.ingestion(fixing).problem
    assert account(flow, ingestion) == (5, loaded, 0, duplicates)
    names = {row.id: row.name for row in flow.all("SELECT id, name FROM things")}
    assert names == {1: named, 3: "three", 4: "four", 5: "five"}
    flow.undo(ingestion)
    assert flow.ids() == []


def test_a_fix_is_as_old_as_the_file_that_it_fixes(flow: Flow) -> None:
    flow.declare(**KEYED, duplicates="update")
    ingestion = flow.run(FILE)
    later = flow.run(HEADER + b"1,later,a\n2,later,a\n", "things/later.csv")
    fix(flow, ingestion, HEADER + b"2,fixed,a\n1,fixed,a\n")
    assert account(flow, ingestion) == (5, 4, 0, 1)
    named = "SELECT id, name FROM things ORDER BY id"
    assert [tuple(row) for row in flow.all(named)][:2] == [(1, "later"), (2, "later")]
    flow.undo(later)
    assert [tuple(row) for row in flow.all(named)][:2] == [(1, "fixed"), (2, "fixed")]


def test_an_error_policy_rejects_a_fix_with_a_known_key(flow: Flow) -> None:
    flow.declare(**KEYED, duplicates="error")
    ingestion = flow.run(FILE)
    fixing = fix(flow, ingestion, HEADER + b"1,again,a\n4,four,b\n")
    assert account(flow, fixing) == (2, 1, 1, 0)
    assert account(flow, ingestion) == (5, 4, 1, 0)


def test_a_projection_is_built_again_with_the_fixed_rows(flow: Flow) -> None:
    flow.declare(
        projections={
            "by_kind": "-- Things by kind.\n-- columns: kind, id\nSELECT kind, id FROM rows ORDER BY kind, id"
        }
    )
    ingestion = flow.run(FILE)
    assert flow.one("SELECT segment FROM sluice.publications").segment is not None
    fix(flow, ingestion, FIXED)
    flow.compact("things")
    assert flow.one("SELECT segment FROM sluice.publications").segment is not None
    assert flow.one("SELECT count(*) AS n FROM things_by_kind").n == 5
