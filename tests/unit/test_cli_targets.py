"""Where the output of a command goes: files, links, pipes, devices, and what cannot be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import sluice
from sluice.cli.output import TargetError, save

if TYPE_CHECKING:
    from replay import Replay

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


DOWNLOADS = {
    "rows": ("GET /v1/datasets/trips/rows", ("rows", "trips", "--format", "csv", "-o")),
    "output": ("GET /v1/ingestions/7/output", ("output", "7", "-o")),
    "plot": ("GET /v1/datasets/trips/queries/weekly", ("query", "trips", "weekly", "--plot")),
}


@pytest.fixture(params=DOWNLOADS)
def download(api: Replay, request: pytest.FixtureRequest) -> Callable[[Path | str], Result]:
    """Run a command that downloads to a file."""
    route, arguments = DOWNLOADS[request.param]
    api.answer_bytes(route, TEXT, "text/csv")
    return lambda target: CliRunner().invoke(sluice, ["--url", api.url, *arguments, str(target)])


Download = Callable[[Path], Result]


def test_a_download_replaces_a_file_and_keeps_its_mode(download: Download, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text("old")
    path.chmod(0o640)
    result = download(path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (TEXT, 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_download_goes_through_a_link(download: Download, tmp_path: Path) -> None:
    path, link = tmp_path / "there", tmp_path / "link.svg"
    link.symlink_to(path)
    assert download(link).exit_code == 0
    assert link.is_symlink()
    assert path.read_bytes() == TEXT


def test_a_download_goes_into_a_pipe(download: Download, tmp_path: Path) -> None:
    path = tmp_path / "pipe.svg"
    os.mkfifo(path)
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(path.read_bytes)
        assert download(path).exit_code == 0
        assert reading.result(10) == TEXT
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("name", ["rows", "output"])
def test_a_download_goes_into_a_device(api: Replay, name: str) -> None:
    route, arguments = DOWNLOADS[name]
    api.answer_bytes(route, TEXT, "text/csv")
    run = ["--url", api.url, *arguments]
    assert CliRunner().invoke(sluice, [*run, os.devnull]).exit_code == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    result = CliRunner().invoke(sluice, [*run, "/dev/full"])
    assert result.exit_code == 4
    assert result.stderr == "Error: /dev/full: no space left on device; nothing is saved\n"


def test_a_download_into_a_missing_folder_is_an_error(download: Download, tmp_path: Path) -> None:
    result = download(tmp_path / "missing" / "a.svg")
    assert result.exit_code == 4
    assert "no such file or directory; create the folder first" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_output_leaves_the_file_as_it_was(api: Replay, tmp_path: Path) -> None:
    api.refuse("GET /v1/ingestions/7/output", 404, "API305", "ingestion 7 has no output")
    path = tmp_path / "totals.csv"
    path.write_text("old")
    result = CliRunner().invoke(sluice, ["--url", api.url, "output", "7", "-o", str(path)])
    assert result.exit_code == 2
    assert result.stderr == "Error: ingestion 7 has no output (API305)\n"
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


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
