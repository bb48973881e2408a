"""Every command in the operations manual names what there is, in a command line or the configuration."""

from __future__ import annotations

import functools
import re
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from sluice.cli.main import sluice
from sluice.local.topology import SUBSCRIPTIONS

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "operations.md").read_text("utf-8")
CONFIGURATION = "\n".join(
    path.read_text("utf-8") for path in sorted((ROOT / "terraform").rglob("*.tf"))
)
VARIABLES = set(re.findall(r'^variable "(\w+)"', CONFIGURATION, re.MULTILINE))
OUTPUTS = set(re.findall(r'^output "(\w+)"', CONFIGURATION, re.MULTILINE))
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", MANUAL, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
#: Commands of gcloud that the manual uses, by https://cloud.google.com/sdk/gcloud/reference, and the
#: options that each takes there.
GCLOUD = {
    "auth application-default login": set(),
    "logging read": {"freshness"},
    "pubsub subscriptions pull": {"limit"},
    "pubsub subscriptions seek": {"time"},
    "run jobs execute": {"region", "wait"},
    "run jobs executions list": {"job", "region"},
    "scheduler jobs run": {"location"},
    "secrets versions access": {"secret"},
    "sql backups list": {"instance"},
    "sql backups restore": {"restore-instance"},
    "sql instances clone": {"point-in-time"},
}


def commands_of(program: str) -> list[list[str]]:
    found = [shlex.split(line, comments=True) for line in COMMANDS]
    return [words for words in found if words[0] == program]


def test_the_manual_uses_no_other_programs() -> None:
    known = {
        "sluice", "terraform", "gcloud", "git", "cd", "eval", ".venv/bin/python", "terraform/bootstrap.sh",
    }  # fmt: skip
    programs = {shlex.split(line)[0] for line in COMMANDS}
    assert programs - known == {"$(terraform"}


@pytest.mark.parametrize("words", commands_of("sluice"), ids=" ".join)
def test_the_command_line_takes_what_the_manual_says(words: list[str]) -> None:
    root = sluice.make_context("sluice", words[1:])
    name, command, rest = sluice.resolve_command(root, words[1:])
    assert name is not None
    assert command is not None
    command.make_context(name, rest, parent=root)


@pytest.mark.parametrize("words", commands_of("terraform"), ids=" ".join)
def test_terraform_is_given_variables_and_addresses_that_there_are(words: list[str]) -> None:
    assert words[1] in {"init", "plan", "apply", "destroy", "output"}
    text = " ".join(words)
    assert set(re.findall(r"-var (\w+)=", text)) <= VARIABLES
    for kind, name in re.findall(r"-replace=module\.sluice\.(\w+)\.(\w+)", text):
        assert f'resource "{kind}" "{name}"' in CONFIGURATION


def test_outputs_are_those_of_the_configuration() -> None:
    asked = set(re.findall(r"output -(?:raw|json) (\w+)", MANUAL + _read("cloudbuild.yaml")))
    assert asked
    assert asked <= OUTPUTS


@pytest.mark.parametrize("words", commands_of("gcloud"), ids=" ".join)
def test_gcloud_is_given_commands_and_options_that_it_has(words: list[str]) -> None:
    line = " ".join(words[1:])
    (known,) = (each for each in GCLOUD if line.startswith(each))
    assert set(re.findall(r"(?<= )--([a-z-]+)", line)) <= GCLOUD[known]


@pytest.mark.cloud_sdk
@pytest.mark.parametrize("command", GCLOUD)
def test_gcloud_says_the_same_of_itself(command: str) -> None:
    node = _completions()["commands"]
    *groups, last = command.split()
    for each in groups:
        node = node[each]["commands"]
    assert {f"--{each}" for each in GCLOUD[command]} <= set(node[last]["flags"])


@functools.cache
def _completions() -> dict[str, Any]:
    """Return the table of commands that the Cloud SDK has for shells that complete words."""
    gcloud = Path(shutil.which("gcloud") or "").resolve()
    path = gcloud.parents[1] / "data" / "cli" / "gcloud_completions.py"
    names: dict[str, Any] = runpy.run_path(str(path))
    tree: dict[str, Any] = names["STATIC_COMPLETION_CLI_TREE"]
    return tree


def test_gcloud_is_given_names_of_the_configuration() -> None:
    named = {
        "jobs": set(re.findall(r"run jobs execute (\S+)|--job=(\S+)", MANUAL)),
        "subscriptions": set(re.findall(r"pubsub subscriptions \w+ (\S+)", MANUAL)),
        "clock": set(re.findall(r"scheduler jobs run (\S+)", MANUAL)),
        "instances": set(re.findall(r"--(?:restore-)?instance=(\S+)", MANUAL)),
        "secrets": set(re.findall(r"--secret=(\S+)", MANUAL)),
    }
    assert {name for pair in named["jobs"] for name in pair if name} == {"migrate"}
    assert named["subscriptions"] <= {each.name for each in SUBSCRIPTIONS}
    assert named["clock"] == {"sluice-recovery"}
    assert named["instances"] == {"sluice"}
    assert named["secrets"] == {"sluice-token"}
    assert re.search(r'name += "\$\{local.prefix\}migrate"', CONFIGURATION)
    assert re.search(r'name += "\$\{local.prefix\}sluice"', CONFIGURATION)
    assert 'name             = "${local.prefix}sluice-${each.key}"' in CONFIGURATION
    assert '{ token = "${local.prefix}sluice-token" }' in CONFIGURATION


def test_every_alert_is_in_the_manual_and_no_other() -> None:
    declared = set(re.findall(r'^      title += "(.+)"$', CONFIGURATION, re.MULTILINE))
    section = MANUAL.partition("## Alerts")[2].partition("```")[0]
    documented = set(re.findall(r"^\| ([A-Z][^|]+?) \|", section, re.MULTILINE)) - {"Alert"}
    assert declared == documented


def test_what_an_alert_refers_to_is_there() -> None:
    titles = set(re.findall(r"^## (.+)$", MANUAL, re.MULTILINE))
    assert set(re.findall(r"see \*([^*]+)\*", MANUAL)) <= titles
    assert set(re.findall(r"section '([^']+)' of", CONFIGURATION)) <= titles


def _read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")
