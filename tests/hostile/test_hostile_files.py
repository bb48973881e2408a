"""Hostile files end in time, with a documented outcome, and no function exceeds its memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hostile_cloud import Ended, Processes, upload, wait_for_end
from hostile_file import DONE, IGNORED, HostileFile
from hostile_files import FILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from sluice.local.cloud import Cloud

_IGNORED_AFTER_S = 2.0


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(each, id=each.name, marks=[] if each.is_quick else pytest.mark.hostile)
        for each in FILES
    ],
)
def test_a_hostile_file_ends_within_the_memory_of_each_function(
    hostile_cloud: Cloud,
    database_engine: Engine,
    declared: Callable[[str], None],
    processes: Processes,
    file: HostileFile,
    record_property: Callable[[str, str], None],
) -> None:
    declared(file.dataset)
    upload(hostile_cloud, file.object_name, file.content())
    if file.end == IGNORED:
        time.sleep(_IGNORED_AFTER_S)
    else:
        found = wait_for_end(database_engine, file.object_name, file.within_s)
        record_property("end", found.end)
        _check_end(found, file)
    assert not processes.beyond_limit()


def _check_end(found: Ended, file: HostileFile) -> None:
    is_repeated = found.end == "skipped" and file.end == DONE  # another file has the same content
    assert found.end == file.end or is_repeated, found
    if found.end == DONE:
        account = found.rows_loaded + found.rows_rejected + found.duplicates
        assert found.records_read == account, found
        assert file.loaded in (None, found.rows_loaded), found
