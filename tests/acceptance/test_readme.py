"""Every command and code block of the README runs as it stands there, in its order, on the local cloud.

Only where it says ingestion 1, one of this test's own is meant. What it loads is taken back at the end,
because other tests use the same local cloud.

A block of `sh` or `python` runs; one of another language shows something. A comment before a block
says otherwise: `not run by the test: why`, or `runs until it is stopped`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sluice.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sluice.local.cloud import Cloud

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]+) -->\n)?^```(?P<language>sh|python)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
GOOGLE_TOOLS = ("gcloud", "gsutil")
SAMPLES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "holiday")
HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"
ROW = "{},POINT (4.36 52.01),POINT (4.35 52.0),2018-05-28 09:03:40,readme\n"
SECONDS_LIMIT = 60
RUNNING_S = 3

#: The blocks follow one another, on one worker.
pytestmark = pytest.mark.xdist_group("readme")


@dataclass(frozen=True)
class Block:
    """One block of code of the README."""

    line: int
    language: str
    code: str
    note: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.code.splitlines()[0]}"

    @property
    def is_run(self) -> bool:
        return not self.note.startswith("not run by the test")

    @property
    def is_endless(self) -> bool:
        return self.note == "runs until it is stopped"

    @property
    def missing_tools(self) -> list[str]:
        needed = [each for each in GOOGLE_TOOLS if re.search(rf"^{each} ", self.code, re.MULTILINE)]
        return [each for each in needed if not shutil.which(each)]

    def command_about(self, ingestion: int) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-W", "error", "-c", self.code]
        code = re.sub(r"^(sluice \w+) 1$", rf"\1 {ingestion}", self.code, flags=re.MULTILINE)
        return ["bash", "-euo", "pipefail", "-c", code]


def blocks() -> list[Block]:
    text = (ROOT / "README.md").read_text("utf-8")
    return [
        Block(
            line=text.count("\n", 0, found.start("code")) + 1,
            language=found["language"],
            code=found["code"],
            note=found["note"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


RUN = [each for each in blocks() if each.is_run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README speaks of, each with a content of its own."""
    made = tmp_path_factory.mktemp("readme")
    for number, name in enumerate(SAMPLES, 1):
        (made / f"{name}.csv").write_text(HEADER + ROW.format(f"Delft {name}") * number)
    (made / "plays.csv").write_text("Song,Date,Number of Plays\nReadme,2020-01-01,3\n")
    return made


@pytest.fixture(scope="module")
def environment(local_cloud: Cloud) -> Mapping[str, str]:
    """The shell of the README: `sluice` at hand, and what `eval "$(sluice env)"` brings."""
    given = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "shared"),
        "SLUICE_STATE": str(local_cloud.state.root),
    }
    script = 'eval "$("$0" -m sluice.cli.main env)" && env -0'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        env=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(each.split("=", 1) for each in done.stdout.split("\0") if each)


@pytest.fixture(scope="module")
def client(local_cloud: Cloud) -> Iterator[Client]:
    with Client(local_cloud.url) as opened:
        yield opened
        for each in opened.subscriptions():
            if "localhost:9000" in each.endpoint:
                opened.unsubscribe(each.id)
        ours = {f"trips/{name}.csv" for name in SAMPLES}
        for each in opened.ingestions(state="done", limit="1000"):
            if each.object in ours or each.object.startswith("trips/rows/"):
                opened.undo(each.id)


@pytest.fixture(scope="module")
def ingestion(client: Client, folder: Path) -> int:
    """The ingestion that stands for the README's ingestion 1: done, with a reject."""
    path = folder / "first.csv"
    path.write_text(HEADER + ROW.format("Delft first") + "Delft,here,there,now,\n")
    return client.load(path, "trips").id


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_of_the_readme_runs(
    block: Block, environment: Mapping[str, str], folder: Path, ingestion: int
) -> None:
    if block.missing_tools:
        pytest.skip(f"needs {', '.join(block.missing_tools)} of Google's Cloud SDK")
    with subprocess.Popen(
        block.command_about(ingestion),
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            output, _ = running.communicate(
                timeout=RUNNING_S if block.is_endless else SECONDS_LIMIT
            )
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            output, _ = running.communicate()
            assert block.is_endless, output
            return
    assert not block.is_endless, output
    assert running.returncode == 0, output


def test_every_way_to_upload_ended_in_rows(client: Client) -> None:
    tools = {"monday": "gcloud", "tuesday": "gsutil"}
    expected = {
        f"Delft {name}": number
        for number, name in enumerate(SAMPLES, 1)
        if name not in tools or shutil.which(tools[name])
    }
    # The one that nobody waited for is announced a moment later.
    for event in client.events(_newest(client, "trips/saturday.csv")):
        if event.is_final:
            break
    found = client.rows("trips", {"group": "region", "measure": "count", "region": "like.Delft *"})
    counts = {row["region"]: row["count"] for row in found}
    assert {name: counts.get(name) for name in expected} == expected


def _newest(client: Client, name: str) -> int:
    return next(each.id for each in client.ingestions() if each.object == name)


def test_the_two_commands_are_targets_of_make() -> None:
    for target in ("demo", "test"):
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_few_blocks_are_not_run() -> None:
    left_out = [str(each) for each in blocks() if not each.is_run]
    assert len(left_out) == 2, left_out
    assert len(RUN) > 12
