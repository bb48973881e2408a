"""Backups through the API: long-running work that reports its progress in lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sluice.client.errors import ConnectionLostError, OutageError, RefusedError
from sluice.documents.document import parse, read_json
from sluice.documents.ingestions import Problem

if TYPE_CHECKING:
    from sluice.client.transport import Transport

#: Called with `rows`, `size_bytes`, `parts` and `parts_total` so far.
Steps = Callable[[Mapping[str, Any]], None]


def no_steps(_: Mapping[str, Any]) -> None:
    """Ignore the steps."""


class Backups:
    """The backups of a Sluice; errors are those of `Client`.

    Args:
        transport: sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def make(
        self, datasets: Sequence[str] = (), kind: str = "avro", steps: Steps = no_steps
    ) -> dict[str, Any]:
        """Back up some datasets, or all, and return the backup when it is done."""
        body: dict[str, Any] = {"format": kind}
        if datasets:
            body["datasets"] = list(datasets)
        return self._follow("/v1/backups", {}, body, steps)

    def all(self) -> list[dict[str, Any]]:
        """Return the backups, the newest first."""
        found: list[dict[str, Any]] = self._transport.json("GET", "/v1/backups")["backups"]
        return found

    def find(self, backup: str) -> dict[str, Any]:
        """Return a backup."""
        return self._transport.json("GET", self._path(backup))

    def restore(
        self,
        backup: str,
        datasets: Sequence[str] = (),
        *,
        suffix: str | None = None,
        in_place: bool = False,
        steps: Steps = no_steps,
    ) -> list[dict[str, Any]]:
        """Restore some datasets of a backup, or all; return what was restored of each.

        Args:
            backup: its id.
            datasets: names; none for all.
            suffix: appended to the names of the copies; None for the default of the API, `2`.
            in_place: replace the present rows.
            steps: called with the progress.
        """
        body: dict[str, Any] = {"in_place": in_place}
        if datasets:
            body["datasets"] = list(datasets)
        if suffix is not None:
            body["suffix"] = suffix
        found = self._follow(f"{self._path(backup)}/restore", {}, body, steps)
        restored: list[dict[str, Any]] = found["restored"]
        return restored

    def compare(
        self, backup: str, datasets: Sequence[str] = (), suffix: str | None = None
    ) -> dict[str, Any]:
        """Return how datasets differ from their restored copies."""
        given = {"datasets": ",".join(datasets), "suffix": suffix}
        parameters = {name: value for name, value in given.items() if value}
        return self._follow(f"{self._path(backup)}/compare", parameters, None, no_steps)

    def _path(self, backup: str) -> str:
        return f"/v1/backups/{quote(backup, safe='')}"

    def _follow(
        self, path: str, parameters: Mapping[str, str], body: object, steps: Steps
    ) -> dict[str, Any]:
        """Send a request that is answered in lines; return the result in the last one.

        Raises:
            RefusedError, OutageError: the last line is a problem.
            ConnectionLostError: there is no last line.
        """
        accept = "application/x-ndjson"
        method = "GET" if body is None else "POST"
        with self._transport.stream(path, parameters, accept, method=method, body=body) as lines:
            for line in lines.lines():
                step = read_json(line)
                if step.get("progress"):
                    steps(step["progress"])
                if "problem" in step:
                    problem = parse(step["problem"], Problem)
                    raise OutageError(problem) if problem.status >= 500 else RefusedError(problem)
                if "done" in step:
                    done: dict[str, Any] = step["done"]
                    return done
        raise ConnectionLostError(path, "the answer broke off; the work may have gone on")
