"""A file has one encoding, which is detected once and used for all of its chunks."""

from __future__ import annotations

import pytest
from flow import Flow, Killed

COLUMNS = [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}]
ASCII = b"".join(b"%d,plain\n" % n for n in range(1, 9))

pytestmark = pytest.mark.flow(chunk_bytes=16, declared={"name": "things", "columns": COLUMNS})


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.ingestion.sources._BLOCK_BYTES", 16)


def names(flow: Flow) -> list[str]:
    return [each.name for each in flow.all("SELECT name FROM things WHERE id > 8 ORDER BY id")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_an_encoding_found_far_behind_the_header_holds_for_the_file(
    flow: Flow, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    text = "id,name\n" + ASCII.decode() + "9,café\n10,plain\n11,“naïve”\n"
    ingestion = flow.run(text.encode(encoding))
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion) == (11, 11, 0)
    assert names(flow) == ["café", "plain", "“naïve”"]


def test_a_header_may_be_in_windows_1252(flow: Flow) -> None:
    flow.declare(
        {"name": "places", "columns": [{"name": "town", "type": "text", "header": "Città"}]}
    )
    flow.run("Città\nForlì\n".encode("cp1252"), "places/a.csv")
    assert [each.town for each in flow.all("SELECT town FROM places")] == ["Forlì"]


def test_what_is_not_utf8_in_a_utf8_file_is_a_reject_with_its_bytes(flow: Flow) -> None:
    ingestion = flow.run("id,name\n9,é\n10,è\n".encode() + b"11,\xe9\n12,a\n")
    assert names(flow) == ["é", "è", "a"]
    (reject,) = flow.rejects(ingestion)
    assert (reject.rule, bytes(reject.original), reject.line) == ("encoding", b"11,\xe9", 4)


def test_a_byte_that_windows_1252_lacks_is_a_reject(flow: Flow) -> None:
    ingestion = flow.run(b"id,name\n9,\xe9\n10,\x81\n11,b\n")
    assert names(flow) == ["é", "b"]
    assert [bytes(each.original) for each in flow.rejects(ingestion)] == [b"10,\x81"]


def test_utf8_behind_windows_1252_fails_the_file(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    ingestion = flow.run(b"id,name\n9,caf\xe9\n" + ASCII + "10,café\n11,thé\n".encode())
    assert flow.state(ingestion) == "failed"
    assert flow.ingestion(ingestion).problem["code"] == "CSV108"
    assert names(flow) == []


def test_a_declared_encoding_is_not_looked_for(flow: Flow) -> None:
    flow.declare({"name": "things", "columns": COLUMNS, "encoding": "utf-8"})
    other = flow.twin()
    ingestion = other.run(b"id,name\n9,caf\xe9\n10,b\n")
    other.deliver()
    assert other.account(ingestion) == (2, 1, 1)


def test_a_split_that_goes_on_keeps_the_encoding(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    stored = flow.put(b"id,name\n9,caf\xe9\n" + ASCII + b"10,plain\n11,th\xe9\n")

    def die(first_byte: int) -> None:
        if first_byte >= 48:
            raise Killed

    flow.bucket.before_read = die
    with pytest.raises(Killed):
        flow.split(stored)
    flow.bucket.before_read = lambda _first_byte: None
    ingestion = flow.split(stored)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert names(flow) == ["café", "plain", "thé"]


def test_marks_of_joined_files_are_no_part_of_values_in_any_encoding(flow: Flow) -> None:
    flow.declare({"name": "joined", "columns": COLUMNS[1:], "encoding": "cp1252"})
    mark = b"\xef\xbb\xbf"
    ingestion = flow.run(
        mark + b"name\ncaf\xe9\n" + mark + b"x\n" + mark + b'"y"\n', "joined/a.csv"
    )
    flow.deliver()
    assert flow.account(ingestion) == (3, 3, 0)
    assert [each.name for each in flow.all("SELECT name FROM joined")] == ["café", "x", "y"]


@pytest.mark.parametrize(
    "encoding", ["cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r"]
)
@pytest.mark.parametrize("folder", ["things", "nobody"], ids=["declared", "undeclared"])
def test_text_in_another_encoding_is_refused_until_that_is_declared(
    flow: Flow, encoding: str, folder: str
) -> None:
    word = {"cp949": "서울 부산", "cp1251": "Москва Казань", "koi8_r": "Москва Казань"}.get(
        encoding, "北海"
    )
    rows = "".join(f"{n},{word}\n{n + 1},{word[::-1]}\n" for n in range(10, 20, 2))
    data = f"id,name\n{rows}".encode(encoding)
    refused = flow.run(data, f"{folder}/a.csv")
    assert flow.state(refused) == "failed"
    assert flow.ingestion(refused).problem["code"] == "CSV108"
    flow.declare({"name": folder, "columns": COLUMNS, "encoding": encoding})
    assert flow.account(flow.run(data, f"{folder}/b.csv")) == (10, 10, 0)
    assert flow.one(f"SELECT name FROM {folder} WHERE id = 12").name == word
