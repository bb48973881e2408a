"""The limits of split: a quote that is not closed, a record without an end."""

from __future__ import annotations

import pytest
from flow import HEADER, Flow

MIB = 1024 * 1024

pytestmark = pytest.mark.flow(chunk_bytes=32 * MIB)


def test_an_unclosed_quote_in_a_large_file_costs_only_its_record(flow: Flow) -> None:
    line = b"2,fine,a\n"
    ingestion = flow.run(HEADER + b"1,fine,a\n" + b'7,"open,a\n' + line * (40 * MIB // len(line)))
    flow.deliver()
    assert flow.state(ingestion) == "done"
    rejects = [(each.line, each.rule, each.original) for each in flow.rejects(ingestion)]
    assert rejects == [(3, "unclosed_quote", b'7,"open,a')]
    loaded = 1 + 40 * MIB // len(line)
    assert flow.account(ingestion) == (loaded + 1, loaded, 1)


def test_a_line_without_an_end_fails_the_ingestion_and_is_named(flow: Flow) -> None:
    ingestion = flow.run(HEADER + b"1,fine,a\n7," + b"x" * (40 * MIB))
    flow.deliver()
    assert flow.state(ingestion) == "failed"
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV112"
    assert problem["line"] == 3
    assert "line 3 does not end within 32 MiB" in problem["detail"]
    assert flow.ids() == []


def test_an_unclosed_quote_near_the_end_costs_only_its_record(flow: Flow) -> None:
    ingestion = flow.run(HEADER + b'1,fine,a\n7,"open,a\n2,fine,a\n3,fine,a\n')
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == [1, 2, 3]
    assert [(each.line, each.rule) for each in flow.rejects(ingestion)] == [(3, "unclosed_quote")]


@pytest.mark.parametrize("line", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_header_after_megabytes_of_empty_lines_is_refused(flow: Flow, line: bytes) -> None:
    ingestion = flow.run(line * (8 * MIB) + HEADER + b"1,fine,a\n")
    assert flow.state(ingestion) == "failed"
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV104"
    assert "has no header within its first 4 MiB" in problem["detail"]


@pytest.mark.parametrize("header", [True, False], ids=["header", "no header"])
def test_a_long_first_record_is_read_where_a_footer_is_declared(flow: Flow, header: bool) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "text", "type": "text"}]
    flow.declare(
        {
            "name": "long",
            "description": "L.",
            "header": header,
            "footer_lines": 1,
            "columns": columns,
        }
    )
    head = b"id,text\n" if header else b""
    long = b"1," + b"x" * (20 * MIB) + b"\n"
    ingestion = flow.run(head + long + b"2,b\nthe end\n", "long/a.csv")
    flow.deliver()
    assert flow.ingestion(ingestion).problem is None
    assert flow.ids("long") == [1, 2]


def test_a_header_after_a_long_preamble_is_refused_where_a_footer_is_declared(flow: Flow) -> None:
    columns = [{"name": "id", "type": "integer"}]
    flow.declare(
        {
            "name": "late",
            "description": "L.",
            "skip_lines": 1,
            "footer_lines": 1,
            "columns": columns,
        }
    )
    ingestion = flow.run(b"x" * (20 * MIB) + b"\nid\n1\nthe end\n", "late/a.csv")
    assert flow.state(ingestion) == "failed"
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV104"
    assert "has no header within its first 4 MiB" in problem["detail"]
