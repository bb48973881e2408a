"""`make demo`: loads a sample into the local cloud and queries it.

Each step is a command that the demo prints and runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

from sluice.local.cloud import Cloud
from sluice.local.sample import write_sample, write_stations
from sluice.local.shell import program
from sluice.local.state import State, default_root

ROWS = 300_000
LOADED = (0, 3)  # done, or done with rejects

QUESTIONS = (
    ("How many trips a week begin in Prague?", "weekly_average region=Prague"),
    (
        "And in this box around its centre?",
        "weekly_average min_lon=14.4 max_lon=14.5 min_lat=50.05 max_lat=50.12",
    ),
    ("Which trips are similar? The largest groups:", "groups limit=5"),
    ("The latest datasource of the most common regions:", "latest_datasource_of_top_regions"),
)

NEXT_STEPS = """
The local cloud keeps running. Try:

{steps}
"""
STEPS = (
    ("{sluice} query trips", "list the queries of trips"),
    ("{sluice} ingestions", "list what was loaded"),
    ("{sluice} load your.csv", "load any file of your own"),
    ('eval "$({sluice} env)"', "point gcloud storage, gsutil and psql at it"),
    ("{url}/docs", "read about the HTTP API"),
    ("make down", "stop it and keep its data"),
)


def main() -> None:
    """Run the demo; arguments go to `sluice up`."""
    _run("up", *sys.argv[1:])
    cloud = Cloud.last_started(State(default_root()))
    environment = {**os.environ, "SLUICE_URL": cloud.url}
    sample = _sample(cloud.state)
    _say("Load it: upload the file and follow its ingestion until it is published.")
    _run("load", str(sample), "--dataset", "trips", environment=environment, expected=LOADED)
    for question, query in QUESTIONS:
        _say(question)
        _run("query", "trips", *query.split(), environment=environment)
    _say("Now a file that nobody declared: what is it, by its content?")
    stations = sample.with_name("stations.csv")
    write_stations(stations)
    _run("infer", str(stations), environment=environment)
    _say("Load it; the last line is the address of its rows.")
    _run("load", str(stations), environment=environment)
    click.echo(NEXT_STEPS.format(steps=_steps(program(), cloud.url)))


def _steps(sluice: str, url: str) -> str:
    """Return commands that work unchanged in the shell that ran the demo."""
    steps = [(step.format(sluice=sluice, url=url), what) for step, what in STEPS]
    width = max(len(step) for step, _ in steps)
    return "\n".join(f"  {step:<{width}}   {what}" for step, what in steps)


def _sample(state: State) -> Path:
    path = state.root / "sample" / "trips.csv"
    if not path.exists():
        _say(f"Generate a sample of {ROWS:,} trips.")
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        write_sample(path, ROWS)
        size = path.stat().st_size / 1e6
        click.echo(f"{path}: {size:.1f} MB in {time.monotonic() - started:.1f} s")
    return path


def _say(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _run(
    *arguments: str, environment: dict[str, str] | None = None, expected: tuple[int, ...] = (0,)
) -> None:
    click.secho(f"$ {program()} {' '.join(arguments)}", dim=True)
    command = [sys.executable, "-m", "sluice.cli.main", *arguments]
    code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  # our own program
    if code not in expected:
        sys.exit(code)


if __name__ == "__main__":
    main()
