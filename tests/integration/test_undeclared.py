"""Files of datasets that nobody declared: observed chunk by chunk, decided once, then loaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from flow import IDLE_S, Flow, assert_events_in_order

from sluice.documents.ingestions import State
from sluice.errors import DeclarationError, PubsubUnavailableError
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.decide import decide_types
from sluice.ingestion.events import OBSERVED
from sluice.ingestion.outbox import STATUS_TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.flow(declared=None)

PEOPLE = "name;born;shoe size\n" + "".join(
    f"Person {n};{n % 28 + 1:02}.03.19{n % 90 + 10};{36 + n % 9},5\n" for n in range(40)
)


def rows(flow: Flow, dataset: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in flow.all(f"SELECT {columns} FROM {dataset} ORDER BY 1")]


def declaration(flow: Flow, dataset: str) -> dict[str, Any]:
    found: dict[str, Any] = flow.one(
        "SELECT declaration FROM sluice.datasets WHERE name = :name", name=dataset
    ).declaration
    return found


def types(flow: Flow, dataset: str) -> dict[str, str]:
    return {each["name"]: each["type"] for each in declaration(flow, dataset)["columns"]}


def origin(flow: Flow, dataset: str) -> str:
    return str(
        flow.one("SELECT origin FROM sluice.datasets WHERE name = :name", name=dataset).origin
    )


def run(flow: Flow, lines: Sequence[str], name: str = "box/a.csv") -> int:
    return flow.run("".join(f"{line}\n" for line in lines).encode(), name)


def many(header: str, line: str, count: int = 40) -> list[str]:
    return [header, *(line.format(n=n) for n in range(count))]


def test_an_undeclared_file_is_declared_and_loaded(flow: Flow) -> None:
    ingestion = flow.run(PEOPLE.encode(), "people_we_know/a.csv")
    assert flow.state(ingestion) == State.DONE
    assert flow.account(ingestion) == (40, 40, 0)
    assert types(flow, "people_we_know") == {"name": "text", "born": "date", "shoe_size": "numeric"}
    assert origin(flow, "people_we_know") == "inferred"
    first = flow.one("SELECT * FROM people_we_know WHERE name = 'Person 3'")
    assert (str(first.born), str(first.shoe_size)) == ("1913-03-04", "39.5")
    assert_events_in_order(flow, ingestion)


def test_every_chunk_is_observed_before_one_is_loaded(flow: Flow) -> None:
    ingestion = flow.run(PEOPLE.encode(), "people_we_know/a.csv")
    chunks = [each["data"]["chunks"] for each in flow.events(ingestion)]
    total = flow.ingestion(ingestion).chunks_total
    assert total > 3
    assert all(each["observed"] == total for each in chunks if each["loaded"])


def test_a_value_in_the_last_chunk_widens_its_column_and_drops_no_row(flow: Flow) -> None:
    ingestion = run(flow, [*many("id,size", "{n},{n}"), "40,4.5", "41,large"])
    assert flow.account(ingestion) == (42, 42, 0)
    assert types(flow, "box") == {"id": "integer", "size": "text"}
    assert rows(flow, "box", "id, size")[-2:] == [(40, "4.5"), (41, "large")]


def test_a_header_that_joined_files_repeat_is_rejected_in_each_chunk(flow: Flow) -> None:
    part = many("id,city", "{n},city {n}", 20)
    ingestion = run(flow, [*part, *part, *part])
    assert flow.account(ingestion) == (62, 60, 2)
    assert [(each.line, each.rule) for each in flow.rejects(ingestion)] == [
        (22, "header"),
        (43, "header"),
    ]
    assert types(flow, "box") == {"id": "integer", "city": "text"}


def test_a_file_without_header_gets_numbered_columns(flow: Flow) -> None:
    ingestion = run(flow, [f"{n},{n / 4},2020-01-{n % 28 + 1:02}" for n in range(30)])
    assert flow.account(ingestion) == (30, 30, 0)
    assert types(flow, "box") == {
        "column_1": "integer",
        "column_2": "numeric",
        "column_3": "date",
    }


def test_quotes_inside_fields_of_an_undeclared_file_are_text(flow: Flow) -> None:
    ingestion = run(flow, [*many("id,size", "{n},{n}"), "40,6'2\"", "41,5'11\" tall"])
    assert flow.account(ingestion) == (42, 42, 0)
    assert types(flow, "box") == {"id": "integer", "size": "text"}
    assert rows(flow, "box", "id, size")[-2:] == [(40, "6'2\""), (41, "5'11\" tall")]


def test_rejected_records_of_a_declared_dataset_widen_nothing(flow: Flow) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "size", "type": "integer"}]
    flow.declare({"name": "box", "columns": columns, "unfitting": "widen"})
    ingestion = run(flow, ["id,size", "1,2", "2,6'2\""])
    assert flow.account(ingestion) == (2, 1, 1)
    assert types(flow, "box") == {"id": "integer", "size": "integer"}


def test_padded_records_widen_their_columns(flow: Flow) -> None:
    columns = [{"name": name, "type": "integer"} for name in ("id", "size", "note")]
    flow.declare({"name": "box", "columns": columns, "unfitting": "widen", "ragged": "pad"})
    ingestion = run(flow, ["id,size,note", "1,2,3", "2,large"])
    assert flow.account(ingestion) == (2, 2, 0)
    assert types(flow, "box") == {"id": "integer", "size": "text", "note": "integer"}


@pytest.mark.parametrize("data", [b"\0,1\n\0,2\n", b"a\0,b\n1,2\n"], ids=["no record", "no header"])
def test_a_file_without_a_readable_record_is_refused(flow: Flow, data: bytes) -> None:
    ingestion = flow.run(data, "box/a.csv")
    problem = flow.ingestion(ingestion).problem
    assert problem is not None
    assert problem["code"] == "CSV102"


def test_a_table_of_many_columns_is_declared_in_seconds(flow: Flow) -> None:
    started = time.monotonic()
    names = ",".join(f"c{n}" for n in range(300))
    ingestion = run(flow, [names, *(",".join([str(n)] * 300) for n in range(3))])
    assert flow.account(ingestion) == (3, 3, 0)
    assert time.monotonic() - started < 15


def test_a_second_file_may_have_its_columns_in_another_order(flow: Flow) -> None:
    run(flow, many("id,name", "{n},thing {n}"))
    second = run(flow, ["name,id", "other,1000", "more,1001"], "box/b.csv")
    assert flow.account(second) == (2, 2, 0)
    assert rows(flow, "box", "id, name")[-1] == (1001, "more")


def test_a_second_file_may_lack_and_add_columns(flow: Flow) -> None:
    run(flow, many("id,name", "{n},thing {n}"))
    second = run(flow, many("id,weight", "{n},{n}.5", 5), "box/b.csv")
    assert flow.account(second) == (5, 5, 0)
    assert types(flow, "box") == {"id": "integer", "name": "text", "weight": "numeric"}
    assert flow.one("SELECT count(weight) AS n FROM box").n == 5


def test_a_second_file_widens_what_is_stored(flow: Flow) -> None:
    first = run(flow, many("id,size", "{n},{n}"))
    second = run(flow, ["id,size", "100,large", "101,5"], "box/b.csv")
    assert flow.account(second) == (2, 2, 0)
    assert types(flow, "box") == {"id": "integer", "size": "text"}
    assert flow.one("SELECT size FROM box WHERE id = 7").size == "7"
    assert flow.one("SELECT size FROM box WHERE id = 100").size == "large"
    flow.undo(first)
    assert len(rows(flow, "box")) == 2


def test_a_file_that_is_loading_follows_a_wider_declaration(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    slow = flow.split(
        flow.put("".join(f"{x}\n" for x in many("id,size", "{n},1")).encode(), "box/b.csv")
    )
    observing = [each for each in flow.topics.of(CHUNKS_TOPIC) if each.body["ingestion"] == slow]
    for each in observing:
        flow.handle(each)
    decided = len(flow.topics.sent)
    decide_types(flow.env("finish"), slow)
    loading = [each for each in flow.topics.sent[decided:] if each.topic == CHUNKS_TOPIC]
    flow.handle(loading[0])
    flow._delivered = len(flow.topics.sent)
    wide = run(flow, ["id,size", "1000,huge"], "box/c.csv")
    assert flow.state(wide) == State.DONE
    for each in loading:
        flow.handle(each)
    flow.deliver()
    flow.finish(slow)
    assert flow.account(slow) == (40, 40, 0)
    assert flow.one("SELECT count(*) AS n FROM box WHERE size = '1'").n == 41
    assert flow.state(slow) == State.DONE


def test_two_files_of_the_same_new_folder_are_one_dataset(flow: Flow) -> None:
    first = flow.split(flow.put(b"id,size\n" + b"1,2\n" * 30, "box/a.csv"))
    second = flow.split(flow.put(b"size,id\n" + b"2.5,1\n" * 30, "box/b.csv"))
    flow.deliver()
    assert [flow.state(each) for each in (first, second)] == [State.DONE, State.DONE]
    assert types(flow, "box") == {"id": "integer", "size": "numeric"}
    assert flow.one("SELECT count(*) AS n, sum(size) AS total FROM box")[:] == (60, 135)


def test_chunks_and_decisions_may_be_delivered_twice(flow: Flow) -> None:
    ingestion = flow.split(flow.put(PEOPLE.encode(), "people_we_know/a.csv"))
    done = 0
    while done < len(flow.topics.sent):
        sent = flow.topics.sent[done]
        flow.handle(sent)
        flow.handle(sent)
        done += 1
    assert flow.state(ingestion) == State.DONE
    assert flow.account(ingestion) == (40, 40, 0)
    assert_events_in_order(flow, ingestion)


def test_a_decision_whose_chunks_were_not_sent_is_sent_again(flow: Flow) -> None:
    ingestion = flow.split(flow.put(PEOPLE.encode(), "people_we_know/a.csv"))
    for each in list(flow.topics.of(CHUNKS_TOPIC)):
        flow.handle(each)

    def refuse(topic: str) -> None:
        if topic == CHUNKS_TOPIC:
            raise PubsubUnavailableError("no chunks")

    flow.topics.before_publish = refuse
    with pytest.raises(PubsubUnavailableError):
        decide_types(flow.env("finish"), ingestion)
    flow.topics.before_publish = lambda _topic: None
    flow.deliver()
    assert flow.account(ingestion) == (40, 40, 0)
    assert flow.state(ingestion) == State.DONE


@pytest.mark.parametrize("lost", [CHUNKS_TOPIC, STATUS_TOPIC])
def test_recovery_sends_again_what_an_observed_file_waits_for(flow: Flow, lost: str) -> None:
    ingestion = flow.split(flow.put(PEOPLE.encode(), "people_we_know/a.csv"))
    if lost == STATUS_TOPIC:
        for each in list(flow.topics.of(CHUNKS_TOPIC)):
            flow.handle(each)
    flow._delivered = len(flow.topics.sent)
    flow.run_sql(
        "UPDATE sluice.ingestions SET updated_at = now() - make_interval(secs => :idle)",
        idle=IDLE_S + 1,
    )
    assert flow.recover().resumed == 1
    flow.deliver()
    assert flow.state(ingestion) == State.DONE


def test_only_one_event_asks_for_the_decision(flow: Flow) -> None:
    flow.run(PEOPLE.encode(), "people_we_know/a.csv")
    assert sum(OBSERVED in each.attributes for each in flow.topics.of(STATUS_TOPIC)) == 1


def test_a_header_alone_is_refused(flow: Flow) -> None:
    ingestion = flow.run(b"id,name\n", "box/a.csv")
    assert flow.state(ingestion) == State.FAILED
    assert "no rows" in flow.ingestion(ingestion).problem["detail"]


def test_a_folder_that_cannot_be_a_dataset_is_refused_with_a_name_that_can(flow: Flow) -> None:
    ingestion = flow.run(PEOPLE.encode(), "My People/a.csv")
    assert flow.state(ingestion) == State.FAILED
    assert "my_people" in flow.ingestion(ingestion).problem["detail"]


def test_the_uploader_may_say_how_the_file_is_written(flow: Flow) -> None:
    data = "".join(f"{n},5;x\n" for n in range(30)).encode()
    stored = flow.bucket.put("box/a.csv", data)
    options = {"delimiter": ",", "header": "false"}
    ingestion = flow.split(type(stored)(**{**vars(stored), "options": options}))
    flow.deliver()
    assert flow.account(ingestion) == (30, 30, 0)
    assert types(flow, "box") == {"column_1": "integer", "column_2": "text"}


def test_a_malformed_row_costs_itself_alone(flow: Flow) -> None:
    lines = many("id,name", '{n},"thing, {n}"')
    lines[20] = '19,"thing" 19'
    ingestion = run(flow, lines)
    assert flow.account(ingestion) == (40, 39, 1)
    assert [each.line for each in flow.rejects(ingestion)] == [21]


def test_a_failed_file_can_be_retried(flow: Flow) -> None:
    ingestion = flow.run(PEOPLE.encode(), "people_we_know/a.csv")
    flow.undo(ingestion)
    again = flow.run(PEOPLE.encode(), "people_we_know/b.csv")
    assert flow.account(again) == (40, 40, 0)
    cancelled = flow.split(flow.put(PEOPLE.replace("Person", "Q").encode(), "people_we_know/c.csv"))
    flow.cancel(cancelled)
    flow.retry(cancelled)
    flow.deliver()
    assert flow.account(cancelled) == (40, 40, 0)


def test_an_edited_declaration_converts_stored_rows_to_a_wider_type(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    document = {"name": "box", **declaration(flow, "box")}
    document["columns"][1]["type"] = "text"
    flow.declare(document)
    assert flow.one("SELECT size FROM box WHERE id = 7").size == "7"


def test_a_column_that_is_renamed_keeps_its_values_and_its_header(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    document = {"name": "box", **declaration(flow, "box")}
    document["columns"][1] |= {"name": "weight", "header": "size"}
    flow.declare(document)
    assert flow.one("SELECT weight FROM box WHERE id = 7").weight == 7
    second = run(flow, ["id,size", "100,5"], "box/b.csv")
    assert flow.account(second) == (1, 1, 0)
    assert flow.one("SELECT weight FROM box WHERE id = 100").weight == 5
    document["columns"][1] |= {"name": "mass", "type": "text"}
    flow.declare(document)
    assert flow.one("SELECT mass FROM box WHERE id = 7").mass == "7"


def test_the_columns_of_a_file_without_header_are_named_later(flow: Flow) -> None:
    run(flow, [f"{n},{n / 4}" for n in range(30)])
    document = {"name": "box", **declaration(flow, "box"), "header": False}
    document["columns"][0]["name"] = "id"
    document["columns"][1]["name"] = "size"
    flow.declare(document)
    assert flow.one("SELECT size FROM box WHERE id = 6").size == 1.5
    assert flow.account(run(flow, ["100,2.5", "101,3"], "box/b.csv")) == (2, 2, 0)


def test_a_column_of_another_header_is_a_new_one(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    document = {"name": "box", **declaration(flow, "box")}
    document["columns"][1]["name"] = "weight"
    flow.declare(document)
    assert flow.one("SELECT count(weight) AS n FROM box").n == 0
    flow.declare(
        {**document, "columns": [*document["columns"], {"name": "size", "type": "integer"}]}
    )
    assert flow.one("SELECT size FROM box WHERE id = 7").size == 7


def test_a_column_is_not_renamed_under_a_file_that_is_loading(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    document = {"name": "box", **declaration(flow, "box"), "unfitting": "reject"}
    flow.declare(document)
    flow.split(flow.put(b"id,size\n" + b"1,2\n" * 30, "box/b.csv"))
    document["columns"][1] |= {"name": "weight", "header": "size"}
    with pytest.raises(DeclarationError, match="being loaded under the old name"):
        flow.declare(document)


@pytest.mark.parametrize("is_declared", [True, False], ids=["optional", "gone"])
def test_a_column_that_is_no_longer_required_may_be_null(flow: Flow, is_declared: bool) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "size", "type": "integer"}]
    required = [columns[0], {**columns[1], "required": True}]
    flow.declare({"name": "box", "columns": required})
    run(flow, ["id,size", "1,2"])
    flow.declare({"name": "box", "columns": columns if is_declared else columns[:1]})
    second = run(flow, ["id,size", "2,"] if is_declared else ["id", "2"], "box/b.csv")
    assert flow.account(second) == (1, 1, 0)


def test_a_type_that_would_lose_values_is_refused_while_rows_are_published(flow: Flow) -> None:
    ingestion = run(flow, many("id,size", "{n},{n}.5"))
    document = {"name": "box", **declaration(flow, "box")}
    document["columns"][1]["type"] = "integer"
    with pytest.raises(DeclarationError, match="undo all its ingestions first"):
        flow.declare(document)
    flow.undo(ingestion)
    flow.declare(
        {
            **document,
            "key": ["id"],
            "columns": [
                {**document["columns"][0], "required": True},
                {"name": "size", "type": "text"},
            ],
        }
    )
    assert flow.account(run(flow, many("id,size", "{n},{n}.5"), "box/b.csv")) == (40, 40, 0)
    assert flow.one("SELECT size FROM box WHERE id = 7").size == "7.5"


def test_a_declaration_does_not_change_types_under_a_file_that_is_loading(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    document = {"name": "box", **declaration(flow, "box"), "unfitting": "reject"}
    flow.declare(document)
    flow.split(flow.put(b"id,size\n" + b"1,2\n" * 30, "box/b.csv"))
    document["columns"][1]["type"] = "text"
    with pytest.raises(DeclarationError, match="being loaded"):
        flow.declare(document)
    flow.deliver()
    flow.declare(document)
    assert types(flow, "box")["size"] == "text"


def test_a_second_file_of_texts_has_the_header_that_the_dataset_knows(flow: Flow) -> None:
    run(flow, many("city,country", "City {n},Country {n}"))
    second = run(flow, ["country,city", "Italy,Turin"], "box/b.csv")
    assert flow.account(second) == (1, 1, 0)
    assert flow.one("SELECT city FROM box WHERE country = 'Italy'").city == "Turin"


def test_a_second_file_without_header_stays_without(flow: Flow) -> None:
    run(flow, [f"{n},{n / 4},City {n}" for n in range(30)])
    second = run(flow, ["a,b,c", "d,e,f"], "box/b.csv")
    assert flow.account(second) == (2, 2, 0)


def test_a_file_that_shares_no_column_with_the_dataset_is_refused(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    other = run(flow, many("city,country", "City {n},Country {n}"), "box/b.csv")
    assert flow.state(other) == State.FAILED
    assert flow.ingestion(other).problem["code"] == "CSV104"


def test_only_records_that_are_loaded_widen_their_columns(flow: Flow) -> None:
    run(flow, many("id,size", "{n},{n}"))
    malformed = {"stray_quotes": "reject", "ragged": "pad"}
    flow.declare({"name": "box", **declaration(flow, "box"), **malformed})
    second = run(flow, ["id,size", "50,5", '51,5"', "n", *["52,6"] * 20], "box/b.csv")
    assert flow.account(second) == (23, 22, 1)
    assert types(flow, "box") == {"id": "text", "size": "integer"}
