"""The outcomes of a file: published, replaced, skipped, undone, retried or failed; and what readers see."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flow import HEADER, Flow, assert_events_in_order, lines
from sqlalchemy import text

from sluice.documents.ingestions import State
from sluice.errors import IllegalTransitionError, NotFoundError
from sluice.ingestion.ingestions import TRANSITIONS, move
from sluice.ingestion.notifications import read_notification
from sluice.postgres.connection import transaction

FILE = HEADER + lines(1, 10)


def failure(flow: Flow, ingestion: int) -> str:
    """The code of a failed ingestion, from its last event."""
    assert flow.state(ingestion) == "failed"
    last = flow.events(ingestion)[-1]
    assert last["type"] == "sluice.ingestion.failed"
    assert last["data"]["problem"] == flow.ingestion(ingestion).problem
    return str(last["data"]["problem"]["code"])


# Readers


def test_readers_see_all_or_nothing_at_every_step(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    reader = flow.twin()
    with ThreadPoolExecutor(1) as thread:
        for chunk in flow.chunks(ingestion):
            with flow.held():
                loading = thread.submit(flow.load, chunk)
                assert reader.ids() == []
            loading.result()
            assert reader.ids() == []
            assert reader.kinds() == {}
    flow.finish(ingestion)
    assert reader.ids() == list(range(1, 11))
    assert reader.kinds() == {"a": 10}


def test_readers_see_the_old_rows_until_the_new_ones_replace_them(flow: Flow) -> None:
    flow.declare(reupload="replace")
    flow.run(FILE)
    new = flow.split(flow.put(HEADER + lines(20, 25, "b")))
    for chunk in flow.chunks(new):
        flow.load(chunk)
        assert flow.ids() == list(range(1, 11))
    flow.finish(new)
    assert flow.ids() == list(range(20, 26))
    assert flow.kinds() == {"b": 6}


# Policies


def test_a_new_generation_is_appended_by_default(flow: Flow) -> None:
    flow.run(FILE)
    flow.run(HEADER + lines(11, 12))
    assert flow.ids() == list(range(1, 13))
    assert flow.kinds() == {"a": 12}


def test_a_late_older_generation_replaces_nothing(flow: Flow) -> None:
    flow.declare(reupload="replace")
    older, newer = flow.put(FILE), flow.put(HEADER + lines(20, 25))
    late, first = flow.split(older), flow.split(newer)
    for ingestion in (first, late):
        for chunk in flow.chunks(ingestion):
            flow.load(chunk)
        flow.finish(ingestion)
    assert (flow.state(late), flow.ingestion(late).replaced_by) == ("skipped", first)
    assert flow.ids() == list(range(20, 26))


def test_the_same_content_is_skipped(flow: Flow) -> None:
    first = flow.run(FILE)
    again = flow.run(FILE, "things/other.csv")
    assert flow.state(again) == "skipped"
    assert flow.ingestion(again).replaced_by == first
    assert flow.event_names(again) == ["received", "skipped"]
    assert flow.chunks(again) == []
    assert flow.ids() == list(range(1, 11))


def test_the_same_content_loaded_twice_concurrently_is_published_once(flow: Flow) -> None:
    one, two = (flow.split(flow.put(FILE, f"things/{n}.csv")) for n in (1, 2))
    flow.deliver()
    assert [flow.state(one), flow.state(two)] == ["done", "skipped"]
    assert flow.ids() == list(range(1, 11))
    assert flow.kinds() == {"a": 10}


def test_two_concurrent_finishes_of_the_same_content_publish_one(flow: Flow) -> None:
    ingestions = [flow.split(flow.put(FILE, f"things/{n}.csv")) for n in (1, 2)]
    for ingestion in ingestions:
        for chunk in flow.chunks(ingestion):
            flow.load(chunk)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(flow.finish, ingestions))
    assert sorted(map(flow.state, ingestions)) == ["done", "skipped"]
    assert flow.ids() == list(range(1, 11))


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        pytest.param({}, "done", id="partial"),
        pytest.param({"max_rejects": 2}, "done", id="at-the-limit"),
        pytest.param({"max_rejects": 1}, "CSV106", id="over-the-limit"),
        pytest.param({"load": "all_or_nothing"}, "CSV106", id="all-or-nothing"),
        pytest.param({"load": "all_or_nothing", "max_rejects": 2}, "done", id="all-but-two"),
    ],
)
def test_the_load_policy_limits_rejects(flow: Flow, policy: dict[str, Any], outcome: str) -> None:
    flow.declare(**policy)
    ingestion = flow.run(FILE + b"x,bad,a\n0,bad,a\n")
    assert len(flow.rejects(ingestion)) == 2
    if outcome == "done":
        assert flow.ids() == list(range(1, 11))
        assert flow.events(ingestion)[-1]["data"]["account"]["rejected"] == 2
    else:
        assert failure(flow, ingestion) == outcome
        assert flow.ids() == []


# Undo and retry


def test_an_undone_file_can_be_loaded_again(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    flow.undo(ingestion)
    assert flow.ids() == []
    again = flow.run(FILE)
    assert flow.state(again) == "done"
    assert flow.ids() == list(range(1, 11))
    assert flow.kinds() == {"a": 10}


def test_a_cancelled_file_is_retried_from_its_start(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE + b"x,,\n"))
    for chunk in flow.chunks(ingestion)[1:]:
        flow.load(chunk)
    flow.cancel(ingestion)
    flow.deliver()
    flow.retry(ingestion)
    assert flow.state(ingestion) == "received"
    assert flow.events(ingestion)[-1]["data"]["account"]["read"] == 0
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 11))
    assert flow.kinds() == {"a": 10}
    assert flow.account(ingestion) == (11, 10, 1)
    assert flow.stored() == 10
    assert_events_in_order(flow, ingestion)


def test_a_failed_file_is_retried_once_its_cause_is_fixed(database: str, flow: Flow) -> None:
    ingestion = flow.run(b"id,name,kind,extra\n1,a,b,c\n")
    assert failure(flow, ingestion) == "CSV104"
    columns = [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}]
    columns += [
        {"name": "kind", "type": "text", "dictionary": True},
        {"name": "extra", "type": "text"},
    ]
    flow.declare(columns=columns)
    later = flow.twin()
    later.retry(ingestion)
    later.deliver()
    assert later.state(ingestion) == "done"
    assert later.ingestion(ingestion).problem is None
    assert later.ids() == [1]


def test_a_retry_whose_notification_was_not_published_can_be_repeated(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    flow.cancel(ingestion)
    flow.topics.sent.clear()
    flow._delivered = 0
    flow.retry(ingestion)
    flow.topics.sent.clear()
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 11))


# Transitions


@pytest.mark.parametrize("action", ["cancel", "undo", "retry"])
def test_a_command_to_an_unknown_ingestion_is_not_found(flow: Flow, action: str) -> None:
    with pytest.raises(NotFoundError):
        getattr(flow, action)(77)


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("done", ["cancel", "retry"]),
        ("failed", ["cancel", "undo"]),
        ("cancelled", ["cancel", "undo"]),
        ("skipped", ["cancel", "undo"]),
        ("undone", ["cancel", "undo", "retry"]),
        ("loading", ["undo", "retry"]),
    ],
)
def test_a_command_in_the_wrong_state_is_refused(
    flow: Flow, state: str, refused: list[str]
) -> None:
    ingestion = flow.split(flow.put(FILE))
    flow.run_sql("UPDATE sluice.ingestions SET state = CAST(:s AS sluice.ingestion_state)", s=state)
    for action in refused:
        with pytest.raises(IllegalTransitionError):
            getattr(flow, action)(ingestion)
    assert flow.state(ingestion) == state


@pytest.mark.parametrize("to", list(State))
@pytest.mark.parametrize("at", list(State))
def test_an_illegal_transition_raises(flow: Flow, at: State, to: State) -> None:
    ingestion = flow.receive(flow.put(FILE))
    flow.run_sql("UPDATE sluice.ingestions SET state = CAST(:s AS sluice.ingestion_state)", s=at)
    with transaction(flow.engine) as connection:
        if at in TRANSITIONS[to]:
            assert move(connection, ingestion, to, "local").state == to
        else:
            with pytest.raises(IllegalTransitionError, match=f"is {at}"):
                move(connection, ingestion, to, "local")


# The account


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE sluice.receipts SET rows_loaded = 0, records_read = 0 WHERE chunk = 1",
        "UPDATE sluice.receipts SET rows_loaded = rows_loaded - 1, rows_rejected = 1 WHERE chunk = 1",
        "DELETE FROM sluice.receipts WHERE chunk = 1",
        "UPDATE sluice.chunks SET end_byte = end_byte - 1 WHERE number = 1",
        "UPDATE sluice.chunks SET first_byte = first_byte + 1 WHERE number = 0",
        "UPDATE sluice.chunks SET records = records + 1 WHERE number = 1",
        "DELETE FROM sluice.receipts WHERE chunk = 1; DELETE FROM sluice.chunks WHERE number = 1",
        "UPDATE sluice.ingestions SET records_total = records_total + 1",
        "UPDATE sluice.ingestions SET chunks_total = chunks_total + 1",
        "UPDATE sluice.ingestions SET content_bytes = content_bytes + 1",
        "INSERT INTO sluice.rejects VALUES (1, 1, 1, NULL, 'type', NULL, 'x', 'x')",
    ],
)
def test_an_ingestion_whose_account_does_not_balance_fails(flow: Flow, tampering: str) -> None:
    ingestion = flow.split(flow.put(FILE))
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
    with transaction(flow.engine) as connection:
        for each in tampering.split(";"):
            assert connection.execute(text(each)).rowcount == 1
    flow.finish(ingestion)
    assert failure(flow, ingestion) == "CSV107"
    assert flow.ids() == []
    assert flow.kinds() == {}


# Outcomes


def test_a_file_with_only_a_header_is_done_without_rows(flow: Flow) -> None:
    for number, data in enumerate(
        (b"id,name,kind", b"id,name,kind\n", b"\xef\xbb\xbfid,name,kind\r\n")
    ):
        ingestion = flow.run(data, f"things/{number}.csv")
        assert flow.state(ingestion) == "done"
        assert flow.account(ingestion) == (0, 0, 0)


def test_a_file_with_a_header_and_blank_lines_is_done_without_rows(flow: Flow) -> None:
    ingestion = flow.run(b"\n\nid,name,kind\n\n\n\n")
    assert (flow.state(ingestion), flow.account(ingestion)) == ("done", (0, 0, 0))


@pytest.mark.parametrize(
    ("name", "data", "code", "words"),
    [
        ("things/a.csv", b"id,name\n1,a,b\n", "CSV201", "line 2: has 3 columns instead of 2"),
        (
            "things/a.csv",
            b"id,name,kind\nx,a,b\ny,a,b\n",
            "CSV201",
            '2 of them like line 2, column id: "x"',
        ),
        ("things/a.csv", b"name,kind\na,b\n", "CSV104", "lacks id"),
        ("things/a.csv", b"id,name,kind,more\n", "CSV104", "no column for more"),
        ("things/a.csv", b"id,name,ID\n", "CSV104", "twice"),
        ("things/a.csv", b"\n\n", "CSV101", "no header"),
        ("things/a.csv", b"id,n\x81me,kind\n", "CSV108", "cp1252"),
        ("things/a.csv.exe", FILE, "CSV102", "does not end in .csv, .tsv or .txt"),
        ("Strangers/a.csv", FILE, "CSV103", "there is no dataset 'Strangers'"),
        ("a.csv", FILE, "CSV103", "is in no folder"),
    ],
)
def test_a_file_that_cannot_be_loaded_fails_with_a_code(
    flow: Flow, name: str, data: bytes, code: str, words: str
) -> None:
    ingestion = flow.run(data, name)
    assert failure(flow, ingestion) == code
    assert words in flow.ingestion(ingestion).problem["detail"]
    assert (flow.chunks(ingestion) == []) == (code != "CSV201")


def test_a_deleted_object_fails_the_ingestion(flow: Flow) -> None:
    stored = flow.put(FILE)
    flow.bucket.lose(stored)
    assert failure(flow, flow.split(stored)) == "CSV105"


def test_an_object_deleted_during_the_load_fails_the_ingestion(flow: Flow) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    flow.bucket.lose(stored)
    flow.deliver()
    assert failure(flow, ingestion) == "CSV105"
    assert_events_in_order(flow, ingestion)


def test_a_row_that_only_postgresql_refuses_fails_the_file(flow: Flow) -> None:
    flow.run_sql("ALTER TABLE store.things ADD CONSTRAINT things_no_seven CHECK (id <> 7)")
    ingestion = flow.run(FILE)
    assert failure(flow, ingestion) == "CSV111"
    assert "things_no_seven" in flow.ingestion(ingestion).problem["detail"]
    assert flow.ids() == []


def test_a_chunk_of_an_unknown_ingestion_is_a_permanent_error(flow: Flow) -> None:
    flow.split(flow.put(FILE))
    message = flow.topics.of("chunks")[0].body
    flow.run_sql("TRUNCATE sluice.ingestions CASCADE")
    with pytest.raises(NotFoundError):
        flow.load(type(flow.chunks(1)[0]).from_message(message))


NOTIFICATION = {"eventType": "OBJECT_FINALIZE", "bucketId": "inbox", "objectGeneration": "1"}


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        pytest.param({"objectId": "things/a.csv"}, "0", id="zero-bytes"),
        pytest.param({"objectId": "things/folder/"}, "10", id="folder"),
        pytest.param(
            {"objectId": "gcloud/tmp/parallel_composite_uploads/x/things/a.csv"},
            "10",
            id="gcloud-part",
        ),
        pytest.param(
            {"objectId": "/gsutil/tmp/parallel_composite_uploads/for_details_see/a.csv"},
            "10",
            id="gsutil-part",
        ),
        pytest.param({"objectId": "things/a.csv", "eventType": "OBJECT_DELETE"}, "9", id="deleted"),
        pytest.param(
            {"objectId": "things/a.csv", "eventType": "OBJECT_METADATA_UPDATE"}, "9", id="metadata"
        ),
    ],
)
def test_a_notification_of_no_file_is_ignored(attributes: dict[str, str], size: str) -> None:
    assert read_notification({**NOTIFICATION, **attributes}, {"size": size}, "inbox") is None


# Rejects


def test_rejects_keep_line_column_rule_value_reason_and_bytes(flow: Flow) -> None:
    data = (
        b"\xef\xbb\xbfid,name,kind\r\n"
        b'1,"two\r\nlines",a\r\n'  # lines 2 and 3
        b"\r\n"
        b"x,bad id,a\r\n"  # line 5
        b'2,"a ""quoted"" name",a\r\n'
        b"0,too small,\xc3\xa9\r\n"  # line 7
        b"3,short\r\n"
        b'4,"long",a,b\r\n'
        b'5,st"ray,a\r\n'  # line 10
        b"6,\xff\xfe,a\r\n"
        b"7,nul\0,a\r\n"
        b"8,fine,a\r\n"
        b",no id,a"  # line 14
    )
    ingestion = flow.run(data)
    found = [
        (each.line, each.record, each.column_name, each.rule, each.value, bytes(each.original))
        for each in flow.rejects(ingestion)
    ]
    assert found == [
        (5, 1, "id", "type", "x", b"x,bad id,a"),
        (7, 3, "id", "minimum", "0", b"0,too small,\xc3\xa9"),
        (8, 4, None, "columns", None, b"3,short"),
        (9, 5, None, "columns", None, b'4,"long",a,b'),
        (10, 6, None, "stray_quote", None, b'5,st"ray,a'),
        (11, 7, None, "encoding", None, b"6,\xff\xfe,a"),
        (12, 8, None, "nul", None, b"7,nul\0,a"),
        (14, 10, "id", "required", None, b",no id,a"),
    ]
    reasons = [each.reason for each in flow.rejects(ingestion)]
    assert reasons[0] == '"x" is not a whole number'
    assert "has 2 columns instead of 3" in reasons[2]
    assert flow.ids() == [1, 2, 8]
    assert flow.account(ingestion) == (11, 3, 8)


@pytest.mark.flow(chunk_bytes=1)
def test_rows_recovered_after_an_unclosed_quote_may_be_rejects_like_those_of_the_next_chunk(
    flow: Flow,
) -> None:
    data = HEADER + b'1,"open,a\nx,two,a\n3,"q",a\ny\n'
    ingestion = flow.run(data)
    assert [each.line for each in flow.rejects(ingestion)] == [2, 3, 5]
    assert flow.account(ingestion) == (4, 1, 3)
