"""Environment variables that point gcloud, gsutil, psql and the client libraries at the local cloud."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sluice.local import postgres, provision
from sluice.local.state import PROJECT

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


def for_tools(cloud: Cloud) -> dict[str, str]:
    """Return the variables for gcloud, gsutil, psql, the Google client libraries and `sluice`."""
    return {
        **cloud.client_environment(),
        "SLUICE_URL": cloud.url,
        "SLUICE_STATE": str(cloud.state.root),
        **({"SLUICE_TOKEN": cloud.token} if cloud.token else {}),
        "CLOUDSDK_CONFIG": str(cloud.state.root / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud.storage.url}/storage/v1/",
        # fake-gcs-server answers a deletion with `null`, on which the tools fail after they delete
        # the parts of a composite upload; resumable uploads work.
        "CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED": "false",
        "BOTO_CONFIG": str(cloud.state.root / "boto"),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cloud.ports.postgres),
        "PGUSER": provision.OPERATOR,
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
