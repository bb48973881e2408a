"""The order of records is that of the file, also where some are recovered after an unclosed quote."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from flow import Flow

from sluice.documents.ingestions import State
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYED: Mapping[str, Any] = {
    "name": "box",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "note", "type": "text"},
    ],
    "key": ["id"],
}
#: The quote of line 2 is closed in line 5, so that four records are counted as one until they are recovered.
OPEN = b'1,a\n2,"open\n3,old\n4,old\n5,"old"\n'


def file_with_open_quotes(seed: int) -> tuple[bytes, list[tuple[int, str]]]:
    """Return a file whose keys repeat, and the rows of its records in order."""
    draw = random.Random(seed)
    lines, rows = [], []
    for number in range(120):
        key, note = draw.randrange(12), f"note {number}"
        if draw.random() < 0.1:
            lines.append(f'{key},"{note}')
            lines += [f"{key},x{number}", f'{draw.randrange(12)},"y{number}"']
            rows += [
                (int(each.split(",")[0]), each.split(",")[1].strip('"')) for each in lines[-2:]
            ]
        else:
            lines.append(f"{key},{note}")
            rows.append((key, note))
    return ("id,note\n" + "\n".join(lines) + "\n").encode(), rows


@pytest.mark.flow(declared=None)
@pytest.mark.parametrize("chunk_bytes", [36, 45, 50, 1024 * 1024])
@pytest.mark.parametrize(("policy", "note"), [("update", "new"), ("ignore", "old")])
def test_a_row_is_before_one_of_the_next_chunk(
    database: str, chunk_bytes: int, policy: str, note: str
) -> None:
    flow = Flow(database, chunk_bytes=chunk_bytes)
    flow.declare(KEYED, duplicates=policy)
    done = flow.run(b"id,note\n" + OPEN + b"3,new\n4,new\n5,new\n6,new\n", "box/a.csv")
    assert flow.account(done) == (9, 5, 1)
    assert flow.all("SELECT id, note FROM box ORDER BY id") == [
        (1, "a"), (3, note), (4, note), (5, note), (6, "new"),
    ]  # fmt: skip
    page = {"ingestion": done, "after": -1, "limit": 9}
    with flow.engine.connect() as connection:
        listed = connection.execute(statement("page_of_duplicates"), page).all()
    lines = {each.key["id"]: {each.line, each.won_line} - {None} for each in listed}
    assert all(lines[key] <= {key + 1, key + 4} for key in (3, 4, 5))
    flow.close()


@pytest.mark.flow(declared=None)
@pytest.mark.parametrize("seed", range(2))
def test_any_split_gives_the_same_rows(flow: Flow, seed: int) -> None:
    data, rows = file_with_open_quotes(seed)
    for chunk_bytes in (60, 150, 400, 1024 * 1024):
        twin = flow.twin(chunk_bytes=chunk_bytes)
        name = f"box{chunk_bytes}"
        twin.declare({**KEYED, "name": name}, duplicates="update")
        done = twin.run(data, f"{name}/a.csv")
        assert twin.state(done) == State.DONE
        assert twin.all(f"SELECT id, note FROM {name} ORDER BY id") == sorted(dict(rows).items())
        listed = twin.all(
            "SELECT record, won_record FROM sluice.duplicates WHERE ingestion = :i", i=done
        )
        assert len(listed) == len(rows) - len(dict(rows))
        assert all(record < won for record, won in listed)
