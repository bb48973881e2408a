"""Identity of content and order of uploads: what is skipped or replaced, and what an undo restores."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flow import Flow

    from sluice.ports import StoredObject

HEADER = b"id,name\n"
COLUMNS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name", "type": "text"},
]
PLAIN = {"name": "things", "columns": COLUMNS}
KEYED = {**PLAIN, "key": ["id"]}
#: Attempts after which a small file is split on its own.
ALONE = 9

pytestmark = pytest.mark.flow(chunk_bytes=16, declared=None)


@pytest.fixture(params=[16, 1 << 20], ids=["split", "group-commit"])
def sized(flow: Flow, request: pytest.FixtureRequest) -> Flow:
    """A process that splits every file, or loads each by group commit."""
    return flow.twin(chunk_bytes=request.param)


def rows(flow: Flow) -> list[tuple[int, str]]:
    """What readers see."""
    return sorted((each.id, each.name) for each in flow.all("SELECT id, name FROM things"))


def load_all(flow: Flow, *files: StoredObject) -> list[int]:
    """Load files that are split at the same time; return their ingestions in the order given."""
    ingestions = [flow.split(each, ALONE) for each in files]
    flow.deliver()
    return ingestions


def load_chunks(flow: Flow, ingestion: int) -> None:
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)


# Identity of content


def test_different_content_with_the_same_size_and_checksum_is_loaded(sized: Flow) -> None:
    sized.declare(PLAIN)
    first = sized.put(HEADER + b"1,one\n", "things/a.csv")
    second = sized.put(HEADER + b"2,two\n", "things/b.csv")
    files = (first, replace(second, crc32c=first.crc32c))
    ingestions = [sized.split(each) for each in files]
    sized.deliver()
    assert [sized.state(each) for each in ingestions] == ["done", "done"]
    assert rows(sized) == [(1, "one"), (2, "two")]


def test_the_same_content_is_skipped_and_the_earlier_ingestion_named(sized: Flow) -> None:
    sized.declare(PLAIN)
    first = sized.run(HEADER + b"1,one\n", "things/a.csv")
    again = sized.run(HEADER + b"1,one\n", "things/b.csv")
    found = sized.ingestion(again)
    assert (found.state, found.replaced_by) == ("skipped", first)
    (warning,) = sized.events(again)[-1]["data"]["warnings"]
    assert warning["message"].startswith(f"ingestion {first} loaded the same content before")
    assert rows(sized) == [(1, "one")]


def test_the_same_content_compressed_again_is_skipped(flow: Flow) -> None:
    flow.declare(PLAIN)
    data = HEADER + b"1,one\n"
    flow.run(gzip.compress(data, mtime=1), "things/a.csv.gz")
    again = flow.run(gzip.compress(data, mtime=2), "things/a.csv.gz")
    plain = flow.run(data, "things/a.csv")
    assert (flow.state(again), flow.state(plain)) == ("skipped", "skipped")
    assert rows(flow) == [(1, "one")]


def test_a_split_that_resumes_records_the_digest_of_all_content(flow: Flow) -> None:
    flow.declare(PLAIN)
    data = HEADER + b"".join(b"%d,name\n" % n for n in range(20))
    file = flow.put(data)
    flow.topics.before_publish = lambda topic: 1 / (topic != "chunks")
    with pytest.raises(ZeroDivisionError):
        flow.split(file)
    flow.topics.before_publish = lambda _topic: None
    ingestion = flow.split(file)
    flow.deliver()
    again = flow.run(data, "things/b.csv")
    assert (flow.state(ingestion), flow.state(again)) == ("done", "skipped")


@pytest.mark.parametrize("document", [PLAIN, KEYED], ids=["plain", "keyed"])
def test_a_skipped_file_is_retried_when_the_earlier_one_is_undone(
    flow: Flow, document: dict[str, Any]
) -> None:
    flow.declare(document)
    first = flow.run(HEADER + b"1,one\n", "things/a.csv")
    again = flow.run(HEADER + b"1,one\n", "things/b.csv")
    assert flow.state(again) == "skipped"
    flow.undo(first)
    assert rows(flow) == []
    flow.retry(again)
    flow.deliver()
    found = flow.ingestion(again)
    assert (found.state, found.replaced_by, found.warnings) == ("done", None, [])
    assert rows(flow) == [(1, "one")]


def test_a_retry_of_a_skipped_file_skips_it_again_while_nothing_changed(flow: Flow) -> None:
    flow.declare(PLAIN)
    flow.run(HEADER + b"1,one\n", "things/a.csv")
    again = flow.run(HEADER + b"1,one\n", "things/b.csv")
    flow.retry(again)
    flow.deliver()
    assert flow.state(again) == "skipped"
    assert rows(flow) == [(1, "one")]


def test_each_of_two_identical_objects_has_its_own_rows(sized: Flow) -> None:
    sized.declare(PLAIN, reupload="replace")
    data = HEADER + b"1,one\n"
    first, second = sized.run(data, "things/a.csv"), sized.run(data, "things/b.csv")
    assert (sized.state(first), sized.state(second)) == ("done", "done")
    newer = sized.run(HEADER + b"2,two\n", "things/a.csv")
    assert rows(sized) == [(1, "one"), (2, "two")]
    sized.undo(newer)
    assert rows(sized) == [(1, "one")]


def test_an_older_version_that_is_put_back_replaces_the_newer_one(sized: Flow) -> None:
    sized.declare(PLAIN, reupload="replace")
    old, new = HEADER + b"1,old\n", HEADER + b"1,new\n"
    for data in (old, new, old):
        sized.run(data)
    assert rows(sized) == [(1, "old")]


def test_an_unchanged_version_keeps_older_ones_from_replacing_it(flow: Flow) -> None:
    flow.declare(PLAIN, reupload="replace")
    flow.run(HEADER + b"1,old\n")
    late, last = flow.put(HEADER + b"1,new\n"), flow.put(HEADER + b"1,old\n")
    waiting = flow.split(late)
    newest = flow.split(last)
    load_chunks(flow, newest)
    flow.finish(newest)
    flow.deliver()
    assert (flow.state(waiting), flow.ingestion(waiting).replaced_by) == ("skipped", newest)
    assert rows(flow) == [(1, "old")]


def test_a_price_list_that_is_put_back_counts(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    old, new = HEADER + b"1,old\n2,same\n", HEADER + b"1,new\n"
    for data in (old, new, old):
        flow.run(data)
    assert rows(flow) == [(1, "old"), (2, "same")]


@pytest.mark.parametrize("duplicates", ["ignore", "error"])
def test_a_row_that_was_left_out_is_loaded_once_its_key_is_free(
    flow: Flow, duplicates: str
) -> None:
    flow.declare(KEYED, duplicates=duplicates)
    first = flow.run(HEADER + b"1,first\n", "things/a.csv")
    data = HEADER + b"1,second\n2,two\n"
    flow.run(data, "things/b.csv")
    flow.undo(first)
    assert rows(flow) == [(2, "two")]
    again = flow.run(data, "things/c.csv")
    assert flow.state(again) == "done"
    assert rows(flow) == [(1, "second"), (2, "two")]


def test_content_of_an_undone_file_is_loaded_again(sized: Flow) -> None:
    sized.declare(PLAIN)
    data = HEADER + b"1,one\n"
    sized.undo(sized.run(data))
    assert sized.state(sized.run(data, "things/b.csv")) == "done"
    assert rows(sized) == [(1, "one")]


# Order of uploads


def late_and_newer(flow: Flow, *, same_object: bool) -> tuple[int, int]:
    """Publish a newer upload while a large older one is loading, and then the older one."""
    older = flow.put(HEADER + b"1,old\n2,old\n1,older\n3,old\n", "things/a.csv")
    newer = flow.put(HEADER + b"1,new\n3,new\n", "things/a.csv" if same_object else "things/b.csv")
    late, first = flow.split(older), flow.split(newer)
    for ingestion in (first, late):
        load_chunks(flow, ingestion)
        flow.finish(ingestion)
    return late, first


@pytest.mark.parametrize("same_object", [True, False], ids=["same-object", "two-objects"])
def test_the_later_upload_counts_if_it_is_published_first(flow: Flow, same_object: bool) -> None:
    flow.declare(KEYED, duplicates="update")
    late, _ = late_and_newer(flow, same_object=same_object)
    assert rows(flow) == [(1, "new"), (2, "old"), (3, "new")]
    found = flow.ingestion(late)
    assert (found.records_read, found.rows_loaded, found.duplicates) == (4, 3, 1)
    assert [each["rows"] for each in found.warnings] == [1, 2]


def test_an_undo_of_the_later_upload_restores_the_late_one(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    _, newer = late_and_newer(flow, same_object=False)
    flow.undo(newer)
    assert rows(flow) == [(1, "older"), (2, "old"), (3, "old")]


def test_an_undo_of_a_late_upload_leaves_the_later_one(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    flow.run(HEADER + b"1,first\n4,first\n", "things/0.csv")
    late, newer = late_and_newer(flow, same_object=False)
    flow.undo(late)
    assert rows(flow) == [(1, "new"), (3, "new"), (4, "first")]
    flow.undo(newer)
    assert rows(flow) == [(1, "first"), (4, "first")]


def test_a_late_upload_takes_its_place_between_earlier_and_later_ones(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    files = [flow.put(HEADER + b"1,%d\n" % n, f"things/{n}.csv") for n in range(4)]
    ingestions = [flow.split(each) for each in files]
    for place in (3, 0, 2, 1):
        load_chunks(flow, ingestions[place])
        flow.finish(ingestions[place])
        assert rows(flow) == [(1, "3")]
    for place, left in ((2, "3"), (3, "1"), (1, "0"), (0, None)):
        flow.undo(ingestions[place])
        assert rows(flow) == ([(1, left)] if left else [])


def test_a_retry_of_an_old_file_replaces_nothing_newer(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    old = flow.split(flow.put(HEADER + b"1,old\n", "things/a.csv"))
    flow.cancel(old)
    flow.run(HEADER + b"1,new\n", "things/b.csv")
    flow.retry(old)
    flow.deliver()
    assert flow.state(old) == "done"
    assert rows(flow) == [(1, "new")]


def test_the_generation_decides_between_uploads_of_the_same_millisecond(flow: Flow) -> None:
    flow.declare(KEYED, duplicates="update")
    older = flow.put(HEADER + b"1,old\n")
    newer = replace(flow.put(HEADER + b"1,new\n"), uploaded_at=older.uploaded_at)
    load_all(flow, newer, older)
    assert rows(flow) == [(1, "new")]


def test_checksums_alone_do_not_identify_a_compressed_file(flow: Flow) -> None:
    flow.declare(PLAIN)
    one, two = (gzip.compress(HEADER + b"%d,name\n" % n, mtime=0) for n in (1, 2))
    first = flow.put(one, "things/a.csv.gz")
    second = replace(flow.put(two, "things/b.csv.gz"), crc32c=str(zlib.crc32(one)))
    assert first.size_bytes == second.size_bytes
    for each in (first, second):
        flow.split(each)
        flow.deliver()
    assert rows(flow) == [(1, "name"), (2, "name")]
