"""The script that checks a deployment passes on the local cloud, and fails where it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sluice.local.cloud import Cloud
from sluice.local.environment import for_tools

SMOKE = Path(__file__).parent / "smoke.py"


def smoke(cloud: Cloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **for_tools(cloud)}
    command = [sys.executable, SMOKE, *arguments]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=150
    )


def test_a_deployment_that_works_passes(local_cloud: Cloud) -> None:
    done = smoke(local_cloud, "--inbox", "inbox")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:][0].startswith("smoke: received the event done")
    assert done.stdout.endswith("smoke: read 3 rows\nsmoke: undid them\n")


def test_addresses_of_single_functions_and_a_pulled_event_do_too(local_cloud: Cloud) -> None:
    one = local_cloud.url
    api = f'{{"query": "{one}", "intake": "{one}", "status": "{one}"}}'
    done = smoke(local_cloud, "--inbox", "inbox", "--api", api, "--pull")
    assert done.returncode == 0, done.stderr


def test_a_deployment_without_its_bucket_fails(local_cloud: Cloud) -> None:
    done = smoke(local_cloud, "--inbox", "no-such-bucket")
    assert done.returncode != 0
    assert "no-such-bucket" in done.stderr
