"""Terraform accepts the configuration of the cloud, and it agrees with the code."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from terraforming import CHECKOUT, Resource, Terraform, of_type, prepare

from sluice.api.health import HEALTH_PATH
from sluice.backups.manifest import FOLDER
from sluice.client.addresses import address_for
from sluice.ingestion.recovery import RECOVERY_PATH
from sluice.local.functions import FUNCTIONS, environment
from sluice.local.scheduler import TIMES
from sluice.local.state import State
from sluice.local.topology import SUBSCRIPTIONS, TOPICS, Retry
from sluice.routes import ROUTES
from sluice.settings import PREFIX, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Everything that is optional, switched on.
EVERYTHING = (
    "-var-file=examples/prod.tfvars",
    "-var=is_protected=false",
    '-var=uploaders=["group:partners@example.org"]',
    '-var=alert_channels=["projects/ops/notificationChannels/17"]',
    "-var=alert_after_hours_without_files=24",
    '-var=readers=["group:analysts@example.org","user:ada@example.org"]',
    '-var=budget={billing_account="012345-6789AB-CDEF01",monthly_amount=300}',
)
#: Settings that are for the local cloud, and so stay unset.
LOCAL_SETTINGS = {"authentication", "database_url"}
#: What all deployments in a project share, and whose names need not differ.
SHARED = {
    "google_project",
    "google_project_service",
    "google_project_service_identity",
    "google_monitoring_notification_channel",
}
#: Settings that are set only if a variable says so.
OPTIONAL_SETTINGS = {"name_prefix"}
#: Variables whose values depend on where a function runs; all others are alike in the cloud and locally.
OF_THE_PLACE = {
    PREFIX + each
    for each in (
        "PROJECT", "INBOX", "OUTBOX", "DATABASE_INSTANCE", "DATABASE_USER", "PUBLIC_URL", "AUDIENCES",
        "ADMINISTRATORS", "PUSH_SERVICE_ACCOUNT", "PUSH_AUDIENCE", "PUSH_CALLERS", "TOKEN_SIGNATURES",
        "FORWARDED_HOPS", "FILES_AT_ONCE",
    )
}  # fmt: skip
#: Settings in modules that a function imports, but whose readers run in other functions.
ELSEWHERE = {
    "query": {
        "inbox",
        "outbox",
        "copy_block_bytes",
        "push_service_account",
        "max_attempts",
        "give_up_after_s",
        "max_content_bytes",
        "max_expansion",
        "max_rejects",
        "publish_step_rows",
    },
    "intake": {
        "max_rows",
        "cache_s",
        "cache_bytes",
        "max_attempts",
        "give_up_after_s",
        "max_rejects",
        "publish_step_rows",
    },
    "backup": {"statement_timeout_s"},
}
_READ = re.compile(r"\b_?settings\.([a-z_]+)", re.IGNORECASE)


def _load_bundling(checkout: Path) -> Any:
    spec = importlib.util.spec_from_file_location("bundle", checkout / "functions" / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle"] = module
    spec.loader.exec_module(module)
    return module


bundling = _load_bundling(CHECKOUT)
DEPLOYED = [each.name for each in bundling.bundles() if each.name != "migrate"]


@pytest.fixture(scope="module")
def terraform(tmp_path_factory) -> Terraform:
    """The configuration with everything switched on, applied."""
    made = prepare(tmp_path_factory.mktemp("terraform"))
    made.run("apply", "-input=false", "-auto-approve", *EVERYTHING)
    return made


@pytest.fixture(scope="module")
def resources(terraform: Terraform) -> list[Resource]:
    """What there is after the apply."""
    return terraform.resources()


@pytest.fixture(scope="module")
def functions(resources) -> Mapping[str, Mapping[str, Any]]:
    """The functions by name."""
    return {each.key: each.values for each in of_type(resources, "google_cloudfunctions2_function")}


def _service(function: Mapping[str, Any]) -> Mapping[str, Any]:
    service: Mapping[str, Any] = function["service_config"][0]
    return service


def test_a_second_plan_changes_nothing(terraform) -> None:
    done = terraform.run("plan", "-input=false", "-detailed-exitcode", *EVERYTHING, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_deployment_without_the_module_is_moved_into_it(terraform) -> None:
    document = json.loads((terraform.folder / "terraform.tfstate").read_text("utf-8"))
    moved = set(re.findall(r"from = (\S+)", (terraform.folder / "moved.tf").read_text("utf-8")))
    for each in document["resources"]:
        if f"{each['type']}.{each['name']}" in moved:
            del each["module"]
            for instance in each["instances"]:  # what there is one of, or none, had no number
                if instance.get("index_key") == 0:
                    del instance["index_key"]
    before = terraform.folder / "before.tfstate"
    before.write_text(json.dumps(document), "utf-8")
    terraform.run(
        "plan", "-input=false", "-refresh=false", f"-state={before}", "-out=moved", *EVERYTHING
    )
    assert terraform.actions("moved") == {}


def test_the_module_is_given_every_variable_and_passes_on_every_output() -> None:
    module = CHECKOUT / "terraform" / "module"
    variables = set(
        re.findall(r'^variable "(\w+)"', (module / "variables.tf").read_text(), re.MULTILINE)
    )
    call = (CHECKOUT / "terraform" / "main.tf").read_text()
    assert dict(re.findall(r"^  (\w+) += var\.(\w+)$", call, re.MULTILINE)) == {
        each: each for each in variables
    }
    outputs = re.findall(r'^output "(\w+)"', (module / "outputs.tf").read_text(), re.MULTILINE)
    passed = (CHECKOUT / "terraform" / "outputs.tf").read_text()
    assert re.findall(r"= module\.sluice\.(\w+)$", passed, re.MULTILINE) == outputs


def test_outputs_name_what_other_configurations_need(terraform) -> None:
    found = {
        name: each["value"]
        for name, each in json.loads(terraform.run("output", "-json").stdout).items()
    }
    assert found["topics"] == {name: f"projects/my-sluice-prod/topics/{name}" for name in TOPICS}
    assert found["buckets"]["inbox"] == found["inbox"] == "my-sluice-prod-inbox"
    assert found["database"]["connection_name"] == "my-sluice-prod:europe-west1:sluice"
    assert set(found["addresses"]) == set(DEPLOYED)
    assert set(found["service_accounts"]) == {
        *DEPLOYED, "build", "migrate", "push", "client-push", "scheduler",
    }  # fmt: skip


@pytest.fixture(scope="module")
def two(terraform) -> Mapping[str, list[Resource]]:
    """Two deployments with everything, planned for one project, by their prefixes."""
    folder = terraform.folder.parent / "two"
    shutil.copytree(CHECKOUT / "tests" / "integration" / "two_deployments", folder)
    both = Terraform(folder, terraform.environ)
    both.run("init", "-input=false")
    both.run("plan", "-input=false", "-out=two")
    found = both.resources("two")
    return {
        name: [each for each in found if each.module == f"module.{name}"]
        for name in ("eu", "west-2")
    }


def test_two_deployments_in_a_project_have_no_name_in_common(two) -> None:
    names = {prefix: set(_names(resources)) for prefix, resources in two.items()}
    assert len(names["eu"]) > 70
    assert {kind for kind, *_ in names["eu"]} == {kind for kind, *_ in names["west-2"]}
    assert not names["eu"] & names["west-2"]


def _names(resources: list[Resource]) -> Iterator[tuple[str, ...]]:
    """Return what a project has only once, besides what all deployments share."""
    for each in resources:
        if each.type.endswith("_iam_member") or each.type in SHARED:
            continue
        parent = each.values.get("bucket") or each.values.get("instance") or ""
        for argument in ("account_id", "role_id", "secret_id", "name", "display_name"):
            if each.values.get(argument):
                yield each.type, parent, each.values[argument]
                break


def test_functions_of_a_deployment_with_a_prefix_know_it(two) -> None:
    for each in of_type(two["eu"], "google_cloudfunctions2_function"):
        variables = _service(each.values)["environment_variables"]
        assert each.values["name"] == f"eu-{each.key}"
        assert variables["SLUICE_NAME_PREFIX"] == "eu"
        assert address_for("https://eu-query-1.europe-west1.run.app", "GET", "/v1/ingestions") == (
            "https://eu-status-1.europe-west1.run.app"
        )


def test_everything_that_takes_labels_has_them(two) -> None:
    wanted = {"app": "sluice", "team": "data"}
    labelled = {
        each.type: (each.values.get("user_labels") or each.values.get("labels") or {})
        for each in two["eu"]
        if {"labels", "user_labels"} & each.values.keys()
    }
    (instance,) = of_type(two["eu"], "google_sql_database_instance")
    labelled["google_sql_database_instance"] = instance.values["settings"][0]["user_labels"]
    assert len(labelled) > 9
    assert {
        kind: wanted.items() <= labels.items() for kind, labels in labelled.items()
    } == dict.fromkeys(labelled, True)


def test_a_key_of_the_customer_encrypts_what_holds_data(two) -> None:
    key = "projects/keys/locations/europe-west1/keyRings/sluice/cryptoKeys/sluice"
    for kind in ("google_storage_bucket", "google_pubsub_topic", "google_secret_manager_secret"):
        found = list(of_type(two["eu"], kind))
        assert found
        assert all(key in json.dumps(each.values) for each in found)
    (instance,) = of_type(two["eu"], "google_sql_database_instance")
    assert instance.values["encryption_key_name"] == key
    agents = of_type(two["eu"], "google_kms_crypto_key_iam_member")
    assert {each.key for each in agents} == {"storage", "pubsub", "sql", "secrets"}
    assert not list(of_type(two["west-2"], "google_kms_crypto_key_iam_member"))


def test_every_function_with_code_is_deployed_under_its_name(functions) -> None:
    assert set(functions) == set(DEPLOYED)
    for name, each in functions.items():
        assert each["name"] == each["build_config"][0]["entry_point"] == name
        assert _service(each)["service_account_email"].startswith(f"sluice-{name}@")
        tree = ast.parse((CHECKOUT / "functions" / name / "main.py").read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_function_gets_exactly_the_settings_that_its_code_reads(functions, name) -> None:
    service = _service(functions[name])
    secrets = {each["key"] for each in service["secret_environment_variables"]}
    given = set(service["environment_variables"]) | secrets
    wanted = {
        PREFIX + each.upper()
        for each in _settings_read(name)
        - LOCAL_SETTINGS
        - OPTIONAL_SETTINGS
        - ELSEWHERE.get(name, set())
    }
    assert given - {"THREADS", "MALLOC_ARENA_MAX"} == wanted
    assert secrets == wanted & {"SLUICE_TOKEN"}


def _settings_read(function: str) -> set[str]:
    """Return the settings that the code of a function reads, by whatever name it holds them."""
    known = {each.name for each in fields(Settings)}
    start = CHECKOUT / "functions" / function / "main.py"
    texts = (path.read_text("utf-8") for path in bundling.reached_files(start))
    found = {name for text in texts for name in _READ.findall(text)}
    return (found & known) | _required(start)


def _required(path: Path) -> set[str]:
    call = re.search(r"required=\(([^)]*)\)", path.read_text("utf-8"))
    return set(re.findall(r'"(\w+)"', call[1])) if call else set()


@pytest.mark.parametrize("name", DEPLOYED)
def test_threads_and_settings_are_those_of_the_local_cloud(functions, name, tmp_path) -> None:
    (function,) = (each for each in FUNCTIONS if each.name == name)
    service = _service(functions[name])
    given = service["environment_variables"]
    local = environment(function, 8000, State(tmp_path), {})
    assert service["max_instance_request_concurrency"] == function.concurrency
    for variable in ("THREADS", "MALLOC_ARENA_MAX"):
        assert given.get(variable) == local.get(variable)
    named = {PREFIX + each.name.upper(): each.name for each in fields(Settings)}
    alike = [named[each] for each in given if each in named.keys() - OF_THE_PLACE]
    assert {"pool_size", "database_role"} <= set(alike)
    is_, here = read_settings(given), read_settings(local)
    assert {each: getattr(is_, each) for each in alike} == {
        each: getattr(here, each) for each in alike
    }


def test_topics_are_those_of_the_topology(resources) -> None:
    assert {each.values["name"] for each in of_type(resources, "google_pubsub_topic")} == set(
        TOPICS
    )


def test_subscriptions_are_those_of_the_topology(resources, functions) -> None:
    found = {
        each.values["name"]: each.values
        for each in of_type(resources, "google_pubsub_subscription")
    }
    assert set(found) == {each.name for each in SUBSCRIPTIONS}
    for wanted in SUBSCRIPTIONS:
        is_ = found[wanted.name]
        assert is_["topic"].endswith(f"/topics/{wanted.topic}")
        assert (is_["filter"] or "") == wanted.filter
        assert bool(is_["enable_message_ordering"]) == wanted.is_ordered
        assert is_["ack_deadline_seconds"] == wanted.ack_deadline_s
        assert is_["expiration_policy"] == [{"ttl": ""}]
        _check_retry(is_["retry_policy"], wanted.retry)
        _check_push(is_["push_config"], wanted.function, functions)
        _check_dead_letter(is_["dead_letter_policy"], wanted.dead_letter)


def _check_retry(policy: list[dict[str, Any]], wanted: Retry | None) -> None:
    assert bool(policy) == (wanted is not None)
    if wanted is not None:
        assert policy[0]["minimum_backoff"] == f"{wanted.minimum_s}s"
        assert policy[0]["maximum_backoff"] == f"{wanted.maximum_s}s"


def _check_push(push: list[dict[str, Any]], function: str | None, functions: Any) -> None:
    assert bool(push) == (function is not None)
    if function is not None:
        service = _service(functions[function])
        token = push[0]["oidc_token"][0]
        assert push[0]["push_endpoint"] == service["uri"]
        assert token["service_account_email"].startswith("sluice-push@")
        _check_token(token, service["environment_variables"])


def _check_token(token: Mapping[str, str], variables: Mapping[str, str]) -> None:
    """Check that the function accepts the token, from nobody whom it need not know."""
    assert token["audience"] == variables["SLUICE_PUSH_AUDIENCE"]
    callers = variables["SLUICE_PUSH_CALLERS"].split(",")
    assert token["service_account_email"] in callers
    assert len(callers) == (2 if "SLUICE_RECOVERY_IDLE_S" in variables else 1)
    assert variables["SLUICE_TOKEN_SIGNATURES"] == "cloud-run"


def _check_dead_letter(policy: list[dict[str, Any]], wanted: Any) -> None:
    assert bool(policy) == (wanted is not None)
    if wanted is not None:
        assert policy[0]["dead_letter_topic"].endswith(f"/topics/{wanted.topic}")
        assert policy[0]["max_delivery_attempts"] == wanted.after_attempts


def test_a_function_times_out_before_its_message_is_delivered_again(functions) -> None:
    pushed = {each.function: each.ack_deadline_s for each in SUBSCRIPTIONS if each.function}
    for name, deadline_s in pushed.items():
        assert _service(functions[name])["timeout_seconds"] < deadline_s
        assert _service(functions[name])["ingress_settings"] == "ALLOW_INTERNAL_ONLY"


def test_the_scheduler_calls_functions_that_it_may_invoke(resources, functions) -> None:
    jobs = {each.key: each.values for each in of_type(resources, "google_cloud_scheduler_job")}
    assert set(jobs) == {"recovery", "backup"} & {"recovery", *DEPLOYED}
    (target,) = jobs["recovery"]["http_target"]
    finish = _service(functions["finish"])
    assert target["uri"] == finish["uri"] + RECOVERY_PATH
    _check_token(target["oidc_token"][0], finish["environment_variables"])
    assert target["oidc_token"][0]["service_account_email"].startswith("sluice-scheduler@")
    (target,) = jobs["backup"]["http_target"]
    assert set(target["headers"]) == {"Content-Type"}, (
        "no secret in what anybody with the role viewer reads"
    )
    backup = _service(functions["backup"])["environment_variables"]
    assert target["oidc_token"][0]["audience"] in backup["SLUICE_AUDIENCES"].split(",")
    account = target["oidc_token"][0]["service_account_email"]
    assert account in backup["SLUICE_ADMINISTRATORS"].split(",")
    idle_s = float(finish["environment_variables"]["SLUICE_RECOVERY_IDLE_S"])
    assert jobs["recovery"]["schedule"] == f"*/{idle_s / TIMES / 60:.0f} * * * *"
    assert idle_s > max(each.ack_deadline_s for each in SUBSCRIPTIONS)


def test_the_state_has_no_secret(terraform, resources) -> None:
    (version,) = of_type(resources, "google_secret_manager_secret_version")
    assert version.values["secret_data_wo_version"] == 1
    assert not version.values.get("secret_data")
    assert not version.values.get("secret_data_wo")
    assert not [each for each in resources if each.type.startswith("random_")]
    users = list(of_type(resources, "google_sql_user"))
    assert {each.values["type"].partition("CLOUD_IAM_")[0] for each in users} == {""}
    assert not [each for each in users if each.values.get("password")]
    done = terraform.run(
        "plan", "-input=false", *EVERYTHING, "-var=token_version=2", "-out=rotated"
    )
    assert "google_secret_manager_secret_version.token" in done.stdout
    changed = {each.type for each in terraform.resources("rotated")}
    assert "google_secret_manager_secret_version" in changed


def test_notifications_of_uploads_go_to_the_topic_of_split(resources) -> None:
    (notification,) = of_type(resources, "google_storage_notification")
    assert notification.values["bucket"].endswith("-inbox")
    assert notification.values["topic"].endswith("/topics/uploads")
    assert notification.values["event_types"] == ["OBJECT_FINALIZE"]


def test_buckets_are_closed_to_the_public(resources) -> None:
    buckets = list(of_type(resources, "google_storage_bucket"))
    assert len(buckets) == 3
    for each in buckets:
        assert each.values["uniform_bucket_level_access"] is True
        assert each.values["public_access_prevention"] == "enforced"


def test_old_backups_of_the_datasets_are_deleted_and_recoverable_for_a_week(resources) -> None:
    (outbox,) = (e for e in of_type(resources, "google_storage_bucket") if e.name == "outbox")
    rules = [
        rule["condition"][0]
        for rule in outbox.values["lifecycle_rule"]
        if rule["condition"][0]["matches_prefix"] == [FOLDER]
    ]
    assert [(each["age"], each["with_state"]) for each in rules[:1]] == [(30, "LIVE")]
    assert [each["days_since_noncurrent_time"] for each in rules[1:]] == [7]


def test_the_url_map_has_the_routes_of_the_code(resources) -> None:
    (url_map,) = of_type(resources, "google_compute_url_map")
    found = set()
    for rule in url_map.values["path_matcher"][0]["route_rules"]:
        function = rule["service"].rpartition("/sluice-")[2]
        for match in rule["match_rules"]:
            method = match["header_matches"][0]["exact_match"]
            found.add((method, match["path_template_match"].replace("=*}", "}"), function))
    deployed = [each for each in ROUTES if each.function in DEPLOYED]
    wanted = {(each.method, each.path, each.function) for each in deployed}
    heads = {("HEAD", path, function) for method, path, function in wanted if method == "GET"}
    assert found == wanted | heads


def test_with_a_load_balancer_no_client_can_bypass_it(functions, resources) -> None:
    invoked = {
        each.values["name"]
        for each in of_type(resources, "google_cloud_run_v2_service_iam_member")
        if each.values["member"] == "allUsers"
    }
    assert invoked == {"query", "intake", "status", "backup"} & set(functions)
    for name in invoked:
        assert _service(functions[name])["ingress_settings"] == "ALLOW_INTERNAL_AND_GCLB"
        assert _service(functions[name])["secret_environment_variables"][0]["key"] == "SLUICE_TOKEN"


def test_the_archives_have_the_content_of_the_bundles(terraform) -> None:
    copy = terraform.folder.parent
    bundles = _load_bundling(copy).bundles()
    assert {each.name for each in bundles} == {*DEPLOYED, "migrate"}
    for bundle in bundles:
        with zipfile.ZipFile(copy / "build" / "terraform" / f"{bundle.name}.zip") as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        assert found == {name: path.read_bytes() for name, path in bundle.files().items()}
        assert {"sluice/csv/__init__.py", "sluice/api/__init__.py"} <= set(found)


def test_a_change_of_code_is_a_new_object(resources) -> None:
    for each in of_type(resources, "google_storage_bucket_object"):
        assert re.fullmatch(rf"{each.key}-[0-9a-f]{{64}}\.zip", each.values["name"])


def test_the_migration_job_runs_again_with_a_new_bundle_and_knows_all_users(resources) -> None:
    (job,) = of_type(resources, "google_cloud_run_v2_job")
    (source,) = (
        each for each in of_type(resources, "google_storage_bucket_object") if each.key == "migrate"
    )
    assert job.values["run_execution_token"].partition("-")[0] in source.values["name"]
    container = job.values["template"][0]["template"][0]["containers"][0]
    assert source.values["name"] in container["args"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    users = {
        each.name if each.name == "migrate" else each.key
        for each in of_type(resources, "google_sql_user")
        if each.name != "reader"
    }
    assert users == {*DEPLOYED, "migrate"}
    for user in users:
        assert f"sluice-{user}@" in variables["DATABASE_USERS"]


def test_readers_are_users_of_the_database_and_the_migration_job_knows_them(resources) -> None:
    users = {
        each.values["name"]: each.values["type"]
        for each in of_type(resources, "google_sql_user")
        if each.name == "reader"
    }
    assert users == {
        "analysts@example.org": "CLOUD_IAM_GROUP",
        "ada@example.org": "CLOUD_IAM_USER",
    }
    (job,) = of_type(resources, "google_cloud_run_v2_job")
    container = job.values["template"][0]["template"][0]["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert set(json.loads(variables["DATABASE_READERS"])) == set(users)
    assert "-" in job.values["run_execution_token"], "a change of the readers runs the job again"


def test_accounts_have_exactly_the_rights_of_the_operations_manual(resources) -> None:
    written = set(
        re.findall(
            r"^\| (\S[^|]*?) \| (\S[^|]*?) \| `([^`]+)` \|",
            (CHECKOUT / "docs" / "operations.md").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    if "backup" not in DEPLOYED:
        written = {row for row in written if "backup" not in row[0] + row[1]}
    assert {_right(each) for each in resources if each.type.endswith("_iam_member")} == written


def _right(member: Resource) -> tuple[str, str, str]:
    values = member.values
    what = next(
        f"{word} {_short(values[argument])}".strip()
        for argument, word in (
            ("bucket", "bucket"), ("topic", "topic"), ("subscription", "subscription"),
            ("service_account_id", "account"),
            ("secret_id", "secret"), ("name", "function"), ("project", "project"),
        )
        if values.get(argument)
    )  # fmt: skip
    return _who(values["member"]), what, re.sub(r"^projects/[^/]+/", "", values["role"])


def _short(name: str) -> str:
    last = name.rpartition("/")[2].partition("@")[0]
    return (
        ""
        if last == "my-sluice-prod"
        else last.removeprefix("my-sluice-prod-").removeprefix("sluice-")
    )


def _who(member: str) -> str:
    address = member.partition(":")[2]
    if "gcp-sa-pubsub" in address:
        return "Pub/Sub's agent"
    if "gs-project-accounts" in address:
        return "Cloud Storage's agent"
    if member == "allUsers":
        return "allUsers"
    groups = {"group:partners@example.org": "uploaders", "group:analysts@example.org": "readers"}
    return groups.get(member) or ("readers" if member.startswith("user:") else _short(address))


def test_bootstrap_prepares_a_project_and_can_be_repeated(tmp_path) -> None:
    calls = tmp_path / "calls"
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$3" != describe ]\n', "utf-8")
    gcloud.chmod(0o755)
    script = tmp_path / "bootstrap.sh"
    shutil.copy(CHECKOUT / "terraform" / "bootstrap.sh", script)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([script, "my-project", "europe-west1"], env=environ, check=True)
    lines = calls.read_text("utf-8").splitlines()
    assert "cloudresourcemanager.googleapis.com serviceusage.googleapis.com" in lines[0]
    assert [each.split()[2] for each in lines[:4]] == [
        "--project=my-project",
        "describe",
        "create",
        "update",
    ]
    assert (tmp_path / "backend.tf").read_text("utf-8") == (
        'terraform {\n  backend "gcs" {\n    bucket = "my-project-terraform"\n    prefix = "sluice"\n  }\n}\n'
    )


def test_alerts_are_sent_to_all_channels_and_have_a_condition(resources) -> None:
    alerts = {e.key: e.values for e in of_type(resources, "google_monitoring_alert_policy")}
    for each in alerts.values():
        assert "projects/ops/notificationChannels/17" in each["notification_channels"]
        assert len(each["notification_channels"]) == 2
    (check,) = of_type(resources, "google_monitoring_uptime_check_config")
    assert check.values["http_check"][0]["path"] == HEALTH_PATH
    (asked,) = alerts["no-files"]["conditions"][0]["condition_prometheus_query_language"]
    assert "[24h]" in asked["query"]


def test_a_dead_endpoint_of_a_client_is_no_alert_on_files(resources) -> None:
    alerts = {e.key: e.values for e in of_type(resources, "google_monitoring_alert_policy")}
    for key, names in (
        ("dead-letters", r"uploads-split|chunks-load|status-finish"),
        ("oldest-message", r"uploads-split|chunks-load|status-finish"),
        ("client-endpoint", "push-.*"),
    ):
        (threshold,) = alerts[key]["conditions"][0]["condition_threshold"]
        (found,) = re.findall(r'full_match\("([^"]+)"\)', threshold["filter"])
        assert set(found.split("|")) == set(names.split("|"))


def test_no_account_has_a_basic_role(resources) -> None:
    basic = {"roles/owner", "roles/editor", "roles/viewer"}
    assert not [each for each in resources if each.values.get("role") in basic]


def test_every_optional_part_can_be_left_out(terraform) -> None:
    state = terraform.folder / "none.tfstate"
    arguments = ("-var-file=examples/dev.tfvars", f"-state={state}", "-out=small", "-input=false")
    terraform.run("plan", *arguments)
    small = terraform.resources("small")
    kinds = {each.type for each in small}
    assert not {kind for kind in kinds if kind.startswith("google_compute_") and "url_map" in kind}
    assert not kinds & {
        "google_compute_security_policy",
        "google_compute_global_forwarding_rule",
        "google_secret_manager_secret",
        "google_billing_budget",
        "google_monitoring_notification_channel",
    }
    for each in of_type(small, "google_cloudfunctions2_function"):
        assert not _service(each.values).get("secret_environment_variables")
    assert not [each for each in small if each.values.get("member") == "allUsers"]


def test_a_database_of_ones_own_needs_nothing_of_cloud_sql(terraform) -> None:
    network = (
        '{network="projects/p/global/networks/n",subnetwork="projects/p/regions/r/subnetworks/s"}'
    )
    terraform.run(
        "plan", "-input=false", "-var-file=examples/dev.tfvars", "-out=own",
        f"-state={terraform.folder / 'none.tfstate'}",
        "-var=database_url_secret=projects/secrets/secrets/postgresql", f"-var=database_network={network}",
    )  # fmt: skip
    own = terraform.resources("own")
    assert not [
        each
        for each in own
        if each.type.startswith(("google_sql_", "google_compute_", "google_service_net"))
    ]
    assert not [
        each for each in own if str(each.values.get("role", "")).startswith("roles/cloudsql")
    ]
    url = {"SLUICE_DATABASE_URL"}
    for each in of_type(own, "google_cloudfunctions2_function"):
        service = _service(each.values)
        (secret,) = service["secret_environment_variables"]
        assert (secret["key"], secret["project_id"], secret["secret"]) == (
            "SLUICE_DATABASE_URL", "secrets", "postgresql",
        )  # fmt: skip
        assert not {"SLUICE_DATABASE_USER", "SLUICE_DATABASE_INSTANCE"} & set(
            service["environment_variables"]
        )
        assert service["direct_vpc_network_interface"][0]["subnetwork"].endswith("/subnetworks/s")
    (job,) = of_type(own, "google_cloud_run_v2_job")
    container = job.values["template"][0]["template"][0]["containers"][0]
    assert url == {each["name"] for each in container["env"] if each["value_source"]}
    readers = {
        each.key
        for each in of_type(own, "google_secret_manager_secret_iam_member")
        if each.name == "reads_url"
    }
    assert readers == {*DEPLOYED, "migrate"}


def test_too_many_connections_fail_the_plan_with_a_sentence(terraform) -> None:
    done = terraform.run(
        "plan", "-input=false", "-refresh=false", "-target=module.sluice.google_sql_database_instance.sluice",
        *EVERYTHING, "-var=max_loaders=200", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    said = " ".join(done.stderr.replace("│", " ").split())
    assert re.search(
        r"The functions may open \d+ connections .*takes 500\. Lower max_loaders", said
    )


def test_wrong_variables_are_refused_with_sentences(terraform) -> None:
    done = terraform.run(
        "plan", "-input=false", "-refresh=false", *EVERYTHING, "-var=region=europe-west1-b",
        "-var=api_domain=https://sluice.example.org/", '-var=api_invokers=["allUsers"]',
        "-var=database_tier=db-f1-micro", check=False,
    )  # fmt: skip
    said = " ".join(done.stderr.replace("│", " ").split())
    for sentence in (
        "europe-west1-b is a zone", "without https://", "allUsers is not allowed", "db-f1-micro takes 25",
    ):  # fmt: skip
        assert sentence in said


def test_the_example_for_trying_out_has_enough_connections(terraform) -> None:
    terraform.run("plan", "-input=false", "-refresh=false", "-var-file=examples/dev.tfvars")


def test_the_tests_of_terraform_itself_pass(terraform) -> None:
    """`terraform/tests` checks the variables and the main switches."""
    terraform.run("test")


def test_everything_can_be_destroyed(terraform) -> None:
    terraform.run("destroy", "-input=false", "-auto-approve", "-refresh=false", *EVERYTHING)
    assert terraform.run("state", "list").stdout == ""
