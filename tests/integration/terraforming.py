"""The real terraform on the configuration, over simulated providers that make nothing."""

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
#: The folder of the simulated providers, where it does not lie beside the checkout.
SIMULATOR_VARIABLE = "TERRAFORM_GOOGLE_SIM"
SIMULATOR = Path(
    os.environ.get(SIMULATOR_VARIABLE, CHECKOUT.parent / "shared/tools/terraform-google-sim")
)
TIMEOUT_S = 300


@dataclass(frozen=True)
class Resource:
    """A resource of the state or of a plan."""

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
            Resource(each["type"], each["name"], str(each.get("index", "")), each["values"])
            for each in values["root_module"]["resources"]
        ]


def prepare(folder: Path) -> Terraform:
    """Copy the configuration and what it reads, and initialise it."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed: the configuration was NOT tried")
    if not SIMULATOR.exists():
        pytest.skip(f"{SIMULATOR} is not there: the configuration was NOT tried")
    for name in ("terraform", "functions", "sql", "shared/sluice"):
        ignored = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*")
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    environ = {**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    line = subprocess.run(
        [SIMULATOR / "install.sh"], env=environ, capture_output=True, text=True, check=True
    ).stdout
    variable, _, value = line.strip().removeprefix("export ").partition("=")
    made = Terraform(folder / "terraform", {**environ, variable: value.strip("'")})
    made.run("init", "-input=false")
    return made


def of_type(resources: list[Resource], kind: str) -> Iterator[Resource]:
    return (each for each in resources if each.type == kind)
