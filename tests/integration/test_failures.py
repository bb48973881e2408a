"""Every ingestion ends: each kind of error is raised at each step, temporarily or permanently."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from faults import (
    ERRORS,
    Fault,
    Injector,
    Pubsub,
    age_attempts,
    assert_reason,
    before_named,
    before_sql,
    injected,
    newest_ingestion,
    publishing,
    reading,
)
from flow import HEADER, IDLE_S, Flow, Killed, die, lines

from sluice.errors import (
    ChunkInProgressError,
    PubsubUnavailableError,
    RowsRefusedError,
    StorageUnavailableError,
)
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.postgres.connection import copy_in, transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterator


ROWS = list(range(1, 31))
FILE = HEADER + lines(1, 30)
STEPS: dict[str, Injector] = {
    "split and load read": reading,
    "split stores the layout": before_named("store_layout"),
    "split inserts a chunk": before_named("insert_chunk"),
    "split sends a chunk": publishing(CHUNKS_TOPIC),
    "load claims": before_named("lock_chunk"),
    "load writes the receipt": before_named("insert_receipt"),
    "load counts": before_named("count_chunk"),
    "finish checks the account": before_named("count_receipts"),
    "finish merges a roll-up": before_sql("AS parts\nFROM store."),
    "finish publishes": before_named("touch_freshness"),
}


@pytest.fixture
def pubsub_of(flow: Flow) -> Pubsub:
    return Pubsub(flow)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_an_error_at_any_step_fails_the_ingestion_with_its_reason(
    flow: Flow, pubsub_of: Pubsub, error: Exception
) -> None:
    flow.settings = replace(flow.settings, max_attempts=3)
    pubsub_of.pass_time = lambda: age_attempts(flow)
    for step, inject in STEPS.items():
        fault = Fault(error)
        with injected(flow, inject, fault):
            pubsub_of.upload(FILE, f"things/{step}.csv")
        found = newest_ingestion(flow)
        assert fault.raised, step
        assert str(found.state) == "failed", step
        assert_reason(found.problem, error)
        assert flow.ids() == [], step
        if not isinstance(error, RowsRefusedError):
            assert found.problem["code"] == "CSV121", step
        flow.retry(found.id)
        pubsub_of.deliver()
        assert flow.state(found.id) == "done", step
        assert flow.ids() == ROWS, step
        assert flow.kinds() == {"a": len(ROWS)}, step
        flow.undo(found.id)


@pytest.mark.parametrize(
    "error", [ERRORS["transient"], ERRORS["unknown"]], ids=["transient", "unknown"]
)
def test_an_error_that_stops_in_time_fails_nothing(
    flow: Flow, pubsub_of: Pubsub, error: Exception
) -> None:
    for step, inject in STEPS.items():
        fault = Fault(error)

        def count(fault: Fault = fault) -> None:
            fault.is_active = fault.raised % 6 != 0

        pubsub_of.pass_time = count
        with injected(flow, inject, fault):
            pubsub_of.upload(FILE, f"things/{step}.csv")
        assert fault.raised, step
        assert str(newest_ingestion(flow).state) == "done", step
        assert flow.ids() == ROWS, step
        flow.undo(newest_ingestion(flow).id)


def test_an_outage_of_minutes_fails_nothing_however_often_a_message_is_delivered(
    flow: Flow, pubsub_of: Pubsub
) -> None:
    fault = Fault(ERRORS["transient"])
    flow.bucket.before_read = fault

    def wait() -> None:
        age_attempts(flow, 60)
        fault.is_active = fault.raised < 25

    pubsub_of.pass_time = wait
    pubsub_of.upload(FILE)
    assert fault.raised == 25
    assert str(newest_ingestion(flow).state) == "done"


@pytest.mark.flow(chunk_bytes=1024 * 1024)
@pytest.mark.parametrize("error", [each for name, each in ERRORS.items() if name != "transient"])
def test_a_small_file_ends_too(flow: Flow, pubsub_of: Pubsub, error: Exception) -> None:
    fault = Fault(error)
    before_named("receive_group")(flow, fault)
    before_named("insert_receipt")(flow, fault)
    pubsub_of.pass_time = lambda: age_attempts(flow)
    pubsub_of.upload(FILE)
    assert str(newest_ingestion(flow).state) == "failed"
    assert_reason(newest_ingestion(flow).problem, error)


def test_a_compressed_file_whose_chunks_cannot_be_written_fails(
    flow: Flow, pubsub_of: Pubsub
) -> None:
    write = flow.bucket.write
    fault = Fault(ERRORS["transient"])

    def refuse(bucket: str, name: str, data: bytes) -> None:
        fault()
        write(bucket, name, data)

    flow.bucket.write = refuse  # type: ignore[method-assign]
    pubsub_of.pass_time = lambda: age_attempts(flow)
    pubsub_of.upload(gzip.compress(FILE), "things/a.csv.gz")
    assert "the storm" in newest_ingestion(flow).problem["detail"]


def test_an_ingestion_whose_handlers_are_killed_fails_when_it_was_resent_too_often(
    flow: Flow,
) -> None:
    ingestion = flow.split(flow.put(FILE))
    for _ in range(2 ** (flow.settings.max_resends + 1)):
        flow.run_sql(
            f"UPDATE sluice.ingestions SET updated_at = updated_at - make_interval(secs => {IDLE_S + 1})"
        )
        flow.recover()
    found = flow.ingestion(ingestion)
    assert str(found.state) == "failed"
    assert found.problem["code"] == "CSV121"
    assert "no error was recorded" in found.problem["detail"]
    assert flow.event_names(ingestion)[-1] == "failed"


def deliver_and_kill(flow: Flow, handle: Callable[[int], object], deliveries: range) -> None:
    """Deliver a message several times; its function is killed each time."""
    for delivery in deliveries:
        with pytest.raises(Killed):
            handle(delivery)
        wait_for_locks(flow)


def wait_for_locks(flow: Flow) -> None:
    """Wait until PostgreSQL notices that the sessions of killed functions are closed."""
    held = (
        "SELECT count(*) AS n FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    for _ in range(500):
        if not flow.one(held).n:
            return
        time.sleep(0.01)
    raise AssertionError("a lock is still held")


KILLED = range(1, 7)
#: The delivery that ends what was killed before.
LAST = 7


def test_a_chunk_that_kills_its_loader_each_time_fails_the_ingestion(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    first, poisoned, *_ = flow.chunks(ingestion)
    flow.load(first)
    flow.bucket.before_read = lambda _: die()
    deliver_and_kill(flow, lambda delivery: flow.load(poisoned, delivery), KILLED)
    assert flow.state(ingestion) == "loading"
    flow.load(poisoned, LAST)
    found = flow.ingestion(ingestion)
    assert str(found.state) == "failed"
    assert found.problem["code"] == "CSV121"
    assert "load of chunk 1 stopped 5 times without an answer" in found.problem["detail"]
    assert flow.event_names(ingestion)[-1] == "failed"
    flow.bucket.before_read = lambda _: None
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"


def test_a_split_that_is_killed_each_time_fails_the_ingestion(flow: Flow) -> None:
    stored = flow.put(FILE)
    with flow.before("store_layout", die):
        deliver_and_kill(flow, lambda delivery: flow.split(stored, delivery), range(4, 9))
        flow.split(stored, 9)
    found = newest_ingestion(flow)
    assert str(found.state) == "failed"
    assert "split stopped 5 times without an answer" in found.problem["detail"]


def test_a_split_that_makes_progress_may_be_killed_often(flow: Flow) -> None:
    stored = flow.put(FILE)
    with flow.before("store_layout", die):
        for delivery in range(4, 24):
            deliver_and_kill(
                flow, lambda each: flow.split(stored, each), range(delivery, delivery + 1)
            )
            # The next attempt finds a chunk more than this one.
            flow.run_sql("UPDATE sluice.failed_attempts SET progress = progress - 1")
    flow.split(stored, 24)
    flow.deliver()
    assert str(newest_ingestion(flow).state) == "done"


def test_a_finish_that_is_killed_each_time_fails_the_ingestion(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for each in flow.chunks(ingestion):
        flow.load(each)
    with flow.before("touch_freshness", die):
        deliver_and_kill(flow, lambda delivery: flow.finish(ingestion, delivery), KILLED)
        flow.finish(ingestion, LAST)
    assert flow.state(ingestion) == "failed"
    assert "finish stopped 5 times" in flow.ingestion(ingestion).problem["detail"]


def test_deliveries_that_find_another_handler_at_work_are_not_counted(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    chunk = flow.chunks(ingestion)[0]
    with flow.engine.begin() as connection:
        key = {"ingestion": ingestion, "chunk": chunk.number}
        assert connection.scalar(statement("lock_chunk"), key)
        for delivery in range(2, 20):
            with pytest.raises(ChunkInProgressError):
                flow.load(chunk, delivery)
    flow.load(chunk, 20)
    flow.deliver()
    assert flow.state(ingestion) == "done"


def test_deliveries_that_end_with_an_error_are_not_counted_as_killed(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    chunk = flow.chunks(ingestion)[0]
    flow.bucket.before_read = Fault(ERRORS["transient"])
    for delivery in range(2, 20):
        with pytest.raises(StorageUnavailableError):
            flow.load(chunk, delivery)
    assert flow.state(ingestion) == "loading"


def test_late_deliveries_of_an_ended_ingestion_are_not_counted(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    flow.deliver()
    flow.load(flow.chunks(ingestion)[0], 3)
    flow.finish(ingestion, 3)
    assert flow.all("SELECT * FROM sluice.failed_attempts") == []


def test_recovery_names_the_last_error_that_was_recorded(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    flow.bucket.before_read = Fault(ERRORS["transient"])
    with pytest.raises(StorageUnavailableError):
        flow.load(flow.chunks(ingestion)[1])
    flow.run_sql(
        "UPDATE sluice.ingestions SET resends = 5, updated_at = updated_at - interval '3 days'"
    )
    flow.recover()
    problem = flow.ingestion(ingestion).problem
    assert "load of chunk 1 failed: the storm took the storage" in problem["detail"]
    assert problem["cause"] == "SYS904"


def test_recovery_continues_with_others_after_one_that_cannot_be_resumed(flow: Flow) -> None:
    broken = flow.split(flow.put(FILE, "things/broken.csv"))
    for each in flow.chunks(broken):
        flow.load(each)
    flow.run_sql("DELETE FROM sluice.events WHERE ingestion = :id", id=broken)
    other = flow.split(flow.put(HEADER + lines(40, 50), "things/other.csv"))
    flow._delivered = len(flow.topics.sent)
    stall = "UPDATE sluice.ingestions SET updated_at = updated_at - interval '1 day'"
    flow.run_sql(stall)
    flow.recover()
    flow.deliver()
    assert flow.state(other) == "done"
    for _ in range(flow.settings.max_attempts):
        flow.run_sql(stall)
        flow.recover()
    assert flow.state(broken) == "failed"
    assert "recovery failed 10 times" in flow.ingestion(broken).problem["detail"]


def test_progress_resets_the_number_of_resends(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    flow.run_sql("UPDATE sluice.ingestions SET resends = 4")
    flow.load(flow.chunks(ingestion)[0])
    assert flow.ingestion(ingestion).resends == 0


def test_an_event_that_pubsub_does_not_take_fails_no_ingestion(
    flow: Flow, pubsub_of: Pubsub
) -> None:
    fault = Fault(PubsubUnavailableError("away"))
    publishing(STATUS_TOPIC)(flow, fault)

    def count() -> None:
        age_attempts(flow)
        fault.is_active = fault.raised % 15 != 0

    pubsub_of.pass_time = count
    pubsub_of.upload(FILE)
    assert str(newest_ingestion(flow).state) == "done"


@pytest.mark.parametrize("has_header", [True, False], ids=["header", "no header"])
def test_a_file_in_utf_16_ends(flow: Flow, pubsub_of: Pubsub, has_header: bool) -> None:
    flow.declare(header=has_header, delimiter="\t")
    text = FILE.decode().replace(",", "\t") if has_header else "1\tone\ta\n"
    for number, encoding in enumerate(("utf-16", "utf-16-le", "utf-16-be", "utf-32"), 100):
        own = f"{text}{number}\tone\ta\n"  # the same content would be skipped
        pubsub_of.upload(own.encode(encoding), f"things/{encoding}.csv")
        assert str(newest_ingestion(flow).state) in {"failed", "done"}, encoding


BYTES = {
    "NUL in a name": b"id,na\0me,kind\n1,a,b\n",
    "NUL as a name": b"id,name,kind,\0\n1,a,b,c\n",
    "NUL in cells": b"id,name,kind\n1,a\0b,c\n\0\n2,\x01\x1f\x7f,c\n",
    "NULs": b"\0" * 1000,
    "all bytes": bytes(range(256)) * 20,
    "a long name": b"id,name,kind," + b"x" * 200_000 + b"\n1,a,b,c\n",
    "gzip": b"\x1f\x8b\x08" + bytes(range(200)),
    "zip": b"PK\x03\x04" + bytes(range(256)) * 4,
}


def test_a_file_of_any_bytes_ends(flow: Flow, pubsub_of: Pubsub) -> None:
    for what, data in BYTES.items():
        pubsub_of.upload(data, f"things/{what}.csv")
        assert str(newest_ingestion(flow).state) in {"failed", "done"}, what
        assert not flow.all("SELECT step FROM sluice.failed_attempts"), what


@pytest.mark.flow(chunk_bytes=32 * 1024 * 1024)
def test_the_reason_of_a_header_of_megabytes_fits_into_an_event(
    flow: Flow, pubsub_of: Pubsub
) -> None:
    pubsub_of.upload(b"id;" + b"x" * 2_000_000 + b";" + b"y\0" * 1_000_000 + b"\n1;2;3\n")
    found = newest_ingestion(flow)
    assert str(found.state) == "failed"
    assert all(len(each.data) < 100_000 for each in flow.topics.sent)


def writing_output(flow: Flow, fault: Fault) -> Callable[[], object]:
    """Raise a fault whenever an output is written."""
    flow.bucket.before_write = fault
    return lambda: setattr(flow.bucket, "before_write", lambda _name: None)


@dataclass(frozen=True)
class Kind:
    """A kind of dataset, and the steps that only its files have."""

    declared: dict[str, Any]
    steps: dict[str, Injector]


KINDS = {
    "with a key": Kind(
        {"rollups": {}, "key": ["id"]},
        {
            "load writes the receipt": before_named("insert_receipt"),
            "finish merges": before_sql("things__staging"),
            "finish adjusts the account": before_named("adjust_account"),
        },
    ),
    "with an output": Kind(
        {
            "output": "report",
            "queries": {
                "report": "-- The rows of a file.\n-- param ingestion integer!: The file.\n"
                "SELECT id FROM things WHERE ingestion = :ingestion"
            },
        },
        {
            "finish locks the output": before_named("lock_output"),
            "finish writes the output": writing_output,
        },
    ),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=list(ERRORS))
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_an_error_at_a_step_of_another_kind_of_dataset_fails_the_ingestion(
    flow: Flow, pubsub_of: Pubsub, kind: Kind, error: Exception
) -> None:
    flow.declare(**kind.declared)
    pubsub_of.pass_time = lambda: age_attempts(flow)
    for step, inject in kind.steps.items():
        fault = Fault(error)
        with injected(flow, inject, fault):
            pubsub_of.upload(FILE, f"things/{step}.csv")
        found = newest_ingestion(flow)
        assert fault.raised, step
        assert str(found.state) == "failed", step
        assert_reason(found.problem, error)
        flow.retry(found.id)
        pubsub_of.deliver()
        assert flow.state(found.id) == "done", step
        assert flow.ids() == ROWS, step
        flow.undo(found.id)


def test_a_text_too_long_for_an_index_is_refused_by_name(flow: Flow, pubsub_of: Pubsub) -> None:
    flow.run_sql("CREATE UNIQUE INDEX things_name ON store.things (name)")
    flow.declare(
        columns=[{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}], rollups={}
    )
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    pubsub_of.upload(b"id,name\n1," + text.encode() + b"\n")
    assert newest_ingestion(flow).problem["code"] == "CSV111"


def test_an_error_while_rows_are_encoded_is_raised_and_the_connection_stays_usable(
    flow: Flow,
) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"1,one\n"
        raise OverflowError("no date is so far away")

    with transaction(flow.engine) as connection:
        copy = "COPY store.things (id, name) FROM STDIN (FORMAT csv)"
        with pytest.raises(OverflowError, match="so far away"), connection.begin_nested():
            copy_in(connection, copy, blocks())
        assert connection.exec_driver_sql("SELECT count(*) FROM store.things").scalar() == 0
