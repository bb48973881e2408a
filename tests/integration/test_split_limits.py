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
