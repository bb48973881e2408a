"""Errors of the local cloud, each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import PermanentError

if TYPE_CHECKING:
    from pathlib import Path

LOG_LINES = 15


class LocalCloudError(PermanentError):
    """The local cloud cannot start."""

    code = "SYS910"
    title = "The local cloud cannot start"


class PortBusyError(LocalCloudError):
    """Another program listens on a port that the local cloud needs."""

    code = "SYS911"
    title = "A port is busy"

    def __init__(self, part: str, port: int, option: str) -> None:
        super().__init__(
            f"{part}: port {port} is used by another program;"
            f" end that program or choose another port with {option}",
            part=part,
            port=port,
            option=option,
        )


class PartFailedError(LocalCloudError):
    """A part of the local cloud ended, or did not become ready."""

    code = "SYS912"
    title = "A part of the local cloud failed"

    def __init__(self, part: str, what: str, log: Path) -> None:
        super().__init__(f"{part}: {what}; the end of {log}:\n{_tail(log)}", part=part)


class MissingPartError(LocalCloudError):
    """A program that an option asks for is not installed."""

    code = "SYS913"
    title = "A program is not installed"


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
