"""The real terraform on the configuration, with simulated providers that create nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]
#: The folder of the simulated providers, if it is not next to the checkout.
SIMULATOR_VARIABLE = "TERRAFORM_GOOGLE_SIM"
SIMULATOR = Path(
    os.environ.get(SIMULATOR_VARIABLE, CHECKOUT.parent / "shared/tools/terraform-google-sim")
)
TIMEOUT_S = 300


@dataclass(frozen=True)
class Resource:
    """A resource of the state or of a plan."""

    module: str
    type: str
    name: str
    key: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Terraform:
    """A copy of the configuration in a folder of its own."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command, *others = arguments
        done = subprocess.run(
            ["terraform", command, *(["-no-color"] if command not in ("output", "state") else []), *others],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False,
            timeout=TIMEOUT_S,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def resources(self, *shown: str) -> list[Resource]:
        """Return the resources of the state, or of the plan in a file."""
        document = json.loads(self.run("show", "-json", *shown).stdout)
        values = document["planned_values"] if shown else document["values"]
        return [
            Resource(module, each["type"], each["name"], str(each.get("index", "")), each["values"])
            for module, each in _in_module(values["root_module"])
        ]

    def actions(self, plan: str) -> dict[str, tuple[str, ...]]:
        """Return what a plan in a file does to each resource that it changes, by address."""
        document = json.loads(self.run("show", "-json", plan).stdout)
        done = {
            each["address"]: tuple(each["change"]["actions"])
            for each in document["resource_changes"]
        }
        return {
            address: each for address, each in done.items() if each not in (("no-op",), ("read",))
        }


def _in_module(module: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((module.get("address", ""), each) for each in module.get("resources", []))
    for each in module.get("child_modules", []):
        yield from _in_module(each)


def prepare(folder: Path) -> Terraform:
    """Copy the configuration and a sample of the files that it deploys, and initialise it."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed: the configuration was NOT tried")
    if not SIMULATOR.exists():
        pytest.skip(f"{SIMULATOR} does not exist: the configuration was NOT tried")
    for name in ("terraform", "functions", "sql", "shared/sluice"):
        ignored = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*")
        shutil.copytree(CHECKOUT / name, folder / name, symlinks=True, ignore=ignored)
    _thin(folder)
    environ = {**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    line = subprocess.run(
        [SIMULATOR / "install.sh"], env=environ, capture_output=True, text=True, check=True
    ).stdout
    variable, _, value = line.strip().removeprefix("export ").partition("=")
    made = Terraform(folder / "terraform", {**environ, variable: value.strip("'")})
    made.run("init", "-input=false")
    return made


def _thin(folder: Path) -> None:
    """Keep one file of each suffix in each folder that is deployed, and one line of each lock file.

    The configuration selects files by folder and suffix, and terraform keeps their text in its state nine
    times: with all of it, each command takes five times as long.
    """
    for name in ("sql", "shared/sluice"):
        kept = set()
        for path in sorted(each for each in (folder / name).rglob("*") if each.is_file()):
            kind = (path.parent, path.suffix)
            if kind in kept:
                path.unlink()
            kept.add(kind)
    for path in folder.rglob("requirements.txt"):
        path.write_text(path.read_text("utf-8").partition("\n")[0] + "\n", "utf-8")


def of_type(resources: list[Resource], kind: str) -> Iterator[Resource]:
    return (each for each in resources if each.type == kind)
