"""A local cloud whose functions are measured: peak memory of each process, and the limits of Terraform."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
from sqlalchemy import Connection, Engine, text

from sluice.local.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice.local.cloud import Cloud

_UNITS = {"Mi": 1024**2, "Gi": 1024**3}
_FINAL = ("done", "failed", "skipped")
_POLL_S = 0.05


def memory_limits() -> Mapping[str, int]:
    """Return the memory of each function in bytes, as Terraform deploys it."""
    source = (CHECKOUT / "terraform/module/functions.tf").read_text()
    found = re.findall(r'^    (\w+) = \{\n      memory += "(\d+)(Mi|Gi)"', source, re.MULTILINE)
    return {name: int(number) * _UNITS[unit] for name, number, unit in found}


@dataclass(frozen=True)
class Ended:
    """How an ingestion ended.

    Attributes:
        end: `done`, `skipped`, or the code of the problem.
    """

    end: str
    records_read: int
    rows_loaded: int
    rows_rejected: int
    duplicates: int
    detail: str


@dataclass(frozen=True)
class Measured:
    """What a case took.

    Attributes:
        end: state or code of the problem of a file, status of a request.
        peaks: of the resident memory of each function, in bytes.
    """

    case: str
    took_s: float
    end: str
    peaks: Mapping[str, int]

    def __str__(self) -> str:
        peaks = ", ".join(f"{name} {size >> 20}" for name, size in self.peaks.items())
        return f"{self.case}: {self.end}, {self.took_s:.1f} s, MiB at most: {peaks}"


class Processes:
    """The instances of the functions."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._pids = self._running()

    def _running(self) -> dict[str, tuple[int, ...]]:
        """Return the processes of each instance: gunicorn's arbiter and its worker."""
        found = {}
        for each in self._cloud.instances():
            arbiter = psutil.Process(int(str(each["pid"])))
            workers = (child.pid for child in arbiter.children(recursive=True))
            found[str(each["name"]).rpartition("-")[0]] = (arbiter.pid, *workers)
        return found

    def port(self, function: str) -> int:
        """Return where an instance of a function listens."""
        command = psutil.Process(self._pids[function][0]).cmdline()
        return int(command[command.index("--port") + 1])

    def reset_peaks(self) -> None:
        """Let the peaks count from here, by proc(5): 5 resets the high water mark of a process."""
        for pid in itertools.chain.from_iterable(self._pids.values()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks(self) -> Mapping[str, int]:
        """Return the peak of the resident memory of each function since then, in bytes.

        Raises:
            AssertionError: an instance ended.
        """
        assert self._running() == self._pids, "an instance of a function was restarted"
        return {name: sum(map(_peak_bytes, pids)) for name, pids in self._pids.items()}

    def beyond_limit(self) -> Mapping[str, int]:
        """Return the peaks of the functions that exceeded their memory."""
        limits = memory_limits()
        return {name: peak for name, peak in self.peaks().items() if peak >= limits[name]}


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def upload(cloud: Cloud, name: str, data: bytes) -> None:
    """Put an object into the inbox; its notification starts split."""
    httpx.post(
        f"{cloud.storage.url}/upload/storage/v1/b/inbox/o",
        params={"uploadType": "media", "name": name},
        content=data,
        timeout=120,
    ).raise_for_status()


def wait_for_end(engine: Engine, name: str, within_s: float) -> Ended:
    """Wait until the ingestion of an object has ended.

    Raises:
        AssertionError: it has not ended in time, or an attempt failed and is repeated.
    """
    deadline = time.monotonic() + within_s
    found: Any = None
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT * FROM sluice.ingestions WHERE object = :name"), {"name": name}
            ).one_or_none()
            if found is not None:
                attempts = _failed_attempts(connection, found.id)
                assert not attempts, f"{name}: {attempts}"
                if found.state in _FINAL:
                    return _ended(found)
        time.sleep(_POLL_S)
    raise AssertionError(f"{name} did not end within {within_s:.0f} s: {found}")


def _failed_attempts(connection: Connection, ingestion: int) -> list[str]:
    """Return the problems of attempts that failed and are repeated."""
    return list(
        connection.execute(
            text(
                "SELECT step || ': ' || coalesce(problem ->> 'detail', 'no answer')"
                " FROM sluice.failed_attempts WHERE ingestion = :id AND problem IS NOT NULL"
            ),
            {"id": ingestion},
        ).scalars()
    )


def _ended(found: Any) -> Ended:
    problem = found.problem or {}
    return Ended(
        end=str(problem.get("code", "")) if found.state == "failed" else found.state,
        records_read=found.records_read,
        rows_loaded=found.rows_loaded,
        rows_rejected=found.rows_rejected,
        duplicates=found.duplicates,
        detail=str(problem.get("detail", "")),
    )
