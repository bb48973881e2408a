"""Errors are printed as one sentence with an exit code; help starts quickly."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import sluice
from sluice.cli.reference import help_of

if TYPE_CHECKING:
    from replay import Replay

NOWHERE = "http://127.0.0.1:1"


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(sluice, ["--url", url, *arguments])


@pytest.mark.parametrize("command", [("rows", "trips"), ("watch",), ("ingestions",)], ids=str)
def test_an_unreachable_api_names_the_command_that_starts_it(command: tuple[str, ...]) -> None:
    result = run(NOWHERE, *command)
    assert result.exit_code == 4
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: nothing answers at {NOWHERE}; run `sluice up` to start the local cloud,"
        " or set SLUICE_URL to where Sluice runs\n"
    )


def test_an_unknown_command_without_the_api_may_be_a_verb() -> None:
    result = run(NOWHERE, "title", "Ganglands")
    assert result.exit_code == 2
    assert "'title' is not a built-in command" in result.stderr
    assert "run `sluice up`" in result.stderr


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (404, 2), (422, 2), (401, 4), (409, 4), (500, 4), (503, 4)]
)
def test_a_problem_document_becomes_its_detail(api: Replay, status: int, exit_code: int) -> None:
    api.refuse("GET /v1/datasets", status, "API300", "this is why")
    result = run(api.url, "datasets")
    assert result.exit_code == exit_code
    assert result.stderr.startswith("Error: this is why (API300)")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>", "text/html"), (b"[]", "application/json"), (b"{}", "application/json")],
    ids=["html", "list", "other object"],
)
def test_an_answer_that_is_not_of_the_api_is_reported(api: Replay, body: bytes, kind: str) -> None:
    api.answer_bytes("GET /v1/datasets", body, kind)
    result = run(api.url, "datasets")
    assert result.exit_code == 4
    assert "is SLUICE_URL the address of Sluice?" in result.stderr


def test_a_malformed_url_is_reported() -> None:
    assert "nonsense: is not an http address" in run("nonsense", "datasets").stderr


def test_a_member_that_is_missing_is_reported(api: Replay) -> None:
    api.answer("GET /v1/ingestions", {"ingestions": [{"id": 7}], "next": None})
    result = run(api.url, "ingestions")
    assert result.exit_code == 4
    assert "answered ingestions[0].dataset: is missing" in result.stderr


def test_a_bug_is_reported_without_a_traceback(
    api: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.client.Client.ingestions", lambda *_, **__: {}["state"])
    result = run(api.url, "ingestions")
    assert result.exit_code == 4
    assert "unexpected KeyError: 'state'; this is a bug" in result.stderr
    assert "Traceback" not in result.output


def test_the_token_goes_to_the_api(api: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_TOKEN", "secret")
    api.answer("GET /v1/datasets", {"datasets": []})
    run(api.url, "datasets")
    assert api.requests[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("name", sorted(sluice.commands))
def test_every_command_has_a_summary_and_takes_json(name: str) -> None:
    command = sluice.commands[name]
    assert command.help
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in commands:
        options = {option for parameter in each.params for option in parameter.opts}
        assert "--json" in options or name in ("up", "down")


@pytest.mark.parametrize("name", sorted(set(sluice.commands) - {"up", "down", "status", "env"}))
def test_every_command_shows_an_example(name: str) -> None:
    assert f"  sluice {name}" in help_of(name)


def test_help_imports_neither_the_client_nor_rich() -> None:
    program = (
        "import sys; from sluice.cli.main import sluice\n"
        "try: sluice(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('httpx', 'msgspec', 'rich', 'sqlalchemy', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
