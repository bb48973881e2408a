"""Large files are published in steps that commit: killed, shared and repeated steps merge each group once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from faults import Fault, before_named, injected
from flow import Flow, Killed, die, kill_after
from sqlalchemy import text

from sluice.errors import (
    DatabaseUnavailableError,
    PublicationUnfinishedError,
    RowsRefusedError,
)
from sluice.postgres.connection import run_script, transaction
from sluice.postgres.named_sql import sql_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

SALES: Mapping[str, Any] = {
    "name": "sales",
    "description": "Sales.",
    "columns": [
        {"name": "item", "type": "text"},
        {"name": "sold_on", "type": "date"},
        {"name": "cents", "type": "integer", "required": True},
    ],
    "rollups": {
        "days": "-- Sales of each item on each day.\n-- key: item, sold_on\n-- measure sales: sum\n"
        "-- measure earned: sum\n-- measure cheapest: min\n-- measure dearest: max\n"
        "SELECT item, sold_on, count(*) AS sales, sum(cents) AS earned, min(cents) AS cheapest,"
        " max(cents) AS dearest FROM rows GROUP BY ALL",
        "years": "-- Sales of each year.\n-- key: year\n-- measure sales: sum\n"
        "SELECT year(sold_on) AS year, count(*) AS sales FROM rows GROUP BY ALL",
    },
}
HEADER = b"item,sold_on,cents\n"
STEP_ROWS = 200
KILLS = 10

pytestmark = pytest.mark.flow(declared=SALES, chunk_bytes=16 * 1024, publish_step_rows=STEP_ROWS)


def sales(items: int, rows: int) -> bytes:
    """Return rows of items in any order; some have no item or no day."""
    draw = random.Random("sales")
    lines = [
        f"{draw.choice(['', f'item {draw.randrange(items)}'])},"
        f"{draw.choice(['', '2026-01-01', '2026-01-02'])},{draw.randrange(10_000)}\n"
        if number % 10 == 0
        else f"item {draw.randrange(items)},2026-02-{draw.randrange(28) + 1:02},150\n"
        for number in range(rows)
    ]
    return HEADER + "".join(lines).encode()


def loaded(flow: Flow, data: bytes = b"", name: str = "sales/a.csv") -> int:
    """Load the chunks of a file; it remains to be published."""
    ingestion = flow.split(flow.put(data or sales(1000, 5000), name))
    for each in flow.chunks(ingestion):
        flow.load(each)
    return ingestion


#: The columns of each roll-up, and what they are of the rows of its keys.
EXPECTED = {
    "days": (
        "item, sold_on",
        "sales, earned, cheapest, dearest",
        "count(*), sum(cents), min(cents), max(cents)",
    ),
    "years": ("year", "sales", "count(*)"),
}


def assert_merged(flow: Flow, ingestion: int) -> None:
    """The roll-ups have one row for each group of the ingestion, as its rows say."""
    assert flow.state(ingestion) == "done"
    assert flow.steps() == (0, 0)
    for rollup, (keys, measures, of_rows) in EXPECTED.items():
        rows = "SELECT *, CAST(extract(year FROM sold_on) AS bigint) AS year FROM sales"
        expected = f"SELECT CAST(ROW({keys}, {of_rows}) AS text) FROM ({rows}) AS sales"
        found = f"SELECT CAST(ROW({keys}, {measures}) AS text) FROM sales_{rollup}"
        merged = flow.all(f"{found} WHERE ingestion = :id ORDER BY 1", id=ingestion)
        assert merged
        assert merged == flow.all(
            f"{expected} WHERE ingestion = :id GROUP BY {keys} ORDER BY 1", id=ingestion
        )


def test_a_large_file_is_merged_although_its_handler_is_killed_ten_times(flow: Flow) -> None:
    ingestion = loaded(flow)
    for delivery in range(1, KILLS + 1):
        with flow.before("complete_publish_step", kill_after(1)), pytest.raises(Killed):
            flow.finish(ingestion, delivery)
        planned, done = flow.steps()
        assert delivery == done < planned
        assert flow.all("SELECT * FROM sales_days") == []
    flow.finish(ingestion, KILLS + 1)
    assert_merged(flow, ingestion)


def test_steps_that_are_done_are_not_repeated(flow: Flow) -> None:
    ingestion = loaded(flow)
    with flow.before("publish", die), pytest.raises(Killed):
        flow.finish(ingestion)
    planned, done = flow.steps()
    assert planned == done > KILLS
    with flow.before("complete_publish_step", die):
        flow.finish(ingestion, 2)
    assert_merged(flow, ingestion)


def test_handlers_share_the_steps(flow: Flow) -> None:
    ingestion = loaded(flow)
    handlers = [flow, *(flow.twin(publish_step_rows=STEP_ROWS) for _ in range(2))]

    def finish(each: Flow) -> None:
        with suppress(PublicationUnfinishedError):
            each.finish(ingestion)

    with ThreadPoolExecutor() as threads:
        list(threads.map(finish, handlers))
    flow.finish(ingestion)
    assert_merged(flow, ingestion)


def test_a_handler_that_finds_the_last_step_taken_is_delivered_again(flow: Flow) -> None:
    ingestion = loaded(flow)
    with flow.before("publish", die), pytest.raises(Killed):
        flow.finish(ingestion)
    flow.run_sql("UPDATE sluice.publish_steps SET done_at = NULL WHERE number = 3")
    with flow.engine.begin() as other:
        other.execute(text("SELECT FROM sluice.publish_steps WHERE number = 3 FOR UPDATE"))
        for delivery in range(2, 20):
            with pytest.raises(PublicationUnfinishedError, match="1 steps"):
                flow.finish(ingestion, delivery)
    flow.finish(ingestion, 20)
    assert_merged(flow, ingestion)


def test_steps_count_as_progress(flow: Flow) -> None:
    ingestion = loaded(flow)
    flow.run_sql("UPDATE sluice.ingestions SET resends = 4, updated_at = now() - interval '1 day'")
    with flow.before("publish", die), pytest.raises(Killed):
        flow.finish(ingestion)
    assert flow.recover().resumed == 0
    assert flow.ingestion(ingestion).resends == 0


def test_a_file_that_failed_at_a_step_is_merged_when_it_is_retried(flow: Flow) -> None:
    ingestion = loaded(flow)
    fault = Fault(RowsRefusedError("refused"))
    with injected(flow, before_named("complete_publish_step"), fault):
        flow.finish(ingestion)
    assert flow.state(ingestion) == "failed"
    assert flow.all("SELECT * FROM sales_days") == []
    flow.retry(ingestion)
    assert flow.steps() == (0, 0)
    flow.deliver()
    assert_merged(flow, ingestion)


def test_a_retry_waits_for_the_steps_that_other_handlers_work_on(flow: Flow) -> None:
    ingestion = loaded(flow)
    fault = Fault(RowsRefusedError("refused"))
    with injected(flow, before_named("complete_publish_step"), fault):
        flow.finish(ingestion)
    with ThreadPoolExecutor() as threads, flow.engine.begin() as other:
        other.execute(text("SELECT FROM sluice.publish_steps WHERE number = 1 FOR UPDATE"))
        retry = threads.submit(flow.retry, ingestion)
        flow.wait_until_blocked()
        other.execute(
            text("UPDATE sluice.ingestions SET updated_at = now() WHERE id = :id"),
            {"id": ingestion},
        )
        other.commit()
        retry.result()
    flow.deliver()
    assert_merged(flow, ingestion)


def test_an_error_at_a_step_is_delivered_again(flow: Flow) -> None:
    ingestion = loaded(flow)
    fault = Fault(DatabaseUnavailableError("away"))
    with (
        injected(flow, before_named("complete_publish_step"), fault),
        pytest.raises(DatabaseUnavailableError),
    ):
        flow.finish(ingestion)
    flow.finish(ingestion, 2)
    assert_merged(flow, ingestion)


def test_two_files_and_an_undo_leave_each_group_once(flow: Flow) -> None:
    first = flow.run(sales(300, 3000), "sales/a.csv")
    second = flow.run(sales(400, 3000), "sales/b.csv")
    for each in (first, second):
        assert_merged(flow, each)
    flow.undo(first)
    assert flow.all("SELECT * FROM sales_days WHERE ingestion = :id", id=first) == []
    flow.redo(first)
    assert_merged(flow, first)


def test_a_file_whose_roll_ups_were_declared_anew_fails_before_its_steps(flow: Flow) -> None:
    ingestion = loaded(flow)
    flow.declare(SALES, rollups={"days": SALES["rollups"]["days"]})
    flow.finish(ingestion)
    assert flow.ingestion(ingestion).problem["code"] == "CSV122"
    assert flow.steps() == (0, 0)
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"


def test_fixed_rejects_join_the_groups_of_their_file(flow: Flow) -> None:
    data = sales(1000, 3000)
    broken = b"item 1,2026-02-01,x\nitem 2,2026-02-02,x\n,,x\nanother,2027-01-01,x\n"
    ingestion = flow.run(data + broken, "sales/a.csv")
    assert flow.ingestion(ingestion).rows_rejected == 4
    fixed = flow.run(HEADER + broken.replace(b"x", b"7"), f"sales/_fixes/{ingestion}/fixed.csv")
    assert flow.state(fixed) == "done"
    assert flow.ingestion(ingestion).rows_loaded == 3004
    assert_merged(flow, ingestion)


def test_a_small_file_has_no_steps(flow: Flow) -> None:
    with flow.before("insert_publish_steps", die):
        ingestion = flow.run(HEADER + b"a,2026-01-01,1\n" * 5000, "sales/a.csv")
    assert_merged(flow, ingestion)


def test_the_end_of_a_publication_is_its_time(flow: Flow) -> None:
    ingestion = loaded(flow)
    times: list[Any] = []
    with flow.before(
        "publish", lambda: times.append(flow.one("SELECT clock_timestamp() AS at").at)
    ):
        flow.finish(ingestion)
    assert flow.ingestion(ingestion).finished_at > times[0]


def test_a_database_of_an_earlier_version_gets_the_index_of_the_steps(flow: Flow) -> None:
    definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'sales__days_ingestion'"
    wanted = flow.one(definition).indexdef
    flow.run_sql("DROP INDEX store.sales__days_ingestion")
    flow.run_sql("CREATE INDEX sales__days_ingestion ON store.sales__days (ingestion)")
    migration = (sql_folder() / "migrations" / "0018_publish_steps.sql").read_text("utf-8")
    with transaction(flow.engine) as connection:
        run_script(connection, "DO" + migration.partition("\nDO")[2])
    assert flow.one(definition).indexdef == wanted
