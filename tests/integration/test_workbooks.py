"""Excel workbooks load like CSV files: typed cells, rejects with cell addresses, refusals by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workbooks import workbook

if TYPE_CHECKING:
    from flow import Flow

ROWS = [
    ["id", "name", "kind"],
    [1, "thing 1", "a"],
    [2, "two\nlines", "a"],
    ["x", "thing 3", "a"],
    [],
    [4, "thing 4", "b"],
    [-5, "thing\r\n5", "b"],
    [6, "thing 6", "b"],
]


@pytest.mark.flow(chunk_bytes=16)
def test_a_workbook_loads_in_chunks_and_its_rejects_have_rows_and_cells(flow: Flow) -> None:
    ingestion = flow.run(workbook(ROWS), "things/a.xlsx")
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.account(ingestion) == (6, 4, 2)
    assert flow.ids() == [1, 2, 4, 6]
    assert flow.one("SELECT name FROM things WHERE id = 2") == ("two\nlines",)
    found = [(each.record, each.line, each.column_name) for each in flow.rejects(ingestion)]
    assert found == [(2, 4, "id"), (4, 7, "id")]
    layout = flow.ingestion(ingestion).layout
    assert (layout["sheet"], layout["cells"]) == ("Sheet1", {"id": "A", "name": "B", "kind": "C"})
    assert len(flow.chunks(ingestion)) > 3
