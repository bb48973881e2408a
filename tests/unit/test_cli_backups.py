"""`sluice backup`, `backups`, `restore`, `compare`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from sluice.cli.main import sluice

if TYPE_CHECKING:
    from replay import Replay

BACKUP = {
    "id": "20260102T030405Z-a1b2c3",
    "state": "done",
    "format": "avro",
    "rows": 7,
    "size_bytes": 1_500_000,
    "datasets": [{"name": "jobs", "rows": 7, "size_bytes": 1_500_000, "parts": 1}],
    "problem": None,
}
PATH = f"/v1/backups/{BACKUP['id']}"
RESTORED = {"backup": BACKUP["id"], "restored": [{"dataset": "jobs", "into": "jobs2", "rows": 7}]}
STEP = {"backup": "b", "rows": 3, "size_bytes": 9, "parts": 1, "parts_total": 2}


def run(api: Replay, *arguments: object) -> Result:
    return CliRunner().invoke(sluice, ["--url", api.url, *map(str, arguments)])


def answer_lines(api: Replay, route: str, *steps: object) -> None:
    body = b"".join(json.dumps(step).encode() + b"\n" for step in steps)
    api.answer_bytes(route, body, "application/x-ndjson")


def test_a_finished_backup_is_reported(api: Replay) -> None:
    answer_lines(api, "POST /v1/backups", {"progress": STEP}, {"progress": None}, {"done": BACKUP})
    result = run(api, "backup", "jobs", "--format", "parquet")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "name  rows  size_bytes  parts",
        "jobs     7     1500000      1",
        "backup 20260102T030405Z-a1b2c3: 7 rows, 1.5 MB",
    ]
    assert api.requests[0].json == {"format": "parquet", "datasets": ["jobs"]}


def test_a_failed_backup_sets_the_exit_code(api: Replay) -> None:
    refused = {"code": "API330", "title": "x", "status": 422, "detail": "a part is missing"}
    answer_lines(api, f"POST {PATH}/restore", {"progress": STEP}, {"problem": refused})
    result = run(api, "restore", BACKUP["id"])
    assert (result.exit_code, result.stderr) == (2, "Error: a part is missing (API330)\n")
    broken = {**refused, "status": 503, "code": "SYS904", "detail": "out of order"}
    answer_lines(api, "POST /v1/backups", {"problem": broken})
    assert run(api, "backup").exit_code == 4


def test_a_truncated_answer_is_a_failure(api: Replay) -> None:
    answer_lines(api, "POST /v1/backups", {"progress": STEP})
    result = run(api, "backup")
    assert result.exit_code == 4
    assert "broke off" in result.stderr


def test_the_newest_finished_backup_is_restored(api: Replay) -> None:
    running = {**BACKUP, "id": "20260103T000000Z-aaaaaa", "state": "running"}
    api.answer("GET /v1/backups", {"backups": [running, BACKUP]})
    answer_lines(api, f"POST {PATH}/restore", {"done": RESTORED})
    result = run(api, "restore", "newest", "jobs", "--suffix", "_old")
    assert result.stdout.splitlines() == ["dataset  into   rows", "jobs     jobs2     7"]
    assert api.requests[1].json == {"in_place": False, "datasets": ["jobs"], "suffix": "_old"}
    assert run(api, "restore", "newest", "--in-place", "--suffix", "2").exit_code == 2
    assert json.loads(run(api, "restore", "newest", "--json").stdout) == RESTORED


def test_backups_are_listed_with_their_state(api: Replay) -> None:
    failed = {**BACKUP, "state": "failed", "problem": {"detail": "out of order"}}
    api.answer("GET /v1/backups", {"backups": [BACKUP, failed]})
    first, second = run(api, "backups").stdout.splitlines()[1:]
    assert "done" in first
    assert second.endswith("out of order")


def test_a_difference_is_shown_with_exit_code_3(api: Replay) -> None:
    found = {
        "dataset": "jobs", "copy": "jobs2", "equal": False, "rows": 7, "rows_of_copy": 8,
        "only_here": 0, "only_there": 1, "sample_here": [],
        "sample_there": [{"id": 9, "job": "Nurse", "_times": 1}],
    }  # fmt: skip
    answer = {"backup": BACKUP["id"], "equal": False, "datasets": [found]}
    answer_lines(api, f"GET {PATH}/compare", {"done": answer})
    result = run(api, "compare", BACKUP["id"], "jobs")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-3:] == [
        "only in jobs2; _times is the number of occurrences",
        "id  job    _times",
        " 9  Nurse       1",
    ]
    answer_lines(api, f"GET {PATH}/compare", {"done": {**answer, "equal": True, "datasets": []}})
    assert run(api, "compare", BACKUP["id"]).exit_code == 0
