"""Output on a terminal, and interruption by Ctrl-C: each command is a process."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from replay import Stream, event, ingestion, sse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from replay import Replay

REJECTED = {"read": 100, "loaded": 98, "rejected": 2, "duplicates": 0}


@pytest.fixture
def command(api: Replay, tmp_path: Path) -> list[str]:
    path = tmp_path / "march.csv"
    path.write_text("region\nPrague\n")
    api.stream(
        "GET /v1/ingestions",
        Stream((sse(event(1, "received"), of_all=True),), after=api.inbox.is_complete),
    )
    program = [sys.executable, "-m", "sluice.cli.main", "--url", api.url]
    return [*program, "load", str(path), "--dataset", "trips"]


def run_on_terminal(command: Sequence[str]) -> str:
    """Run a command whose stdout and stderr are a terminal and return what it wrote."""
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "240"}
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment):
        os.close(terminal)
        written = b""
        try:
            while block := os.read(main, 65536):
                written += block
        except OSError:  # how Linux signals the end of a terminal
            pass
    os.close(main)
    return written.decode()


def test_a_terminal_shows_a_bar_and_colours_and_its_cursor_is_restored(
    api: Replay, command: list[str]
) -> None:
    texts = (sse(event(1, "received")), sse(event(2, "done", account=REJECTED)))
    api.stream("GET /v1/ingestions/7/events", Stream(texts, end="end"))
    api.answer("GET /v1/ingestions/7", ingestion("done", account=REJECTED))
    api.answer("GET /v1/ingestions/7/rejects", {"rejects": [], "next": None})
    written = run_on_terminal(command)
    assert "━━━" in written
    assert "2 rejects" in written
    assert "\x1b[1m" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_an_interruption_exits_with_130_and_names_what_continues(
    api: Replay, command: list[str]
) -> None:
    api.stream("GET /v1/ingestions/7/events", Stream((sse(event(1, "received")),)))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as loading:
        while "received" not in loading.stderr.readline():
            pass
        loading.send_signal(signal.SIGINT)
        rest = loading.stderr.read()
    assert loading.returncode == 130
    assert "ingestion 7 continues in the background; `sluice watch 7` follows it" in rest
    assert "Traceback" not in rest


def test_an_interrupted_upload_says_that_nothing_is_loaded(api: Replay, command: list[str]) -> None:
    api.inbox.faults = dict.fromkeys(range(100), (503, 0))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as loading:
        while not api.inbox.ranges:
            assert loading.poll() is None
        loading.send_signal(signal.SIGINT)
        rest = loading.stderr.read()
    assert loading.returncode == 130
    assert "march.csv: not uploaded, nothing is loaded" in rest
