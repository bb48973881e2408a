"""A retry continues a failed file where it ended, or starts again where that could be wrong."""

from __future__ import annotations

import gzip

import pytest
from flow import HEADER, Flow, assert_events_in_order, lines

from sluice.errors import RowsRefusedError
from sluice.ingestion.failures import Step, attempt

FILE = HEADER + b"x,bad,a\n" + lines(1, 30)
ALONE = 4

pytestmark = pytest.mark.flow(chunk_bytes=64)


def failed(flow: Flow, data: bytes = FILE, name: str = "things/a.csv") -> int:
    """A file that failed when half of its chunks were loaded."""
    ingestion = flow.split(flow.put(data, name), ALONE)
    chunks = flow.chunks(ingestion)
    for chunk in chunks[: len(chunks) // 2]:
        flow.load(chunk)

    def refuse() -> None:
        raise RowsRefusedError("a storm")

    attempt(flow.env("load"), Step(ingestion, "load of chunk 9"), refuse)
    assert flow.state(ingestion) == "failed"
    flow.topics.sent.clear()
    flow._delivered = 0
    return ingestion


def loaded_again(flow: Flow, ingestion: int) -> int:
    """How many chunks a retry sends; the file is done afterwards."""
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.ids() == list(range(1, 31))
    assert flow.account(ingestion) == (31, 30, 1)
    assert len(flow.rejects(ingestion)) == 1
    return len(flow.chunks(ingestion))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_failed_file_resumes_from_the_missing_chunks(flow: Flow, is_compressed: bool) -> None:
    data = gzip.compress(FILE) if is_compressed else FILE
    ingestion = failed(flow, data, "things/a.csv.gz" if is_compressed else "things/a.csv")
    receipts = flow.all("SELECT chunk, loaded_at FROM sluice.receipts ORDER BY chunk")
    assert loaded_again(flow, ingestion) == flow.ingestion(ingestion).chunks_total - len(receipts)
    kept = flow.all("SELECT chunk, loaded_at FROM sluice.receipts ORDER BY chunk")
    assert kept[: len(receipts)] == receipts
    assert flow.kinds() == {"a": 30}
    assert flow.ingestion(ingestion).problem is None


def test_another_declaration_starts_again(flow: Flow) -> None:
    ingestion = failed(flow)
    flow.declare(description="Other things.")
    assert loaded_again(flow, ingestion) == flow.ingestion(ingestion).chunks_total


def test_rows_that_garbage_collection_deleted_are_loaded_again(flow: Flow) -> None:
    ingestion = failed(flow)
    flow.run_sql("UPDATE sluice.ingestions SET finished_at = finished_at - interval '1 day'")
    flow.recover()
    assert flow.stored() == 0
    assert loaded_again(flow, ingestion) == flow.ingestion(ingestion).chunks_total


def test_a_dataset_with_a_key_starts_again(flow: Flow) -> None:
    flow.declare(key=["id"], rollups={})
    ingestion = failed(flow)
    assert loaded_again(flow, ingestion) == flow.ingestion(ingestion).chunks_total


def test_an_account_that_does_not_balance_starts_again(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE), ALONE)
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
    flow.run_sql("UPDATE sluice.receipts SET recovered = 1 WHERE chunk = 2")
    flow.deliver()
    assert flow.ingestion(ingestion).problem["code"] == "CSV107"
    flow.topics.sent.clear()
    flow._delivered = 0
    assert loaded_again(flow, ingestion) == flow.ingestion(ingestion).chunks_total


def test_events_continue_in_order(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE), ALONE)
    flow.load(flow.chunks(ingestion)[0])
    attempt(flow.env("load"), Step(ingestion, "load of chunk 1"), _refuse)
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert_events_in_order(flow, ingestion)


def _refuse() -> None:
    raise RowsRefusedError("a storm")
