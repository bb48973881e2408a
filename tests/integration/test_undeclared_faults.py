"""Files of datasets that nobody declared end, whatever fails while they are observed, decided and widened."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from faults import (
    ERRORS,
    Fault,
    Injector,
    Pubsub,
    SqlFault,
    age_attempts,
    before_named,
    before_sql,
    injected,
    newest_ingestion,
    reading,
)
from flow import Flow, Killed, assert_events_in_order, die

from sluice.documents.ingestions import State
from sluice.errors import IllegalTransitionError, TransientError
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.decide import decide_types

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.flow(declared=None)

FILE = b"id,size\n" + b"".join(b"%d,%d\n" % (n, n) for n in range(1, 21))
#: Widens `size`, and adds a column.
WIDER = b"id,size,note\n" + b"".join(b"%d,%d.5,note %d\n" % (n, n, n) for n in range(101, 121))
#: As few attempts as there may be.
MAX_ATTEMPTS = 2


def types(flow: Flow, dataset: str = "box") -> dict[str, str]:
    found = flow.one(
        "SELECT declaration FROM sluice.datasets WHERE name = :name", name=dataset
    ).declaration
    return {each["name"]: each["type"] for each in found["columns"]}


def sending_decided_chunks(flow: Flow, fault: Fault) -> Callable[[], object]:
    """Raise a fault whenever chunks are sent of a file whose types are decided."""
    decided = "SELECT 1 FROM sluice.ingestions WHERE layout ? 'order'"

    def look(topic: str) -> None:
        if topic == CHUNKS_TOPIC and flow.all(decided):
            fault()

    flow.topics.before_publish = look
    return lambda: setattr(flow.topics, "before_publish", lambda _topic: None)


OBSERVING: dict[str, Injector] = {
    "split and load read": reading,
    "split stores the layout": before_named("store_layout"),
    "load inserts observations": before_named("insert_observations"),
    "load counts": before_named("count_observed"),
    "finish reads observations": before_named("select_observations"),
    "finish locks the dataset": before_named("lock_dataset"),
    "finish has made the table": before_named("columns_of_store_table"),
    "finish stores the declaration": before_named("upsert_declaration"),
    "finish stores the decision": before_named("store_decision"),
    "finish sends the chunks": sending_decided_chunks,
}
WIDENING: dict[str, Injector] = {
    "finish waits for loaders": before_named("lock_columns"),
    "finish widens a column": before_sql("ALTER COLUMN"),
    "finish adds a column": before_sql("ADD COLUMN"),
    "finish moves other files": before_named("follow_declaration"),
}


BY_SQL = {
    "a lost connection": "SELECT pg_terminate_backend(pg_backend_pid())",
    "an SQL error": "SELECT 1 / 0",
    "a lack of disk": "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$",
}
BY_PYTHON = {**ERRORS, "a lack of memory": MemoryError("the storm took the memory")}
#: Faults at each step; together the steps have each kind several times.
_FAULTS = 2
#: As for the properties: `SLUICE_EXAMPLES` asks for a thorough run.
_IS_THOROUGH = "SLUICE_EXAMPLES" in os.environ
#: What the reason of a failure contains.
REASONS = (
    "storm",
    "unexpected error",
    "terminat",
    "network error",
    "connection",
    "division by zero",
    "no space left",
)


def faults_of(step: str) -> dict[str, Fault]:
    """Return faults that can be raised at a step: some, or in a thorough run one of each kind."""
    found = _every_fault(step)
    names = sorted(found)
    first = sorted((*OBSERVING, *WIDENING)).index(step) * _FAULTS
    chosen = names if _IS_THOROUGH else [names[(first + n) % len(names)] for n in range(_FAULTS)]
    return {name: found[name] for name in chosen}


def _every_fault(step: str) -> dict[str, Fault]:
    found = {name: Fault(error) for name, error in BY_PYTHON.items()}
    if step in SENT:
        return found
    by_sql = {name: SqlFault(ERRORS["unknown"], sql=sql) for name, sql in BY_SQL.items()}
    return {**found, **by_sql}


#: Steps outside of a transaction.
SENT = ("split and load read", "finish sends the chunks")


@pytest.fixture
def pubsub_of(flow: Flow) -> Pubsub:
    flow.settings = replace(flow.settings, max_attempts=MAX_ATTEMPTS)
    made = Pubsub(flow)
    made.pass_time = lambda: age_attempts(flow)
    return made


def assert_ends(flow: Flow, pubsub: Pubsub, step: str, what: str, fault: Fault) -> None:
    """An ingestion that failed has its reason and no visible row; tried again, it is done and complete."""
    found, words = newest_ingestion(flow), f"{step}: {what}"
    assert fault.raised, words
    assert str(found.state) == State.FAILED, words
    assert any(each in found.problem["detail"] for each in REASONS), found.problem["detail"]
    fault.is_active = False
    flow.retry(found.id)
    pubsub.deliver()
    assert flow.state(found.id) == State.DONE, words
    assert flow.account(found.id) == (20, 20, 0), words
    assert_events_in_order(flow, found.id)


@pytest.mark.parametrize("step", OBSERVING)
def test_a_fault_while_types_are_observed_and_decided_ends_the_file(
    flow: Flow, pubsub_of: Pubsub, step: str
) -> None:
    for number, (what, fault) in enumerate(faults_of(step).items()):
        with injected(flow, OBSERVING[step], fault):
            pubsub_of.upload(FILE, f"box_{number}/a.csv")
            assert_ends(flow, pubsub_of, step, what, fault)
        assert types(flow, f"box_{number}") == {"id": "integer", "size": "integer"}
        assert flow.one(f"SELECT count(*) AS n FROM box_{number}").n == 20


@pytest.mark.parametrize("step", WIDENING)
def test_a_fault_while_a_dataset_is_widened_ends_the_file_and_keeps_the_rows(
    flow: Flow, pubsub_of: Pubsub, step: str
) -> None:
    for number, (what, fault) in enumerate(faults_of(step).items()):
        box = f"box_{number}"
        pubsub_of.upload(FILE, f"{box}/a.csv")
        with injected(flow, WIDENING[step], fault):
            pubsub_of.upload(WIDER, f"{box}/b.csv")
            assert types(flow, box) == {"id": "integer", "size": "integer"}
            assert flow.one(f"SELECT count(*) AS n, sum(size) AS s FROM {box}")[:] == (20, 210)
            assert_ends(flow, pubsub_of, step, what, fault)
        assert types(flow, box) == {"id": "integer", "size": "numeric", "note": "text"}
        total = flow.one(f"SELECT count(*) AS n, sum(size) AS s, count(note) AS m FROM {box}")
        assert total[:] == (40, 2430, 20)


def test_faults_that_stop_in_time_fail_no_undeclared_file(flow: Flow, pubsub_of: Pubsub) -> None:
    lost = BY_SQL["a lost connection"]
    for number, (step, inject) in enumerate(OBSERVING.items()):
        fault = (
            Fault(ERRORS["transient"]) if step in SENT else SqlFault(ERRORS["unknown"], sql=lost)
        )

        def stop(fault: Fault = fault) -> None:
            fault.is_active = fault.raised % MAX_ATTEMPTS != MAX_ATTEMPTS - 1

        pubsub_of.pass_time = stop
        with injected(flow, inject, fault):
            pubsub_of.upload(FILE, f"box_{number}/a.csv")
        found = newest_ingestion(flow)
        assert fault.raised, step
        assert str(found.state) == State.DONE, step
        assert flow.account(found.id) == (20, 20, 0), step


def pending(flow: Flow, ingestion: int) -> list[Any]:
    """Return the messages of the chunks of an ingestion."""
    return [each for each in flow.topics.of(CHUNKS_TOPIC) if each.body["ingestion"] == ingestion]


def observe(flow: Flow, ingestion: int, count: int | None = None) -> None:
    """Deliver the first messages of a file that is observed, and nothing that follows from them."""
    for each in pending(flow, ingestion)[:count]:
        flow.handle(each)


@pytest.mark.parametrize("seed", range(2))
def test_messages_of_observing_and_loading_may_be_repeated_late_and_reordered(
    flow: Flow, seed: int
) -> None:
    chance = random.Random(seed)
    first = flow.split(flow.put(FILE, "box/a.csv"))
    second = flow.split(flow.put(WIDER, "box/b.csv"))
    done, undelivered = 0, []
    while done < len(flow.topics.sent) or undelivered:
        undelivered += flow.topics.sent[done:] * 2
        done = len(flow.topics.sent)
        chance.shuffle(undelivered)
        flow.handle(undelivered.pop())
    for each in flow.topics.sent[:done]:
        flow.handle(each)
    for ingestion in (first, second):
        assert flow.state(ingestion) == State.DONE
        assert flow.account(ingestion) == (20, 20, 0)
        assert_events_in_order(flow, ingestion)
    assert types(flow)["size"] == "numeric"
    assert flow.one("SELECT count(*) AS n, sum(size) AS s FROM box")[:] == (40, 2430)


#: Files of one new folder, with the same columns and values that widen each other.
SIZES = ("{n}", "{n}.5", "{n}000000000", "size {n}")


@pytest.mark.parametrize("sizes", [SIZES[:2], SIZES], ids=str)
def test_files_of_a_new_folder_that_are_handled_at_the_same_moment_become_one_dataset(
    flow: Flow, sizes: tuple[str, ...]
) -> None:
    files = [
        "id,size\n" + "".join(f"{n},{size.format(n=n)}\n" for n in range(20)) for size in sizes
    ]
    ingestions = [
        flow.split(flow.put(data.encode(), f"box/{number}.csv"))
        for number, data in enumerate(files)
    ]
    for each in ingestions:
        observe(flow, each)
    twins = [flow.twin() for _ in ingestions]
    barrier = threading.Barrier(len(ingestions))

    def decide(twin: Flow, ingestion: int) -> None:
        barrier.wait()
        for _ in range(10):
            with suppress(TransientError):  # delivered again
                decide_types(twin.env("finish"), ingestion)
                return

    with ThreadPoolExecutor(len(ingestions)) as threads:
        list(threads.map(decide, twins, ingestions))
    flow.deliver()
    assert [flow.state(each) for each in ingestions] == [State.DONE] * len(sizes)
    stored = flow.all("SELECT size FROM box ORDER BY id, size::text")
    written = [size.format(n=n) for n in range(20) for size in sizes]
    assert sorted(str(each.size) for each in stored) == sorted(written)


DECLARED = {
    "name": "box",
    "columns": [{"name": "id", "type": "integer"}, {"name": "size", "type": "integer"}],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, (20, 20, 0), id="the same types"),
        pytest.param({"unfitting": "widen"}, (20, 20, 0), id="widens"),
        pytest.param(
            {
                "columns": [
                    {"name": "id", "type": "integer", "required": True},
                    {"name": "size", "type": "integer"},
                ],
                "key": ["id"],
            },
            (20, 20, 0),
            id="a key",
        ),
        pytest.param({"delimiter": ";", "header": False}, (20, 20, 0), id="another dialect"),
        pytest.param(
            {
                "columns": [
                    {"name": "id", "type": "integer"},
                    {"name": "size", "type": "integer", "maximum": 10},
                ]
            },
            (20, 10, 10),
            id="a rule",
        ),
    ],
)
def test_a_declaration_in_the_middle_of_observing_judges_the_file(
    flow: Flow, changes: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    ingestion = flow.split(flow.put(FILE, "box/a.csv"))
    observe(flow, ingestion, None if changes else 1)
    flow.declare(DECLARED, **changes)
    flow.deliver()
    assert flow.state(ingestion) == State.DONE
    assert flow.account(ingestion) == expected
    assert flow.ingestion(ingestion).declaration_version == 1
    assert types(flow) == {"id": "integer", "size": "integer"}
    assert_events_in_order(flow, ingestion)


@pytest.mark.parametrize("new_columns", ["reject", "add"])
def test_a_declaration_of_other_columns_fails_a_file_that_is_observed(
    flow: Flow, new_columns: str
) -> None:
    ingestion = flow.split(flow.put(FILE, "box/a.csv"))
    observe(flow, ingestion, 1)
    columns = [{"name": "city", "type": "text"}]
    flow.declare(DECLARED, columns=columns, new_columns=new_columns)
    flow.deliver()
    assert flow.state(ingestion) == State.FAILED
    assert flow.ingestion(ingestion).problem["code"] == "CSV104"
    assert types(flow) == {"city": "text"}


def test_a_declaration_follows_the_split_of_which_only_the_beginning_knew_none(flow: Flow) -> None:
    stored = flow.put(FILE, "box/a.csv")
    with flow.before("store_layout", die), pytest.raises(Killed):
        flow.split(stored)
    flow.declare(DECLARED)
    ingestion = flow.split(stored, 2)
    flow.handle(pending(flow, ingestion)[0])
    flow.declare(DECLARED, columns=[*DECLARED["columns"], {"name": "note", "type": "text"}])
    flow.deliver()
    assert flow.state(ingestion) == State.DONE
    assert flow.account(ingestion) == (20, 20, 0)
    assert flow.ingestion(ingestion).declaration_version == 1


@pytest.mark.parametrize("observed", [0, 1, None], ids=["nothing", "a chunk", "everything"])
def test_a_file_that_is_cancelled_while_it_is_observed_can_be_retried(
    flow: Flow, observed: int | None
) -> None:
    ingestion = flow.split(flow.put(FILE, "box/a.csv"))
    observe(flow, ingestion, observed)
    flow.cancel(ingestion)
    with pytest.raises(IllegalTransitionError):
        flow.undo(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == State.CANCELLED
    assert not flow.all("SELECT 1 FROM sluice.datasets WHERE name = 'box'")
    flow.retry(ingestion)
    with pytest.raises(IllegalTransitionError):
        flow.undo(ingestion)
    flow.deliver()
    assert flow.account(ingestion) == (20, 20, 0)
    flow.undo(ingestion)
    assert flow.all("SELECT * FROM box") == []


def test_a_file_of_another_shape_does_not_disturb_one_that_is_observed(flow: Flow) -> None:
    first = flow.split(flow.put(FILE, "box/a.csv"))
    observe(flow, first, 1)
    other = b"city;country\n" + b"".join(b"City %d;Italy\n" % n for n in range(20))
    second = flow.split(flow.put(other, "box/b.csv"))
    flow.deliver()
    states = {flow.state(first), flow.state(second)}
    assert states == {State.DONE, State.FAILED}
    (failed,) = (each for each in (first, second) if flow.state(each) == State.FAILED)
    assert flow.ingestion(failed).problem["code"] == "CSV104"
    assert flow.one("SELECT count(*) AS n FROM box").n == 20


def test_a_second_shape_of_a_dataset_that_is_widened_meanwhile_is_loaded(flow: Flow) -> None:
    flow.run(FILE, "box/a.csv")
    slow = flow.split(flow.put(b"size,id\n" + b"7,300\n" * 20, "box/slow.csv"))
    observe(flow, slow, 1)
    flow.run(WIDER, "box/b.csv")
    flow.deliver()
    assert flow.state(slow) == State.DONE
    assert flow.one("SELECT count(*) AS n, sum(size) AS s FROM box WHERE id = 300")[:] == (20, 140)
