"""Where the output of a command goes: files, links, pipes, devices, and what cannot be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluice.cli.output import TargetError, save

BLOCKS = (b"a,b\n", b"1,2\n")
TEXT = b"a,b\n1,2\n"


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    save(BLOCKS, str(tmp_path / "new.csv"))
    (tmp_path / "other").touch()
    assert (tmp_path / "new.csv").read_bytes() == TEXT
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(0o640)
    save(BLOCKS, str(path))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (TEXT, 0o640)


@pytest.mark.parametrize("exists", [True, False], ids=["file", "dangling"])
def test_a_link_leads_to_its_file(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "there").mkdir()
    path, link = tmp_path / "there" / "a.csv", tmp_path / "link"
    if exists:
        path.write_text("old")
    link.symlink_to(path)
    save(BLOCKS, str(link))
    assert link.is_symlink()
    assert path.read_bytes() == TEXT


def test_all_names_of_a_file_show_what_is_written(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("old")
    os.link(path, other)
    save(BLOCKS, str(path))
    assert other.read_bytes() == TEXT


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    save(BLOCKS, str(path))
    reader.join(10)
    assert found == [TEXT]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_a_device() -> None:
    save(BLOCKS, os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_file_is_kept_if_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fails() -> object:
        yield b"a"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        save(fails(), str(path))  # type: ignore[arg-type]
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/dev/full", "/dev/full: no space left on device"),
        ("missing/a.csv", "no such file or directory; create the folder first"),
        ("file/a.csv", "not a directory"),
    ],
)
def test_what_cannot_be_written_is_an_error_with_its_reason(
    tmp_path: Path, target: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetError) as raised:
        save(BLOCKS, str(tmp_path / target))
    assert reason in raised.value.message
    assert raised.value.exit_code == 4


def _command(stdout: int) -> subprocess.CompletedProcess[bytes]:
    code = (
        "import click; from sluice.cli.main import sluice\n"
        "@sluice.command()\n"
        "def many():\n"
        "    for n in range(100_000): click.echo(n)\n"
        "sluice(['many'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60
    )


def test_a_closed_pipe_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = _command(writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_an_error_with_its_reason() -> None:
    with Path("/dev/full").open("wb") as full:
        done = _command(full.fileno())
    assert (done.returncode, done.stderr) == (4, b"Error: output: no space left on device\n")
