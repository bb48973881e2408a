"""Every code block of the README and every example of the docs runs unchanged on the local cloud, in order.

Only ingestion 1 is replaced by one of this test. The loads are undone at the end, because other tests use
the same local cloud.

Blocks of `sh` and `python` run, others show output. A comment before a block changes that: `not run by
the test: REASON`, or `runs until it is stopped`.
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
SAMPLES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: The examples, with the file that each is given. `upload_in_pieces.py` has a test of its own.
EXAMPLES = {
    "upload.py": ["saturday.csv"],
    "upload.sh": ["tuesday.csv"],
    "subscribe.py": ["sunday.csv"],
    "post_rows.sh": [],
}
HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"
ROW = "{},POINT (4.36 52.01),POINT (4.35 52.0),2018-05-28 09:03:40,readme\n"
SECONDS_LIMIT = 60
RUNNING_S = 3

#: The blocks run in order, on one worker.
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

    def command_with(self, ingestion: int) -> list[str]:
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
    """A folder with the files that the README names, each with different content."""
    made = tmp_path_factory.mktemp("readme")
    for number, name in enumerate(SAMPLES, 1):
        (made / f"{name}.csv").write_text(HEADER + ROW.format(f"Delft {name}") * number)
    return made


@pytest.fixture(scope="module")
def environment(local_cloud: Cloud) -> Mapping[str, str]:
    """The shell of the README: `sluice` on the path, and the variables of `sluice env`."""
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
            if each.object in ours or each.object.startswith(("trips/rows/", "prices/")):
                opened.undo(each.id)


@pytest.fixture(scope="module")
def ingestion(client: Client, folder: Path) -> int:
    """The ingestion that replaces ingestion 1 of the README: done, with a reject."""
    path = folder / "first.csv"
    path.write_text(HEADER + ROW.format("Delft first") + "Delft,here,there,now,\n")
    return client.load(path, "trips").id


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_of_the_readme_runs(
    block: Block, environment: Mapping[str, str], folder: Path, ingestion: int
) -> None:
    if block.missing_tools:
        pytest.skip(f"needs {', '.join(block.missing_tools)} of the Cloud SDK")
    with subprocess.Popen(
        block.command_with(ingestion),
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str, environment: Mapping[str, str], folder: Path, client: Client
) -> None:
    path = ROOT / "docs" / "examples" / name
    program = [sys.executable, "-W", "error"] if path.suffix == ".py" else ["bash"]
    done = subprocess.run(
        [*program, str(path), *EXAMPLES[name]],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=SECONDS_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_example_is_left_out() -> None:
    found = {each.name for each in (ROOT / "docs" / "examples").iterdir() if each.is_file()}
    assert found == {*EXAMPLES, "deploy.yaml", "upload_in_pieces.py"}


def test_every_kind_of_upload_is_loaded(client: Client) -> None:
    expected = {
        f"Delft {name}": number
        for number, name in enumerate(SAMPLES, 1)
        if name != "monday" or shutil.which("gcloud")
    }
    for name in ("tuesday", "saturday", "sunday"):  # their examples do not wait
        for event in client.events(_newest(client, f"trips/{name}.csv")):
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
    assert len(RUN) > 9
