"""Group commit: small files share a transaction, with the same result as if each were loaded alone."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, Killed, assert_events_in_order, die, lines

from sluice.errors import PubsubUnavailableError
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.group_commit import GROUP_COMMIT
from sluice.ingestion.outbox import STATUS_TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluice.ports import StoredObject

STEPS = ["received", "splitting", "loading", "progress", "publishing", "done"]
FILE = HEADER + lines(1, 30)
#: The number of an attempt that does not use group commit.
ALONE = 9

pytestmark = pytest.mark.flow(chunk_bytes=1000)


@pytest.fixture
def other(flow: Flow) -> Flow:
    """A second process."""
    return flow.twin(chunk_bytes=1000)


def some(flow: Flow, count: int, size: int = 10) -> list[StoredObject]:
    """Upload a number of files with different rows."""
    firsts = range(1, count * size, size)
    return [flow.put(HEADER + lines(n, n + size - 1), f"things/{n}.csv") for n in firsts]


def split_at_once(flow: Flow, stored: Sequence[StoredObject]) -> list[int]:
    """Split files so that all but the first wait for it, and form a group."""
    with ThreadPoolExecutor(len(stored)) as threads:
        with flow.held():
            first = threads.submit(flow.split, stored[0])
            flow.wait_until_blocked()
            rest = [threads.submit(flow.split, each) for each in stored[1:]]
            threading.Event().wait(0.3)
        return [each.result() for each in (first, *rest)]


def transactions(flow: Flow, ingestions: Sequence[int]) -> int:
    """The number of transactions that created the ingestions."""
    sql = "SELECT count(DISTINCT CAST(xmin AS text)) AS n FROM sluice.receipts WHERE ingestion = ANY (:all)"
    return int(flow.one(sql, all=list(ingestions)).n)


def test_a_small_file_is_done_when_its_notification_is_handled(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    assert flow.state(ingestion) == "done"
    assert flow.topics.of(CHUNKS_TOPIC) == []
    assert flow.ids() == list(range(1, 31))
    assert flow.kinds() == {"a": 30}
    assert flow.account(ingestion) == (30, 30, 0)
    assert flow.event_names(ingestion) == STEPS
    assert_events_in_order(flow, ingestion)
    row = flow.ingestion(ingestion)
    assert row.received_at < row.finished_at


def test_events_and_records_are_those_of_a_split_file(flow: Flow) -> None:
    sql = (
        "SELECT to_jsonb(ingestions)"
        " - '{id,object,generation,uploaded_at,received_at,updated_at,finished_at}'::text[] AS made,"
        " to_jsonb(chunks) - '{ingestion}'::text[] AS cut,"
        " to_jsonb(receipts) - '{ingestion,loaded_at}'::text[] AS kept"
        " FROM sluice.ingestions JOIN sluice.chunks ON chunks.ingestion = id"
        " JOIN sluice.receipts ON receipts.ingestion = id WHERE id = :id"
    )
    found = []
    for attempt in (1, ALONE):
        stored = flow.put(HEADER + lines(1, 9) + b"x,wrong,a\n", f"things/{attempt}.csv")
        ingestion = flow.split(stored, attempt)
        flow.deliver()
        row = flow.one(sql, id=ingestion)
        events = [(each["type"], shown(each["data"])) for each in flow.events(ingestion)]
        links = events[-1][1].pop("rejects")
        assert links["object"] == f"rejects/things/{ingestion}/rejects.csv"
        found.append((row.made, row.cut, row.kept, events))
        flow.undo(ingestion)  # or the same content would be skipped
    assert found[0] == found[1]


def shown(data: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in data.items()
        if name not in ("ingestion", "object", "generation")
    }


def test_waiting_files_share_a_transaction(flow: Flow) -> None:
    ingestions = split_at_once(flow, some(flow, 6))
    assert {flow.state(each) for each in ingestions} == {"done"}
    assert transactions(flow, ingestions) == 2
    assert flow.ids() == list(range(1, 61))
    assert flow.kinds() == {"a": 60}
    for each in ingestions:
        assert flow.account(each) == (10, 10, 0)
        assert flow.event_names(each) == STEPS
        assert_events_in_order(flow, each)
    assert flow.one("SELECT count(*) AS n FROM sluice.events WHERE published_at IS NULL").n == 0


def test_each_file_keeps_its_own_rejects(flow: Flow) -> None:
    stored = some(flow, 2)
    stored += [
        flow.put(
            HEADER + lines(n, n + 3) + b'x,"one, two",a\n' + lines(n + 4, n + 5), f"things/{n}.csv"
        )
        for n in (100, 200, 300)
    ]
    ingestions = split_at_once(flow, stored)
    assert transactions(flow, ingestions) == 2
    for each in ingestions[2:]:
        assert flow.account(each) == (7, 6, 1)
        ((record, line, original),) = [
            (reject.record, reject.line, bytes(reject.original)) for reject in flow.rejects(each)
        ]
        assert (record, line, original) == (4, 6, b'x,"one, two",a')
    assert flow.kinds() == {"a": 38}


def test_a_roll_up_can_number_the_rows_of_each_file(flow: Flow) -> None:
    flow.declare(
        rollups={
            "firsts": "-- The first row of each file.\n-- key: kind\n-- measure first: min\n"
            "WITH numbered AS (SELECT kind, _record FROM rows)\n"
            "SELECT kind, min(_record) AS first FROM numbered GROUP BY ALL"
        }
    )
    split_at_once(flow, some(flow, 4))
    assert [row.first for row in flow.all("SELECT first FROM things_firsts")] == [0] * 4


def test_the_same_content_is_loaded_once(flow: Flow) -> None:
    stored = [flow.put(FILE, f"things/{name}.csv") for name in "abc"]
    states = [flow.state(each) for each in split_at_once(flow, stored)]
    assert sorted(states) == ["done", "skipped", "skipped"]
    assert flow.ids() == list(range(1, 31))


def test_a_newer_generation_replaces_an_older(flow: Flow) -> None:
    flow.declare(reupload="replace")
    old = flow.split(flow.put(FILE))
    new = flow.split(flow.put(HEADER + lines(31, 40)))
    flow.deliver()
    assert (flow.state(old), flow.state(new)) == ("undone", "done")
    assert flow.ids() == list(range(31, 41))


def test_a_file_that_the_database_refuses_fails_alone(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("sluice.ingestion.group_commit").addHandler(caplog.handler)
    flow.run_sql("ALTER TABLE store.things ADD CONSTRAINT not_thirteen CHECK (id <> 13)")
    ingestions = split_at_once(flow, some(flow, 5))
    flow.deliver()
    assert [flow.state(each) for each in ingestions] == ["done", "failed", "done", "done", "done"]
    assert flow.ids() == [n for n in range(1, 51) if not 10 < n < 21]
    assert "not_thirteen" in caplog.text


def test_a_file_with_too_many_rejects_fails_alone(flow: Flow) -> None:
    flow.declare(load="all_or_nothing")
    stored = some(flow, 4)
    stored.insert(2, flow.put(HEADER + lines(91, 95) + b"x,wrong,a\n", "things/wrong.csv"))
    ingestions = split_at_once(flow, stored)
    flow.deliver()
    assert [flow.state(each) for each in ingestions] == ["done", "done", "failed", "done", "done"]
    assert flow.ids() == list(range(1, 41))
    assert len(flow.rejects(ingestions[2])) == 1


def test_unusual_files_have_the_same_outcome_in_a_group_and_alone(flow: Flow) -> None:
    """Each between other files, so that an effect on its neighbours shows."""
    unusual = [
        HEADER + b'1,"open,a\n' + lines(2, 3),
        HEADER + b"4,short\n" + lines(5, 6) + b"\n\n",
        b"kind,id\nb,7\n,8\n",
        HEADER.replace(b"\n", b"\r\n") + b"9,windows,c\r\n10,windows,c",
        HEADER + "11,\u017di\u017ekov,\u00e4\n".encode("cp1252"),
        HEADER,
        b"id,nonsense\n1,2\n",
    ]
    usual = [HEADER + lines(n, n + 4, "b") for n in range(100, 200, 10)]
    contents = [each for pair in zip(usual, unusual, strict=False) for each in pair]
    found = []
    for attempt in (1, ALONE):
        stored = [flow.put(each, f"things/{attempt}-{n}.csv") for n, each in enumerate(contents)]
        if attempt == 1:
            ingestions = split_at_once(flow, stored)
        else:
            ingestions = [flow.split(each, attempt) for each in stored]
        flow.deliver()
        found.append([outcome(flow, each) for each in ingestions])
        for each in ingestions:
            if flow.state(each) == "done":
                flow.undo(each)
    assert found[0] == found[1]


def outcome(flow: Flow, ingestion: int) -> tuple[Any, ...]:
    row = flow.ingestion(ingestion)
    problem = row.problem and row.problem["code"]
    rows = flow.all(
        "SELECT id, name, text FROM store.things LEFT JOIN store.things__kind ON code = kind"
        " WHERE ingestion = :id ORDER BY id",
        id=ingestion,
    )
    shown = [(each.id, each.name, each.text) for each in rows]
    rejects = [(each.record, each.line, each.rule) for each in flow.rejects(ingestion)]
    return row.state, problem, flow.account(ingestion), row.layout, shown, rejects


# Twice, late, killed


def test_a_duplicate_notification_changes_nothing(flow: Flow) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    sequence = flow.ingestion(ingestion).sequence
    assert {flow.split(stored, attempt) for attempt in (1, 2, ALONE)} == {ingestion}
    for sent in list(flow.topics.sent):
        flow.handle(sent)
    assert flow.ingestion(ingestion).sequence == sequence
    assert flow.ids() == list(range(1, 31))
    assert flow.kinds() == {"a": 30}


def test_concurrent_duplicate_notifications_make_one_ingestion(flow: Flow, other: Flow) -> None:
    stored = flow.put(FILE)
    with ThreadPoolExecutor(4) as threads:
        with flow.held():
            splits = [threads.submit(each.split, stored) for each in (flow, other, flow, other)]
            flow.wait_until_blocked()
            threading.Event().wait(0.3)
        ingestions = {each.result() for each in splits}
    (ingestion,) = ingestions
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.stored() == 30
    assert_events_in_order(flow, ingestion)


def test_the_same_files_in_two_processes_are_loaded_once(flow: Flow, other: Flow) -> None:
    stored = some(flow, 12)
    with ThreadPoolExecutor(12) as threads:
        pairs = [
            (threads.submit(flow.split, one), threads.submit(other.split, two))
            for one, two in zip(stored, reversed(stored), strict=True)
        ]
        made = {each.result() for pair in pairs for each in pair}
    flow.deliver()
    assert len(made) == 12
    assert {flow.state(each) for each in made} == {"done"}
    assert flow.ids() == list(range(1, 121))
    assert flow.kinds() == {"a": 120}


@pytest.mark.parametrize("step", ["receive_group", "insert_events", "publish_group"])
def test_a_delivery_killed_inside_its_transaction_leaves_nothing(flow: Flow, step: str) -> None:
    stored = some(flow, 3)

    with flow.before(step, die):
        for each in stored:
            with pytest.raises(Killed):
                flow.split(each)
    assert flow.stored() == 0
    assert flow.one("SELECT count(*) AS n FROM sluice.ingestions").n == 0
    ingestions = [flow.split(each, 2) for each in stored]
    assert {flow.state(each) for each in ingestions} == {"done"}
    assert flow.ids() == list(range(1, 31))


@pytest.mark.parametrize("error", [Killed, PubsubUnavailableError])
def test_events_of_a_delivery_that_ends_after_its_commit_are_published_by_the_next(
    flow: Flow, error: type[BaseException]
) -> None:
    stored = some(flow, 4)

    def die(topic: str) -> None:
        raise error("here")

    flow.topics.before_publish = die
    with suppress(error):
        split_at_once(flow, stored)
    assert flow.events(1) == []
    assert flow.ids() == list(range(1, 41))
    flow.topics.before_publish = lambda _topic: None
    for each in stored:
        ingestion = flow.split(each, 2)
        assert flow.event_names(ingestion) == STEPS
        assert_events_in_order(flow, ingestion)
    assert flow.ids() == list(range(1, 41))


def test_events_of_a_group_that_were_not_marked_are_published_by_recovery(flow: Flow) -> None:
    with flow.before("mark_group_events", die), pytest.raises(Killed):
        flow.split(flow.put(FILE))
    flow.run_sql("UPDATE sluice.events SET created_at = created_at - interval '2 minutes'")
    assert flow.recover().published == len(STEPS)
    assert flow.recover().published == 0
    assert_events_in_order(flow, flow.one("SELECT id FROM sluice.ingestions").id)


def test_an_unexpected_error_leaves_every_file_of_the_group_to_split(flow: Flow) -> None:
    stored = some(flow, 4)

    def fail() -> None:
        raise RuntimeError("unexpected")

    with flow.before("publish_group", fail), ThreadPoolExecutor(4) as threads:
        ingestions = list(threads.map(flow.split, stored))
    assert flow.stored() == 0
    flow.deliver()
    assert {flow.state(each) for each in ingestions} == {"done"}
    assert flow.ids() == list(range(1, 41))


def test_a_file_that_failed_several_times_is_split(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE), ALONE)
    assert flow.chunks(ingestion) != []
    flow.deliver()
    assert flow.state(ingestion) == "done"


# Notifying finish


@pytest.mark.parametrize(
    "projections", [{}, {"sorted": "-- Things.\n-- columns: id\nSELECT id FROM rows ORDER BY id"}]
)
def test_finish_is_notified_once_of_a_group_if_there_is_something_to_compact(
    flow: Flow, projections: dict[str, str]
) -> None:
    if projections:
        flow.declare({**THINGS, "projections": projections})
    split_at_once(flow, some(flow, 1) + some(flow, 6)[1:])
    heard = [
        sent.attributes["state"]
        for sent in flow.topics.of(STATUS_TOPIC)
        if GROUP_COMMIT not in sent.attributes
    ]
    assert heard == ["done", "done"] * bool(projections)
