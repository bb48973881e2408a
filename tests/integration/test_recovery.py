"""Messages are lost and processes killed; recovery completes each ingestion."""

from __future__ import annotations

import gzip

import pytest
from flow import HEADER, IDLE_S, Flow, Killed, assert_events_in_order, lines

from sluice.errors import PubsubUnavailableError
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.notifications import UPLOADS_TOPIC
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.ingestion.recovery import Recovered

ROWS = list(range(1, 31))
FILE = HEADER + lines(1, 30)
NOTHING = Recovered(0, 0, 0, 0)


def pass_time(flow: Flow, seconds: float = IDLE_S + 1) -> None:
    """Move everything that happened into the past."""
    earlier = f"- make_interval(secs => {seconds})"
    flow.run_sql(
        f"UPDATE sluice.ingestions SET updated_at = updated_at {earlier},"
        f" finished_at = finished_at {earlier}"
    )
    flow.run_sql(f"UPDATE sluice.events SET created_at = created_at {earlier}")


def lose_messages(flow: Flow) -> None:
    """Never deliver what was sent until now."""
    flow._delivered = len(flow.topics.sent)


def assert_loaded_once(flow: Flow, ingestion: int) -> None:
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == ROWS
    assert flow.kinds() == {"a": len(ROWS)}
    assert_events_in_order(flow, ingestion)


def die(_topic: str) -> None:
    raise Killed


def test_a_lost_notification_is_published_again(flow: Flow) -> None:
    ingestion = flow.receive(flow.put(FILE))
    pass_time(flow)
    assert flow.recover() == Recovered(resumed=1, published=1, collected=0, rows_deleted=0)
    assert_loaded_once(flow, ingestion)


def test_a_split_that_died_is_continued_after_its_last_chunk(flow: Flow) -> None:
    def die_at_the_third(topic: str) -> None:
        if topic == CHUNKS_TOPIC:
            raise Killed

    flow.topics.after_publish = die_at_the_third
    stored = flow.put(FILE)
    with pytest.raises(Killed):
        flow.split(stored)
    flow.topics.after_publish = lambda _topic: None
    (row,) = flow.all("SELECT id FROM sluice.ingestions")
    lose_messages(flow)
    pass_time(flow)
    assert flow.recover().resumed == 1
    assert_loaded_once(flow, row.id)


def test_recovery_publishes_no_event_before_an_earlier_one(flow: Flow) -> None:
    """The events of the last chunks are not published, and not overdue yet when the ingestion has stalled."""

    def refuse(topic: str) -> None:
        if topic == STATUS_TOPIC:
            raise PubsubUnavailableError("the topic is away")

    ingestion = flow.split(flow.put(FILE))
    *chunks, before_last, last = flow.chunks(ingestion)
    for each in chunks:
        flow.load(each)
    flow.topics.before_publish = refuse
    for each in (before_last, last):
        with pytest.raises(PubsubUnavailableError):
            flow.load(each)
    flow.topics.before_publish = lambda _topic: None
    lose_messages(flow)
    assert flow.state(ingestion) == "publishing"
    flow.run_sql("UPDATE sluice.ingestions SET updated_at = updated_at - interval '1 hour'")
    assert flow.recover().resumed == 1
    assert_loaded_once(flow, ingestion)


def test_only_lost_chunks_are_sent_again(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    chunks = flow.chunks(ingestion)
    for each in chunks[::2]:
        flow.load(each)
    lose_messages(flow)
    pass_time(flow)
    assert flow.recover().resumed == 1
    assert flow.chunks(ingestion)[len(chunks) :] == chunks[1::2]
    assert_loaded_once(flow, ingestion)


def test_chunks_of_a_compressed_file_are_sent_again_with_their_location(flow: Flow) -> None:
    stored = flow.put(gzip.compress(FILE), "things/a.csv.gz")
    ingestion = flow.split(stored)
    chunks = flow.chunks(ingestion)
    lose_messages(flow)
    pass_time(flow)
    flow.recover()
    assert flow.chunks(ingestion) == chunks * 2
    assert_loaded_once(flow, ingestion)


def test_finish_is_called_again(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for each in flow.chunks(ingestion):
        flow.load(each)
    assert flow.state(ingestion) == "publishing"
    lose_messages(flow)
    pass_time(flow)
    assert flow.recover().resumed == 1
    assert_loaded_once(flow, ingestion)


def test_overdue_events_are_published(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    flow.run_sql("UPDATE sluice.events SET published_at = NULL WHERE sequence > 3")
    flow.topics.sent.clear()
    assert flow.recover().published == 0, "a handler may be about to publish them"
    pass_time(flow, 61)
    assert flow.recover().published == flow.ingestion(ingestion).sequence - 3
    assert next(each["sequence"] for each in flow.events(ingestion)) == 4


def test_an_ingestion_that_makes_progress_is_not_resumed(flow: Flow) -> None:
    flow.split(flow.put(FILE))
    sent = len(flow.topics.sent)
    assert flow.recover() == NOTHING
    assert len(flow.topics.sent) == sent


def test_the_wait_doubles_with_each_resend(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    resumed = []
    for _ in range(8):
        pass_time(flow)
        resumed.append(flow.recover().resumed)
    assert resumed == [1, 1, 0, 1, 0, 0, 0, 1]
    assert_loaded_once(flow, ingestion)


def test_messages_that_could_not_be_sent_are_sent_by_the_next_run(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    lose_messages(flow)
    pass_time(flow)

    def fail(_topic: str) -> None:
        raise PubsubUnavailableError("away")

    flow.topics.before_publish = fail
    with pytest.raises(PubsubUnavailableError):
        flow.recover()
    flow.topics.before_publish = lambda _topic: None
    assert flow.recover().resumed == 1
    assert_loaded_once(flow, ingestion)


def test_a_run_that_dies_is_repeated_by_the_next(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    lose_messages(flow)
    pass_time(flow)
    flow.topics.after_publish = die
    with pytest.raises(Killed):
        flow.recover()
    flow.topics.after_publish = lambda _topic: None
    assert flow.recover().resumed == 1
    assert_loaded_once(flow, ingestion)


def test_rows_of_ingestions_that_failed_or_were_undone_are_deleted(flow: Flow) -> None:
    flow.declare(max_rejects=0)
    kept = flow.run(FILE, "things/kept.csv")
    failed = flow.run(HEADER + lines(100, 120) + b"x,no number,a\n", "things/failed.csv")
    undone = flow.run(HEADER + lines(200, 220), "things/undone.csv")
    flow.undo(undone)
    assert flow.recover() == NOTHING, "they ended a moment ago"
    pass_time(flow)
    recovered = flow.recover()
    assert recovered.collected == 3
    assert recovered.rows_deleted > 2 * 21
    assert flow.stored() == len(ROWS)
    assert flow.rejects(failed)
    assert flow.ids() == ROWS
    assert flow.kinds() == {"a": len(ROWS)}
    assert flow.recover() == NOTHING
    assert flow.state(kept) == "done"


def test_rows_undone_later_are_deleted_too(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    pass_time(flow)
    assert flow.recover().collected == 1
    flow.undo(ingestion)
    pass_time(flow)
    assert flow.recover().rows_deleted == len(ROWS) + 1
    assert flow.stored() == 0


def test_an_ingestion_retried_during_garbage_collection_keeps_its_rows(flow: Flow) -> None:
    ingestion = flow.split(flow.put(gzip.compress(FILE), "things/a.csv.gz"))
    flow.load(flow.chunks(ingestion)[0])
    flow.cancel(ingestion)
    pass_time(flow)
    other = flow.twin()

    def retry() -> None:
        if flow.state(ingestion) == "cancelled":
            other.retry(ingestion)
            other.deliver()

    with flow.before("lock_ended", retry):
        assert flow.recover().collected == 0
    assert flow.ids() == ROWS
    assert any(name.startswith("chunks/") for name in flow.bucket.names())


def test_chunks_of_compressed_files_are_deleted_from_the_outbox_at_the_end(flow: Flow) -> None:
    ingestion = flow.run(gzip.compress(FILE), "things/a.csv.gz")
    assert any(name.startswith("chunks/") for name in flow.bucket.names())
    pass_time(flow)
    assert flow.recover().collected == 1
    assert flow.bucket.names() == {"things/a.csv.gz"}
    assert flow.state(ingestion) == "done"


def test_the_notification_of_an_object_keeps_its_content_encoding(flow: Flow) -> None:
    stored = flow.put(gzip.compress(FILE))
    flow.receive(type(stored)(**{**vars(stored), "content_encoding": "gzip"}))
    pass_time(flow)
    flow.recover()
    (sent,) = flow.topics.of(UPLOADS_TOPIC)
    assert sent.body["contentEncoding"] == "gzip"
    flow.deliver()
    assert flow.ids() == ROWS
    assert flow.topics.of(STATUS_TOPIC)
