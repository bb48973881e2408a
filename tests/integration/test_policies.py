"""The policies of a load: how many rejects a file may have, and which of two rows with a key counts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, lines

from sluice.errors import DeclarationError
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from serving import Serve

BAD = b"x,bad,a\n"
#: Group commit is for the first deliveries of a file.
ALONE = 4

pytestmark = pytest.mark.flow(chunk_bytes=64)


def file_of(good: int, bad: int, *, seed: int = 1) -> bytes:
    """A file with some good and some bad rows, in any order."""
    rows = [*lines(1, good).splitlines(keepends=True), *[BAD] * bad]
    random.Random(seed).shuffle(rows)
    return HEADER + b"".join(rows)


@pytest.mark.parametrize(
    ("policy", "bad", "state"),
    [
        ({"max_rejects": 3}, 3, "done"),
        ({"max_rejects": 3}, 4, "failed"),
        ({"max_rejects": "10%"}, 10, "done"),
        ({"max_rejects": "10%"}, 11, "failed"),
        ({"max_rejects": "0.5%"}, 1, "failed"),
        ({"max_rejects": "0%"}, 1, "failed"),
        ({"load": "all_or_nothing"}, 0, "done"),
        ({"load": "all_or_nothing"}, 1, "failed"),
        ({"load": "all_or_nothing", "max_rejects": "10%"}, 10, "done"),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else None,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_limit_holds_over_all_chunks_in_any_order(
    flow: Flow, policy: dict[str, Any], bad: int, state: str, seed: int
) -> None:
    flow.declare(**policy)
    ingestion = flow.split(flow.put(file_of(100 - bad, bad, seed=seed)), ALONE)
    chunks = flow.chunks(ingestion)
    assert len(chunks) > 10
    random.Random(seed).shuffle(chunks)
    for chunk in chunks:
        flow.load(chunk)
    flow.deliver()
    assert flow.state(ingestion) == state
    assert flow.ids() == ([] if state == "failed" else list(range(1, 101 - bad)))
    if state == "failed":
        assert flow.ingestion(ingestion).problem["code"] == "CSV106"


def test_a_number_of_rejects_fails_the_file_with_the_chunk_that_exceeds_it(flow: Flow) -> None:
    flow.declare(max_rejects=1)
    ingestion = flow.split(flow.put(HEADER + BAD * 2 + lines(1, 200)), ALONE)
    first, *others = flow.chunks(ingestion)
    flow.load(first)
    assert flow.state(ingestion) == "failed"
    assert "the rest is not loaded" in flow.ingestion(ingestion).problem["detail"]
    for chunk in others:
        flow.load(chunk)
    assert flow.account(ingestion)[0] < 20
    assert len(flow.rejects(ingestion)) == 2


def test_a_share_fails_the_file_once_the_rest_cannot_make_up_for_it(flow: Flow) -> None:
    flow.declare(max_rejects="10%")
    ingestion = flow.split(flow.put(HEADER + BAD * 30 + lines(1, 70)), ALONE)
    states = []
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
        states.append(flow.state(ingestion))
    assert states[0] == "loading"
    assert states.index("failed") < len(states) / 2
    assert flow.account(ingestion)[2] == 16


def test_rows_after_an_unclosed_quote_count_in_the_share(flow: Flow) -> None:
    flow.declare(max_rejects="5%")
    data = HEADER + b'1,"open,a\n' + lines(2, 100)
    ingestion = flow.split(flow.put(data), ALONE)
    flow.deliver()
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.account(ingestion) == (100, 99, 1)


@pytest.mark.parametrize("limit", ["1", "-1%", "101%", "%", -1, 1.5, True])
def test_a_limit_is_a_number_or_a_share(flow: Flow, limit: object) -> None:
    with pytest.raises(DeclarationError, match="max_rejects"):
        flow.declare(max_rejects=limit)


def listed(serve: Serve, ingestion: int) -> list[tuple[Any, ...]]:
    page = serve("status").get(f"/v1/ingestions/{ingestion}/duplicates").json
    return [
        (each["line"], each["record"], each["key"], *each["won_by"].values())
        for each in page["duplicates"]
    ]


KEYED: dict[str, Any] = {"key": ["id"], "rollups": {}}
REPEATED = HEADER + b"1,a,a\n2,b,a\n1,c,a\n1,d,a\n"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ignore", [(4, 3, {"id": 1}, 2, 1), (5, 4, {"id": 1}, 2, 1)]),
        ("update", [(2, 1, {"id": 1}, 5, 4), (4, 3, {"id": 1}, 5, 4)]),
    ],
)
def test_duplicates_in_a_file_are_listed_with_the_row_that_counts(
    flow: Flow, serve: Serve, policy: str, expected: list[tuple[Any, ...]]
) -> None:
    flow.declare(**KEYED, duplicates=policy)
    ingestion = flow.run(REPEATED)
    assert flow.ingestion(ingestion).duplicates == 2
    assert listed(serve, ingestion) == [
        (line, record, key, ingestion, *winner) for line, record, key, *winner in expected
    ]


def test_duplicates_of_an_earlier_file_name_its_ingestion(flow: Flow, serve: Serve) -> None:
    flow.declare(**KEYED)
    first = flow.run(HEADER + b"1,a,a\n2,b,a\n")
    second = flow.run(HEADER + b"3,c,a\n2,other,a\n", "things/b.csv")
    assert listed(serve, first) == []
    assert listed(serve, second) == [(3, 2, {"id": 2}, first, None, None)]


def test_duplicates_of_a_key_with_a_code_have_its_text(flow: Flow, serve: Serve) -> None:
    columns = [{**each, "required": True} for each in THINGS["columns"]]
    flow.declare(name="others", key=["id", "kind"], rollups={}, columns=columns)
    data = HEADER + b'1,"a\nb",red\n1,c,blue\n1,d,red\n'
    ingestion = flow.run(data, "others/a.csv")
    assert [each[1:3] for each in listed(serve, ingestion)] == [(3, {"id": 1, "kind": "red"})]


def test_duplicates_in_an_overtaken_file_are_listed(flow: Flow, serve: Serve) -> None:
    flow.declare(**KEYED, duplicates="update")
    early = flow.put(REPEATED)
    later = flow.run(HEADER + b"1,later,a\n", "things/later.csv")
    ingestion = flow.split(early)
    flow.deliver()
    assert (flow.state(later), flow.state(ingestion)) == ("done", "done")
    assert [each[1] for each in listed(serve, ingestion)] == [1, 3]


def test_duplicates_of_a_request_are_its_rows(flow: Flow, serve: Serve) -> None:
    flow.declare(**KEYED)
    with transaction(flow.engine) as connection:
        dataset = read_dataset(connection, "things")
    assert dataset is not None
    rows = [{"id": "1"}, {"id": "2"}, {"id": "1"}]
    (group,) = insert_rows(flow.env("intake"), [RowGroup(dataset, rows)]).groups
    own = group.ingestion
    assert listed(serve, own) == [(3, 3, {"id": 1}, own, 1, 1)]


def test_duplicates_are_listed_in_pages(flow: Flow, serve: Serve) -> None:
    flow.declare(**KEYED)
    ingestion = flow.run(HEADER + b"1,a,a\n" * 8)
    status, path = serve("status"), f"/v1/ingestions/{ingestion}/duplicates"
    first = status.get(f"{path}?limit=4").json
    second = status.get(f"{path}?limit=4&cursor={first['next']}").json
    records = [each["record"] for each in first["duplicates"] + second["duplicates"]]
    assert records == list(range(2, 9))
    assert second["next"] is None
