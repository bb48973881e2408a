"""A backup keeps to what a restore accepts, or is not made."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from flow import HEADER, Flow, lines
from hypothesis import given, settings
from hypothesis import strategies as st
from test_backups import Backups, parts_of

from sluice.backups import backup as backup_module
from sluice.backups import manifest as manifest_module
from sluice.backups.backup import Progress
from sluice.backups.column_buffers import Numbers, Texts, Values, concatenate, pieces, size_of
from sluice.backups.manifest import MAX_PART_BYTES, Format
from sluice.errors import UnrestorableBackupError

MIB = 1024 * 1024


@pytest.fixture
def backups(flow: Flow) -> Backups:
    flow.run(HEADER + lines(1, 5))
    return Backups(flow)


def add_rows(backups: Backups, rows: int, characters: int) -> None:
    """Add rows whose names PostgreSQL stores in few bytes."""
    with backups.flow.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO store.things (id, name, kind, ingestion)"
            f" SELECT n, repeat('x', {characters}), 1, 1 FROM generate_series(6, {rows + 5}) AS n"
        )


@pytest.mark.parametrize("kind", Format)
def test_values_that_are_stored_in_few_bytes_are_divided_into_parts(
    backups: Backups, kind: Format
) -> None:
    add_rows(backups, 30, 5 * MIB)
    saved = backups.save(kind=kind)
    sizes = [part.rows for part in saved.datasets[0].tables[0].parts]
    assert sum(sizes) == 35
    assert len(sizes) == 3
    assert len(set(parts_of(saved))) == len(parts_of(saved))
    assert all(part.size_bytes <= MAX_PART_BYTES for part in saved.datasets[0].parts)
    backups.restore(backups.repository.manifest(saved.id))
    (found,) = backups.compare(saved)
    assert (found.rows, found.only_here, found.only_there) == (35, 0, 0)


def test_a_row_that_a_restore_would_refuse_fails_the_backup(
    backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_module, "MAX_ROW_BYTES", MIB)
    monkeypatch.setattr(backup_module, "_DECODED_BYTES", MIB)
    add_rows(backups, 1, 2 * MIB)
    with pytest.raises(UnrestorableBackupError, match="a row of dataset things has 2,0"):
        backups.save()
    check_failed(backups)


def test_a_manifest_that_a_restore_would_refuse_fails_the_backup_before_its_parts(
    backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_module, "MAX_MANIFEST_BYTES", 1000)
    with pytest.raises(UnrestorableBackupError, match="the manifest has more than 1,000 bytes"):
        backups.save()
    assert not [name for name in backups.store.objects if name.endswith(".avro")]
    check_failed(backups)


def test_restores_of_an_instance_take_turns(backups: Backups) -> None:
    saved = backups.save()
    steps: list[str] = []
    with ThreadPoolExecutor() as threads:
        waiting: list[Future[object]] = []

        def report_first(_: Progress) -> None:
            if not waiting:
                second = lambda _: steps.append("second")  # noqa: E731
                waiting.append(threads.submit(backups.restore, saved, suffix="3", report=second))
                time.sleep(0.5)  # long enough for the second to get there if it could
            steps.append("first")

        backups.restore(saved, report=report_first)
        waiting[0].result(timeout=60)
    assert steps == sorted(steps)
    assert set(steps) == {"first", "second"}


def check_failed(backups: Backups) -> None:
    assert not [name for name in backups.store.objects if name.endswith("manifest.json")]
    (found,) = backups.repository.backups(10)
    assert found.state == "failed"
    assert found.problem is not None
    assert found.problem["code"] == "API332"


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(), st.binary(max_size=60)), max_size=40), st.integers(1, 200))
def test_pieces_have_all_rows_in_order_and_the_size(
    rows: list[tuple[int, bytes]], max_bytes: int
) -> None:
    numbers = np.array([number % 1000 for number, _ in rows], np.int64)
    lengths = np.array([len(text) for _, text in rows], np.int64)
    data = np.frombuffer(b"".join(text for _, text in rows), np.uint8)
    values: list[Values] = [Numbers(numbers), Texts(data, np.cumsum(lengths) - lengths, lengths)]
    found = list(pieces(values, max_bytes))
    assert all(size_of(each) <= max_bytes or len(each[0]) == 1 for each in found)
    joined = [concatenate(list(each)) for each in zip(*found, strict=True)]
    assert [each.values.tolist() for each in joined if isinstance(each, Numbers)] == [
        numbers.tolist()
    ]
    for each in joined:
        if isinstance(each, Texts):
            assert each.packed()[0].tobytes() == data.tobytes()
            assert each.lengths.tolist() == lengths.tolist()
    for one in found:
        assert isinstance(one[1], Texts)
        packed, ends = one[1].packed()
        assert ends[-1] == len(packed) == one[1].lengths.sum()
