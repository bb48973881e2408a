"""A verification compares the account of an ingestion with its file, read again, and with the tables."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, Flow, lines
from problems import assert_problem

from sluice.errors import IllegalTransitionError
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.ingestion.verify import verify
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from serving import Serve

    from sluice.documents.ingestions import Figure

FILE = HEADER + lines(1, 20) + b'x,"b\r\nad",a\n\n' + lines(21, 40)
KEYED: dict[str, Any] = {"key": ["id"], "rollups": {}}

pytestmark = pytest.mark.flow(chunk_bytes=100)


def figures(flow: Flow, ingestion: int, **options: float) -> dict[str, Figure]:
    found = verify(flow.env("intake"), ingestion, **options)
    assert found.verified is not any(each.ok is False for each in found.figures)
    assert found.differs == [each.name for each in found.figures if each.ok is False]
    return {each.name: each for each in found.figures}


def differing(flow: Flow, ingestion: int) -> set[str]:
    return {each.name for each in figures(flow, ingestion).values() if each.ok is False}


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        (FILE, {}),
        (HEADER + lines(1, 2) + b"x,bad,a", {}),
        (b"\xef\xbb\xbf" + FILE, {}),
        (gzip.compress(FILE), {}),
        (FILE.decode().encode("utf-16"), {}),
        (HEADER + b'1,"open,a\n' + lines(2, 30), {}),
        (HEADER + b'1,a"b,a\n2,"a"b,a\n' + lines(3, 30), {}),
        (b"id,name,kind\r" + lines(1, 30).replace(b"\n", b"\r"), {}),
        (FILE[:-1] + b"\\\n,a\nTotal\n", {"escape": "\\", "footer_lines": 1}),
        (b"title\n" + FILE + b"# end\n", {"skip_lines": 1, "comment": "#"}),
        (FILE.replace(b",", b"||"), {"delimiter": "||"}),
    ],
    ids=[
        *("plain", "no last line end", "mark", "gzip", "utf-16", "unclosed", "stray", "cr"),
        *("escape and footer", "preamble and comment", "long delimiter"),
    ],
)
def test_a_file_is_verified(flow: Flow, content: bytes, dialect: dict[str, Any]) -> None:
    flow.declare(**dialect)
    ingestion = flow.run(content)
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    found = figures(flow, ingestion)
    assert [each for each in found.values() if each.ok is not True] == []
    assert {"balance", "rows", "rejects", "bytes", "sha256", "header", "records"} <= set(found)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("DELETE FROM store.things WHERE id = 3", {"rows"}),
        ("DELETE FROM sluice.rejects", {"rejects"}),
        ("DELETE FROM sluice.publications", {"published"}),
        ("DELETE FROM sluice.receipts WHERE chunk = 0", {"chunks"}),
        ("UPDATE sluice.chunks SET end_byte = end_byte - 1 WHERE number = 0", {"bytes"}),
        ("UPDATE sluice.ingestions SET records_total = 7", {"records"}),
        ("UPDATE sluice.ingestions SET content_sha256 = '\\x00'", {"sha256"}),
    ],
)
def test_each_difference_is_named(flow: Flow, damage: str, expected: set[str]) -> None:
    ingestion = flow.run(FILE)
    flow.run_sql(damage)
    assert differing(flow, ingestion) == expected


def test_an_object_that_is_gone_is_reported(flow: Flow) -> None:
    file = flow.put(FILE)
    ingestion = flow.split(file)
    flow.deliver()
    flow.bucket.lose(file)
    found = figures(flow, ingestion)
    assert found["object"].ok is False
    assert "gs://inbox/things/a.csv" in found["object"].note
    assert found["rows"].ok is True


@pytest.mark.parametrize("policy", ["ignore", "update", "error"])
def test_a_keyed_file_is_verified_after_a_later_upload(flow: Flow, policy: str) -> None:
    flow.declare(**KEYED, duplicates=policy)
    first = flow.run(HEADER + b"1,a,a\n2,b,a\n1,c,a\n")
    second = flow.run(HEADER + b"2,later,a\n3,c,a\n", "things/b.csv")
    for ingestion in (first, second):
        assert differing(flow, ingestion) == set()
    assert figures(flow, first)["rows"].found == 2


def test_a_replaced_object_is_undone_and_has_no_account_to_verify(flow: Flow) -> None:
    flow.declare(reupload="replace")
    first = flow.run(FILE)
    second = flow.run(HEADER + lines(1, 3))
    assert differing(flow, second) == set()
    with pytest.raises(IllegalTransitionError, match="is undone"):
        verify(flow.env("intake"), first)


def test_a_file_with_fixes_is_verified(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    fixing = flow.run(HEADER + b"50,fixed,a\n", f"things/_fixes/{ingestion}/f.csv")
    assert flow.state(fixing) == "done"
    assert differing(flow, ingestion) == differing(flow, fixing) == set()
    assert figures(flow, ingestion)["rows"].found == 41
    assert figures(flow, fixing)["rows"].ok is None


def test_a_file_that_takes_too_long_is_not_checked(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    found = figures(flow, ingestion, max_s=-1)
    assert found["content"].ok is None
    assert "could not be read" in found["content"].note


def test_rows_of_a_request_are_verified_without_a_file(flow: Flow, serve: Serve) -> None:
    with transaction(flow.engine) as connection:
        dataset = read_dataset(connection, "things")
    assert dataset is not None
    rows = [{"id": "1"}, {"id": "x"}]
    (group,) = insert_rows(flow.env("intake"), [RowGroup(dataset, rows)]).groups
    answer = serve("intake").post(f"/v1/ingestions/{group.ingestion}/verify")
    assert answer.status_code == 200
    assert answer.json["verified"] is True
    assert answer.json["figures"][-1]["ok"] is None
    assert_problem(serve("intake").post("/v1/ingestions/99/verify"), "API305", 404)
