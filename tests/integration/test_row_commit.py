"""Group commit of rows: requests share a transaction, with the same result as if each were loaded alone."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from flow import THINGS, Flow, Killed, assert_events_in_order, die

from sluice.datasets.declarations import parse_document
from sluice.errors import DatabaseUnavailableError, IdempotencyKeyError, PubsubUnavailableError
from sluice.ingestion.idempotency import IdempotencyKey, InsertResult
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import dataset_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluice.documents.ingestions import InsertedRows

STEPS = ["received", "splitting", "loading", "progress", "publishing", "done"]
OTHERS = {**THINGS, "name": "others"}


def things(first: int, count: int = 3, kind: str = "a") -> list[object]:
    return [{"id": str(n), "kind": kind} for n in range(first, first + count)]


def key(name: str, body: object = None) -> IdempotencyKey:
    return IdempotencyKey.of(name, "POST /v1/datasets/things/rows", body)


def insert(
    flow: Flow,
    rows: Sequence[object],
    key: IdempotencyKey | None = None,
    *,
    actor: str = "system",
    dataset: str = "things",
) -> InsertResult:
    with flow.engine.connect() as connection:
        found = dataset_version(connection, dataset).dataset
    return insert_rows(replace(flow.env("intake"), actor=actor), [RowGroup(found, rows)], key)


def only(result: InsertResult) -> InsertedRows:
    (inserted,) = result.groups
    return inserted


def at_once(
    flow: Flow, requests: Sequence[tuple[Sequence[object], IdempotencyKey | None]]
) -> list[Future[InsertResult]]:
    """Send requests so that all but the first wait for it, and form a group."""
    with ThreadPoolExecutor(len(requests)) as threads:
        with flow.held():
            first = threads.submit(insert, flow, *requests[0])
            flow.wait_until_blocked()
            rest = [threads.submit(insert, flow, *each) for each in requests[1:]]
            threading.Event().wait(0.5)
        return [first, *rest]


def transactions(flow: Flow, inserted: Sequence[InsertedRows]) -> int:
    """The number of transactions that created the ingestions."""
    sql = "SELECT count(DISTINCT CAST(xmin AS text)) AS n FROM sluice.receipts WHERE ingestion = ANY (:all)"
    return int(flow.one(sql, all=[each.ingestion for each in inserted]).n)


def test_waiting_requests_share_a_transaction(flow: Flow) -> None:
    requests = [(things(n), key(str(n))) for n in range(1, 20, 3)]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert transactions(flow, inserted) == 2
    assert flow.ids() == list(range(1, 22))
    assert flow.kinds() == {"a": 21}
    for each in inserted:
        assert each.state == "done"
        assert [row.outcome for row in each.rows] == ["loaded"] * 3
        assert flow.account(each.ingestion) == (3, 3, 0)
        assert flow.event_names(each.ingestion) == STEPS
        assert_events_in_order(flow, each.ingestion)
    assert flow.one("SELECT count(*) AS n FROM sluice.events WHERE published_at IS NULL").n == 0


def test_the_records_are_those_of_rows_that_are_loaded_alone(flow: Flow) -> None:
    rows = [{"id": "1", "kind": "a"}, {"id": "x"}, ["short"], {"id": "2", "kind": "b"}, {"id": "0"}]
    flow.declare(OTHERS)
    together = only(insert(flow, rows, key("together"), actor="key:one"))
    both = [RowGroup(parse_document({**each, "version": 1}), rows) for each in (THINGS, OTHERS)]
    alone = insert_rows(replace(flow.env("intake"), actor="key:one"), both, key("alone")).groups[0]
    found = [recorded(flow, each) for each in (together, alone)]
    assert found[0] == found[1]


def recorded(flow: Flow, inserted: InsertedRows) -> Any:
    """All that is recorded of the rows, but for names, numbers and times."""
    sql = (
        "SELECT to_jsonb(ingestions)"
        " - '{id,object,uploaded_at,received_at,updated_at,finished_at}'::text[] AS made,"
        " to_jsonb(chunks) - '{ingestion}'::text[] AS cut,"
        " to_jsonb(receipts) - '{ingestion,loaded_at}'::text[] AS kept,"
        " (SELECT jsonb_agg(to_jsonb(rejects) - '{ingestion,id}'::text[] ORDER BY record)"
        "  FROM sluice.rejects WHERE rejects.ingestion = ingestions.id) AS rejects,"
        " (SELECT jsonb_agg(to_jsonb(audit) - '{id,at,subject}'::text[])"
        "  FROM sluice.audit WHERE subject = CAST(ingestions.id AS text)) AS audit,"
        " (SELECT jsonb_agg(to_jsonb(idempotency_keys) - '{key,fingerprint,answer,created_at}'::text[])"
        "  FROM sluice.idempotency_keys) AS keys"
        " FROM sluice.ingestions JOIN sluice.chunks ON chunks.ingestion = id"
        " JOIN sluice.receipts ON receipts.ingestion = id WHERE id = :id"
    )
    row = flow.one(sql, id=inserted.ingestion)
    events = [
        (
            each["type"],
            {n: v for n, v in each["data"].items() if n not in ("ingestion", "object")},
        )
        for each in flow.events(inserted.ingestion)
    ]
    return (*row, events, inserted.account, inserted.rows, inserted.state)


KEYED = {**THINGS, "key": ["id"], "rollups": {}}


@pytest.mark.parametrize("policy", ["ignore", "update"])
def test_the_records_of_keyed_rows_are_those_of_rows_that_are_loaded_alone(
    flow: Flow, policy: str
) -> None:
    declared = {**KEYED, "duplicates": policy}
    flow.declare(declared)
    flow.declare(declared, name="others")
    known = things(1, 2)
    rows = [*things(2, 3, "b"), {"id": "x"}, *things(4, 1, "c"), {"id": "0"}]
    with flow.engine.connect() as connection:
        found = [dataset_version(connection, name).dataset for name in ("things", "others")]
    both = [RowGroup(each, ()) for each in found]
    env = replace(flow.env("intake"), actor="key:one")
    insert_rows(env, [replace(each, rows=known) for each in both])
    together = only(insert(flow, rows, key("together"), actor="key:one"))
    alone = insert_rows(
        env, [replace(each, rows=rows) for each in both[::-1]], key("alone")
    ).groups[0]
    assert together.rows == alone.rows
    one, other = (
        json.dumps(recorded(flow, each), default=str, sort_keys=True) for each in (together, alone)
    )
    assert one == re.sub(r'(declaration_version": )1', r"\g<1>2", other).replace("others", "things")
    sql = "SELECT id, kind FROM {} ORDER BY id"
    assert flow.all(sql.format("things")) == flow.all(sql.format("others"))


@pytest.mark.parametrize("policy", ["ignore", "update"])
def test_waiting_requests_with_keys_share_a_transaction_and_follow_each_other(
    flow: Flow, policy: str
) -> None:
    flow.declare(KEYED, duplicates=policy)
    requests = [(things(1, 3, str(n)), key(str(n))) for n in range(6)]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert transactions(flow, inserted) == 2
    assert flow.ids() == [1, 2, 3]
    outcomes = [[row.outcome for row in each.rows] for each in inserted]
    (kind,) = {row.kind for row in flow.all("SELECT kind FROM things")}
    newest = max(inserted, key=lambda each: each.ingestion)
    if policy == "update":
        assert outcomes == [["loaded"] * 3] * 6
        assert kind == str(inserted.index(newest))
    else:
        assert sorted(outcomes) == [["duplicate"] * 3] * 5 + [["loaded"] * 3]
        assert outcomes[int(kind)] == ["loaded"] * 3
    for each in inserted:
        assert flow.event_names(each.ingestion) == STEPS
        assert_events_in_order(flow, each.ingestion)
    flow.undo(newest.ingestion)
    assert flow.ids() == [1, 2, 3]


def test_a_request_with_a_key_that_exists_is_refused_alone(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="error")
    requests = [(things(n), key(str(place))) for place, n in enumerate((1, 4, 1, 7))]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert sorted(each.account.loaded for each in inserted) == [0, 3, 3, 3]
    assert flow.ids() == list(range(1, 10))


def test_a_roll_up_sees_the_number_that_a_row_has_in_its_request(flow: Flow) -> None:
    flow.declare(
        rollups={
            "lasts": "-- The last row of each request.\n-- key: kind\n-- measure last: max\n"
            "WITH numbered AS (SELECT kind, _record FROM rows)\n"
            "SELECT kind, max(_record) AS last FROM numbered GROUP BY ALL"
        }
    )
    rows = [*things(1, 2), ["short"], *things(5, 1)]
    at_once(flow, [(things(10), None), (rows, None), (things(20), None)])
    found = flow.all("SELECT last FROM things_lasts ORDER BY last")
    assert [row.last for row in found] == [2, 2, 3]


def test_each_request_keeps_its_own_rejects(flow: Flow) -> None:
    mixed = [{"id": "x"}, {"id": "7", "kind": "b"}, {"nonsense": "1"}]
    requests = [(things(10), None), (mixed, None), ([{"id": "y"}], None), (things(20), None)]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert transactions(flow, inserted) == 2
    _, one, other, _ = inserted
    assert [(each.row, each.outcome, each.column) for each in one.rows] == [
        (1, "rejected", "id"),
        (2, "loaded", None),
        (3, "rejected", "nonsense"),
    ]
    assert [(each.outcome, each.value) for each in other.rows] == [("rejected", "y")]
    assert flow.account(one.ingestion) == (3, 1, 2)
    assert flow.account(other.ingestion) == (1, 0, 1)
    assert [each.line for each in flow.rejects(one.ingestion)] == [1, 3]
    assert flow.kinds() == {"a": 6, "b": 1}


def test_a_request_that_the_database_refuses_fails_alone(flow: Flow) -> None:
    flow.run_sql("ALTER TABLE store.things ADD CONSTRAINT not_thirteen CHECK (id <> 13)")
    requests = [(things(n), key(str(n))) for n in range(1, 30, 3)]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert [each.state for each in inserted] == ["done"] * 4 + ["failed"] + ["done"] * 5
    assert flow.ids() == [n for n in range(1, 31) if not 12 < n < 16]
    problem = inserted[4].problem
    assert problem is not None
    assert "not_thirteen" in problem.detail
    again = insert(flow, things(13), key("13"))
    assert again.is_repeated
    assert only(again) == inserted[4]


def test_a_request_with_too_many_rejects_is_refused_alone(flow: Flow) -> None:
    flow.declare(load="all_or_nothing")
    wrong = [*things(4), {"id": "x"}]
    requests = [(things(1), None), (wrong, key("wrong")), (things(7), None), (things(10), None)]
    inserted = [only(each.result()) for each in at_once(flow, requests)]
    assert [each.state for each in inserted] == ["done", "failed", "done", "done"]
    assert flow.ids() == [1, 2, 3, *range(7, 13)]
    assert len(flow.rejects(inserted[1].ingestion)) == 1


def test_a_key_in_several_requests_of_a_group_takes_effect_once(flow: Flow) -> None:
    same, other = key("k", "same"), key("k", "other")
    requests = [(things(1), None), *[(things(4), same)] * 3, (things(7), other), (things(10), None)]
    sent = at_once(flow, requests)
    results = [each.result() for each in sent if each.exception() is None]
    errors = [each.exception() for each in sent if each.exception() is not None]
    assert [type(each) for each in errors] in ([IdempotencyKeyError], [IdempotencyKeyError] * 3)
    effect = [7, 8, 9] if len(errors) == 3 else [4, 5, 6]
    assert flow.ids() == [1, 2, 3, *effect, 10, 11, 12]
    assert sum(each.is_repeated for each in results) == 3 - len(errors)


def test_a_repeated_request_gets_the_answer_of_its_group(flow: Flow) -> None:
    requests = [(things(n), key(str(n))) for n in range(1, 12, 3)]
    answers = [each.result() for each in at_once(flow, requests)]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda request: insert(flow, *request), requests))
    assert [each.groups for each in again] == [each.groups for each in answers]
    assert all(each.is_repeated for each in again)
    assert flow.ids() == list(range(1, 13))


@pytest.mark.parametrize("step", ["receive_group", "publish_group", "store_answers"])
def test_a_request_killed_inside_its_transaction_leaves_nothing(flow: Flow, step: str) -> None:
    with flow.before(step, die), pytest.raises(Killed):
        insert(flow, things(1), key("one"))
    assert flow.stored() == 0
    assert flow.all("SELECT key FROM sluice.idempotency_keys") == []
    assert not insert(flow, things(1), key("one")).is_repeated
    assert flow.ids() == [1, 2, 3]


def test_an_outage_of_the_database_answers_every_request_of_the_group(flow: Flow) -> None:
    def fail() -> None:
        raise DatabaseUnavailableError("the database did not answer")

    requests = [(things(n), key(str(n))) for n in range(1, 12, 3)]
    with flow.before("publish_group", fail):
        sent = at_once(flow, requests)
    assert {type(each.exception()) for each in sent} == {DatabaseUnavailableError}
    assert flow.stored() == 0
    for request in requests:
        insert(flow, *request)
    assert flow.ids() == list(range(1, 13))


def test_events_that_could_not_be_published_are_published_by_the_repetition(flow: Flow) -> None:
    def fail(_topic: str) -> None:
        raise PubsubUnavailableError("Pub/Sub did not answer")

    usual, flow.topics.before_publish = flow.topics.before_publish, fail
    with pytest.raises(PubsubUnavailableError):
        insert(flow, things(1), key("one"))
    flow.topics.before_publish = usual
    repeated = insert(flow, things(1), key("one"))
    assert repeated.is_repeated
    assert flow.event_names(only(repeated).ingestion) == STEPS
    assert flow.ids() == [1, 2, 3]


def test_the_audit_log_names_who_sent_each_request(flow: Flow) -> None:
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(insert, flow, things(n), actor=f"key:{n}") for n in (10, 20, 30, 40)]
    found = {
        (row.actor, int(row.subject))
        for row in flow.all("SELECT actor, subject FROM sluice.audit WHERE action = 'rows.load'")
    }
    expected = zip((10, 20, 30, 40), [only(each.result()).ingestion for each in sent], strict=True)
    assert found == {(f"key:{n}", ingestion) for n, ingestion in expected}


def test_a_dataset_that_is_locked_does_not_hold_up_another(flow: Flow) -> None:
    flow.declare(OTHERS)
    with ThreadPoolExecutor(1) as threads:
        with flow.held():
            waiting = threads.submit(insert, flow, things(1))
            flow.wait_until_blocked()
            insert(flow, things(1), dataset="others")
            assert flow.ids("others") == [1, 2, 3]
            assert not waiting.done()
        assert only(waiting.result()).state == "done"
