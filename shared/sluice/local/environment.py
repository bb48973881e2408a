"""Environment variables: what the functions get here, and what makes real tools talk to it."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from typing import TYPE_CHECKING

from sluice.local import postgres
from sluice.local.state import CHECKOUT, PROJECT
from sluice.local.storage import INBOX, OUTBOX
from sluice.settings import PREFIX, Settings

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

BOTO = """\
[Credentials]
gs_json_host = localhost
gs_json_port = {https_port}
gs_host = localhost
gs_port = {https_port}

[Boto]
https_validate_certificates = False
is_secure = True

[GSUtil]
default_project_id = {project}
default_api_version = 2
software_update_check_period = 0
parallel_composite_upload_threshold = 0
"""


def for_functions(cloud: Cloud) -> dict[str, str]:
    """Return the variables of the functions: Terraform's settings, and the emulators' addresses.

    Settings that the shell of `up` exports, such as SLUICE_CHUNK_BYTES, go to the functions too.
    """
    names = [f"{PREFIX}{each.name.upper()}" for each in fields(Settings)]
    return {
        **_for_libraries(cloud),
        **{name: os.environ[name] for name in names if name in os.environ},
        "SLUICE_PROJECT": PROJECT,
        "SLUICE_INBOX": INBOX,
        "SLUICE_OUTBOX": OUTBOX,
        "SLUICE_DATABASE_URL": cloud.database.url(),
        "SLUICE_PUBLIC_URL": cloud.url,
        "PYTHONPATH": str(CHECKOUT / "shared"),
        **cloud.settings,
    }


def for_tools(cloud: Cloud) -> dict[str, str]:
    """Return the variables for gcloud, gsutil, psql, the Google client libraries and `sluice`."""
    return {
        **_for_libraries(cloud),
        "SLUICE_URL": cloud.url,
        "SLUICE_STATE": str(cloud.state.root),
        "CLOUDSDK_CONFIG": str(cloud.state.root / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud.storage.url}/storage/v1/",
        # fake-gcs-server answers a deletion with `null`, which ends the tools with an error after
        # they deleted the parts of a composite upload; whole resumable uploads are fine.
        "CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED": "false",
        "BOTO_CONFIG": str(cloud.state.root / "boto"),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cloud.ports.postgres),
        "PGUSER": postgres.SUPERUSER,
        "PGDATABASE": postgres.DATABASE,
    }


def write_tool_settings(cloud: Cloud) -> None:
    """Write the files that `for_tools` names."""
    cloud.state.create()
    text = BOTO.format(https_port=cloud.ports.storage_https, project=PROJECT)
    (cloud.state.root / "boto").write_text(text)
    (cloud.state.root / "gcloud").mkdir(exist_ok=True)


def exports(variables: dict[str, str]) -> str:
    """Return lines for `eval` in a shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _for_libraries(cloud: Cloud) -> dict[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": cloud.storage.url,
        "PUBSUB_EMULATOR_HOST": cloud.pubsub_address,
        "PUBSUB_PROJECT_ID": PROJECT,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
    }
