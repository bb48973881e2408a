"""The shell: how it calls `sluice`, and a reader that goes away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sluice.cli.options import as_called
from sluice.local.demo import STEPS, _steps
from sluice.local.shell import program

OURS = Path(sys.executable).with_name("sluice")


def test_a_command_on_path_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(OURS.parent))
    assert program() == "sluice"


def test_a_command_not_on_path_is_called_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(OURS.parents[1])
    assert program() == f"{OURS.parent.name}/sluice"
    monkeypatch.chdir(tmp_path)
    assert program() == str(OURS)


def test_another_sluice_on_path_is_not_taken_for_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sluice").write_text("#!/bin/sh\n")
    (tmp_path / "sluice").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program().endswith(f"{OURS.parent.name}/sluice")


def test_a_program_without_a_command_beside_it_is_called_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert program() == "sluice"


def test_advice_names_the_program_as_it_can_be_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(OURS.parents[1])
    text = "run `sluice up`, or `sluice retry 7`; `sluice` alone, sluice.toml and my sluice stay"
    assert as_called(text) == text
    monkeypatch.setenv("PATH", str(tmp_path))
    called = f"`{OURS.parent.name}/sluice "
    assert as_called(text) == text.replace("`sluice ", called)


def test_the_demo_ends_with_commands_that_work_unchanged() -> None:
    lines = _steps(".venv/bin/sluice", "http://localhost:9").splitlines()
    assert len(lines) == len(STEPS)
    assert lines[0].split("   ")[0].strip() == ".venv/bin/sluice query trips"
    assert any('eval "$(.venv/bin/sluice env)"' in line for line in lines)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_to_a_closed_pipe_stops_nothing(stream: str, tmp_path: Path) -> None:
    """As `sluice up | head -1` does: the rest of the start must not be lost with its lines."""
    script = (
        "import sys; from pathlib import Path; from sluice.local.shell import say\n"
        "for n in range(20_000): say('x' * 50, err=sys.argv[1] == 'stderr')\n"
        "Path(sys.argv[2]).write_text('reached')"
    )
    reached = tmp_path / "reached"
    command = [sys.executable, "-c", script, stream, str(reached)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        pipe = started.stdout if stream == "stdout" else started.stderr
        assert pipe is not None
        pipe.read(60)
        pipe.close()
        assert started.wait(30) == 0
    assert reached.read_text() == "reached"
