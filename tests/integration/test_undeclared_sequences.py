"""Random files of datasets that nobody declared, one after the other, compared with a plain model."""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest
from faults import Pubsub, newest_ingestion
from flow import Flow, assert_events_in_order
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sluice.documents.ingestions import State

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.flow(declared=None)

few = settings(
    max_examples=int(os.environ.get("SLUICE_EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
#: Each writes a number as a value of a type whose texts PostgreSQL writes in the same way.
KINDS: dict[str, Callable[[int], str]] = {
    "integer": str,
    "bigint": lambda n: f"{n}0000000000",
    "numeric": lambda n: f"{n}.5",
    "padded": lambda n: f"00{n}",
    "date": lambda n: f"20{n % 90 + 10}-01-{n % 28 + 1:02}",
    "timestamp": lambda n: f"2020-01-{n % 28 + 1:02} 10:{n % 60:02}:30",
    "boolean": lambda n: "true" if n % 2 else "false",
    "text": lambda n: f"value {n}",
    "absent": lambda _: "",
}
COLUMNS = ("size", "weight", "note")
Rows = dict[int, dict[str, str]]


def random_rows(chance: random.Random, first_id: int) -> tuple[list[str], Rows]:
    """Return the columns of a file, and its rows by id: of a few kinds, the last of which may come late."""
    columns = chance.sample(COLUMNS, chance.randint(1, 3))
    if first_id == 0 and "size" not in columns:
        columns.append("size")
    kinds = {each: chance.choices(sorted(KINDS), k=2) for each in columns}
    count = chance.randint(5, 20)
    late = chance.randint(1, count)
    rows = {
        first_id + n: {each: KINDS[kinds[each][n >= late]](first_id + n) for each in columns}
        for n in range(count)
    }
    return columns, rows


def written(chance: random.Random, columns: list[str], rows: Rows) -> bytes:
    order = chance.sample(["id", *columns], len(columns) + 1)
    cells = [order, *([{"id": str(n), **row}[each] for each in order] for n, row in rows.items())]
    return "".join(",".join(each) + "\n" for each in cells).encode()


_numbers = itertools.count()


@few
@given(st.integers(0, 2**32), st.integers(2, 4), st.sampled_from([16, 64, 1000]))
def test_files_that_widen_a_dataset_lose_no_row_and_change_no_value(
    flow: Flow, seed: int, files: int, chunk_bytes: int
) -> None:
    chance, model = random.Random(seed), dict[int, dict[str, str]]()
    twin = flow.twin(chunk_bytes=chunk_bytes)
    twin._delivered = len(flow.topics.sent)
    box = f"box_{next(_numbers)}"
    for number in range(files):
        columns, rows = random_rows(chance, 1000 * number)
        ingestion = twin.run(written(chance, columns, rows), f"{box}/{number}.csv")
        found = flow.ingestion(ingestion)
        assert str(found.state) == State.DONE, found.problem
        assert flow.account(ingestion) == (len(rows), len(rows), 0)
        model |= rows
    stored = [each for each in COLUMNS if any(each in row for row in model.values())]
    # A date among timestamps is one at midnight.
    texts = ", ".join(f"replace(CAST({each} AS text), ' 00:00:00', '')" for each in stored)
    read = {
        number: dict(zip(stored, cells, strict=True))
        for number, *cells in flow.all(f"SELECT id, {texts} FROM {box}")
    }
    assert read == {n: {each: row.get(each) or None for each in stored} for n, row in model.items()}


PARTS = [
    b",", b";", b"\t", b'"', b"'", b"\\", b"\n", b"\r\n", b"\0", b" ", b"1", b"x", b"\xef\xbb\xbf", b"\xff",
    b"\xff\xfe", b"\xe2\x82", b"sep=;\n", b"id,size\n", b"1,2\n", b'""',
    b"\x1f\x8b", b"(\xb5/\xfd", b"PK\x03\x04",
]  # fmt: skip


@few
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=80).map(b"".join))
@example(b"id,size\n" + b'1,"2\n' * 30)
@example(b"\0" * 300)
def test_any_bytes_in_a_new_folder_end_with_an_account_or_a_reason(flow: Flow, data: bytes) -> None:
    pubsub = Pubsub(flow)
    pubsub._done = len(flow.topics.sent)
    pubsub.upload(data, f"box_{next(_numbers)}/a.csv")
    found = newest_ingestion(flow)
    assert found.records_read == found.rows_loaded + found.rows_rejected + found.duplicates
    if str(found.state) == State.FAILED:
        assert found.problem["code"].startswith("CSV")
    else:
        assert str(found.state) == State.DONE
        assert found.records_read == found.records_total
    assert not flow.all("SELECT step FROM sluice.failed_attempts")
    assert_events_in_order(flow, found.id)
