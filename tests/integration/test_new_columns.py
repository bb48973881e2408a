"""Columns of a file that its dataset does not have: refused, ignored, added, rescued."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from flow import THINGS, Flow

from sluice.documents.ingestions import State
from sluice.errors import DeclarationError
from sluice.ingestion.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS: Mapping[str, Any] = {"name": "box", "columns": THINGS["columns"][:2]}
FILE = b"weight,id,note,name\n" + b"".join(
    b'%d.5,%d,"a ""note"", %d",thing %d\n' % (n, n, n, n) for n in range(1, 31)
)


@pytest.mark.flow(declared=None)
@pytest.mark.parametrize("chunk_bytes", [64, 1024 * 1024], ids=["chunks", "group commit"])
class TestNewColumns:
    """Each policy, for files that are split and for files of a group commit."""

    @pytest.fixture
    def box(self, database: str, chunk_bytes: int) -> Any:
        flow = Flow(database, chunk_bytes=chunk_bytes)
        yield flow
        flow.close()

    def test_they_are_refused_by_default(self, box: Flow) -> None:
        box.declare(COLUMNS)
        assert box.state(box.run(FILE, "box/a.csv")) == State.FAILED

    def test_they_can_be_ignored(self, box: Flow) -> None:
        box.declare(COLUMNS, new_columns="ignore")
        assert box.account(box.run(FILE, "box/a.csv")) == (30, 30, 0)
        assert box.one("SELECT * FROM box WHERE id = 7")[:2] == (7, "thing 7")

    def test_they_can_be_added(self, box: Flow) -> None:
        box.declare(COLUMNS, new_columns="add")
        assert box.account(box.run(FILE, "box/a.csv")) == (30, 30, 0)
        found = box.one("SELECT weight, note FROM box WHERE id = 7")
        assert (str(found.weight), found.note) == ("7.5", 'a "note", 7')

    def test_they_can_be_rescued(self, box: Flow) -> None:
        box.declare(COLUMNS, rescue=True)
        assert box.account(box.run(FILE, "box/a.csv")) == (30, 30, 0)
        found = box.one('SELECT "_rescued" AS rescued FROM box WHERE id = 7').rescued
        assert json.loads(found) == {"weight": "7.5", "note": 'a "note", 7'}

    def test_nothing_is_rescued_of_a_file_that_has_no_other_columns(self, box: Flow) -> None:
        box.declare(COLUMNS, rescue=True)
        assert box.account(box.run(b"id,name\n" + b"1,a\n" * 20, "box/a.csv")) == (20, 20, 0)
        assert box.one('SELECT count("_rescued") AS n FROM box').n == 0

    def test_rescued_cells_load_back(self, box: Flow) -> None:
        box.declare(COLUMNS, rescue=True)
        data = b'id,name,_rescued\n1,a,"{""b"": ""c""}"\n' + b"2,a,\n" * 20
        assert box.account(box.run(data, "box/a.csv")) == (21, 21, 0)
        assert box.one('SELECT "_rescued" AS r FROM box WHERE id = 1').r == '{"b": "c"}'

    def test_fields_after_the_last_column_can_be_rescued(self, box: Flow) -> None:
        box.declare(COLUMNS, rescue=True, ragged="rescue")
        rows = b"1,a,x,y\n2,b\n3\n" + b'4,d,,"y, ""z""",z\n5,e,,,\n' + b"6,f,\n" * 20
        done = box.run(b"id,name,note\n" + rows, "box/a.csv")
        assert box.account(done) == (25, 25, 0)
        assert verify(box.env("intake"), done).verified
        found = box.all('SELECT id, "_rescued" AS rescued FROM box WHERE id < 6 ORDER BY id')
        assert [each.rescued and json.loads(each.rescued) for each in found] == [
            {"note": "x", "column_4": "y"},
            None,
            None,
            {"column_4": 'y, "z"', "column_5": "z"},
            None,
        ]

    def test_a_file_with_rescued_cells_has_no_place_for_others(self, box: Flow) -> None:
        box.declare(COLUMNS, rescue=True, ragged="rescue")
        done = box.run(b"id,name,_rescued\n1,a,b,c\n" + b"2,a,\n" * 20, "box/a.csv")
        assert box.account(done) == (21, 20, 1)


@pytest.mark.flow(declared=None)
@pytest.mark.parametrize("changes", [{"header": False}, {"new_columns": "add"}], ids=str)
def test_rescuing_needs_names_and_no_other_policy(flow: Flow, changes: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="rescue"):
        flow.declare(COLUMNS, rescue=True, **changes)


@pytest.mark.flow(declared=None)
@pytest.mark.parametrize("chunk_bytes", [64, 1024 * 1024], ids=["chunks", "group commit"])
def test_a_value_of_another_type_may_fail_its_file(database: str, chunk_bytes: int) -> None:
    flow = Flow(database, chunk_bytes=chunk_bytes)
    flow.declare(COLUMNS, unfitting="fail")
    rows = b"".join(b"%d,a\n" % n for n in range(1, 31))
    failed = flow.run(b"id,name\n" + rows + b"many,b\n", "box/a.csv")
    assert flow.state(failed) == State.FAILED
    problem = flow.ingestion(failed).problem
    assert problem["code"] == "CSV106"
    assert "line 32" in problem["detail"]
    assert [each.line for each in flow.rejects(failed)] == [32]
    broken = flow.run(b"id,name\n" + rows + b'31,"b" c\n', "box/b.csv")
    assert flow.account(broken) == (31, 30, 1)
    assert flow.state(broken) == State.DONE
    flow.close()


@pytest.mark.flow(declared=None)
def test_fields_are_rescued_only_into_a_column(flow: Flow) -> None:
    with pytest.raises(DeclarationError, match="rescue = true"):
        flow.declare(COLUMNS, ragged="rescue")
