"""A declaration takes effect when it is stored, in every process; a file keeps the one it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, lines

from sluice.errors import DeclarationChangedError, DeclarationError
from sluice.ingestion.idempotency import InsertResult
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.parsing.json_rows import Numeral
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024
STRICT = [
    {"name": "id", "type": "integer", "required": True, "minimum": 10},
    *THINGS["columns"][1:],
]
MORE = [*THINGS["columns"], {"name": "note", "type": "text"}]


@pytest.fixture(params=[64, MIB], ids=["split and load", "group commit"])
def two(database: str, request: pytest.FixtureRequest) -> Iterator[tuple[Flow, Flow]]:
    """Two processes, of which the second has used the dataset before it is declared again."""
    first = Flow(database, chunk_bytes=request.param)
    first.declare()
    second = first.twin(chunk_bytes=request.param)
    for each in (first, second):
        each.run(HEADER + lines(1, 3), f"things/{id(each)}.csv")
    yield first, second
    first.close()


def load(flow: Flow, data: bytes, name: str) -> Any:
    flow._delivered = len(flow.topics.sent)
    return flow.ingestion(flow.run(data, name))


def test_every_process_judges_by_the_new_rules(two: tuple[Flow, Flow]) -> None:
    two[0].declare(columns=STRICT)
    for number, each in enumerate(two):
        found = load(each, HEADER + lines(8, 11) + b"12,,a\n" * number, f"things/new{number}.csv")
        assert (str(found.state), found.rows_rejected) == ("done", 2)
        assert found.declaration_version == 2


def test_every_process_knows_a_new_column(two: tuple[Flow, Flow]) -> None:
    two[0].declare(columns=MORE)
    for number, each in enumerate(two):
        data = b"id,name,kind,note\n" + b"7,seven,a,new %d\n" % number
        assert load(each, data, f"things/new{number}.csv").rows_loaded == 1
    assert [row.note for row in two[0].all("SELECT note FROM things WHERE note > ''")] == [
        "new 0",
        "new 1",
    ]


def test_a_folder_that_is_declared_after_a_refusal_loads(two: tuple[Flow, Flow]) -> None:
    data = b"id,name,kind\n1,one,a\n"
    for each in two:  # a header alone shows no types
        found = load(each, b"id,name,kind\n", f"others/{id(each)}.csv")
        assert str(found.state) == "failed"
    two[0].declare({**THINGS, "name": "others", "rollups": {}})
    for number, each in enumerate(two):
        found = load(each, data + b"%d,x,a\n" % (number + 2), f"others/new{number}.csv")
        assert str(found.state) == "done"


def test_a_dataset_that_gets_a_key_is_merged_by_it(database: str) -> None:
    first = Flow(database, chunk_bytes=MIB)
    first.declare(rollups={})
    second = first.twin(chunk_bytes=MIB)
    ingestion = second.run(HEADER + lines(1, 3))
    second.undo(ingestion)
    first.run_sql("DELETE FROM store.things")
    first.declare(rollups={}, key=["id"], duplicates="update")
    load(second, HEADER + lines(1, 3), "things/b.csv")
    assert load(second, HEADER + lines(2, 4, "b"), "things/c.csv").duplicates == 0
    assert first.ids() == [1, 2, 3, 4]
    first.close()


def test_a_file_keeps_the_declaration_that_it_began_with(flow: Flow) -> None:
    ingestion = flow.split(flow.put(HEADER + lines(1, 12)))
    first, *rest = flow.chunks(ingestion)
    flow.load(first)
    flow.declare(columns=STRICT)
    other = flow.twin()
    for each in rest:
        other.load(each)
    other.finish(ingestion)
    assert flow.ids() == list(range(1, 13))
    assert flow.ingestion(ingestion).declaration_version == 1


def test_a_split_that_continues_keeps_the_declaration_that_it_began_with(flow: Flow) -> None:
    data = b"id;name;kind\n" + lines(1, 12).replace(b",", b";")
    flow.declare(delimiter=";")

    stored = flow.put(data)
    ingestion = flow.receive(stored)
    flow.run_sql(
        "UPDATE sluice.ingestions SET state = 'splitting', declaration_version = 2 WHERE id = :id",
        id=ingestion,
    )
    flow.declare(delimiter=",")
    flow.split(stored)
    flow.deliver()
    assert flow.ids() == list(range(1, 13))


def test_a_retry_takes_the_current_declaration(flow: Flow) -> None:
    flow.declare(columns=STRICT, max_rejects=0)
    ingestion = flow.run(HEADER + lines(1, 12))
    assert flow.state(ingestion) == "failed"
    flow.declare()
    flow.retry(ingestion)
    flow.deliver()
    assert flow.ids() == list(range(1, 13))
    assert flow.ingestion(ingestion).declaration_version == 3


def test_a_new_roll_up_fails_a_file_that_is_loading_and_a_retry_fills_it(flow: Flow) -> None:
    flow.declare(rollups={})
    ingestion = flow.split(flow.put(HEADER + lines(1, 12)))
    flow.load(flow.chunks(ingestion)[0])
    flow.declare()
    flow.deliver()
    assert flow.state(ingestion) == "failed"
    assert flow.ingestion(ingestion).problem["code"] == "CSV122"
    flow.retry(ingestion)
    flow.deliver()
    assert flow.kinds() == {"a": 12}


def declare_once(flow: Flow, **changes: Any) -> Callable[[], None]:
    """Return what declares the dataset in another process, the first time that it is called."""
    waiting = [flow.twin()]

    def act() -> None:
        if waiting:
            waiting.pop().declare(**changes)

    return act


@pytest.mark.flow(chunk_bytes=MIB)
def test_a_small_file_that_is_read_while_its_dataset_is_declared_is_read_again(flow: Flow) -> None:
    flow.run(HEADER + lines(1, 3), "things/old.csv")
    with flow.before("lock_dataset", declare_once(flow, columns=STRICT)):
        found = load(flow, HEADER + lines(8, 11), "things/new.csv")
    assert (found.rows_loaded, found.rows_rejected, found.declaration_version) == (2, 2, 2)


def test_rows_that_are_sent_while_their_dataset_is_declared_are_to_be_sent_again(
    flow: Flow,
) -> None:
    rows = [{"id": Numeral("8"), "name": "x"}, {"id": Numeral("11"), "name": "y"}]

    def send() -> InsertResult:
        with transaction(flow.engine) as connection:
            dataset = read_dataset(connection, "things")
        assert dataset is not None
        return insert_rows(flow.env("intake"), [RowGroup(dataset, rows)])

    with (
        flow.before("lock_dataset", declare_once(flow, columns=STRICT)),
        pytest.raises(DeclarationChangedError, match="send the rows again"),
    ):
        send()
    assert flow.ids() == []
    send()
    assert flow.ids() == [11]


@pytest.mark.parametrize(
    ("column", "key"),
    [
        ({"type": "text", "pattern": "("}, "pattern"),
        ({"type": "integer", "minimum": "x"}, "minimum"),
        ({"type": "date", "maximum": "tomorrow"}, "maximum"),
        ({"type": "integer", "checks": [{"sql": "missing > 1", "message": "m"}]}, "checks"),
        ({"type": "integer", "checks": [{"sql": "a >", "message": "m"}]}, "checks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_that_cannot_be_tested_is_refused(
    flow: Flow, column: dict[str, Any], key: str
) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "a", "required": True, **column}]
    with pytest.raises(DeclarationError) as caught:
        flow.declare({"name": "ruled", "columns": columns})
    assert caught.value.extra["key"] == f"columns[1].{key}"


def test_rows_without_a_value_that_becomes_required_stay_visible(
    two: tuple[Flow, Flow],
) -> None:
    flow, _ = two
    columns = [
        {"name": "id", "type": "integer"},
        {"name": "kind", "type": "text", "dictionary": True},
    ]
    flow.declare({"name": "box", "columns": columns})
    flow.run(b"id,kind\n1,a\n2,\n3,b\n", "box/a.csv")
    flow.declare({"name": "box", "columns": [columns[0], {**columns[1], "required": True}]})
    assert flow.ids("box") == [1, 2, 3]
