"""The accounts that deploy from GitHub Actions: no keys, and no more roles than the resources need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terraforming import CHECKOUT, Resource, Terraform, of_type, prepare

#: The role that manages resources whose kinds begin so; the longest beginning counts.
ROLES = {
    "google_artifact_registry": "roles/artifactregistry.admin",
    "google_cloud_run": "roles/run.admin",
    "google_cloud_scheduler": "roles/cloudscheduler.admin",
    "google_cloudfunctions2": "roles/cloudfunctions.admin",
    "google_compute": "roles/compute.admin",
    "google_logging": "roles/logging.configWriter",
    "google_monitoring": "roles/monitoring.editor",
    "google_project_iam_custom_role": "roles/iam.roleAdmin",
    "google_project_iam_member": "roles/resourcemanager.projectIamAdmin",
    "google_project_service": "roles/serviceusage.serviceUsageAdmin",
    "google_pubsub": "roles/pubsub.admin",
    "google_secret_manager": "roles/secretmanager.admin",
    "google_service_account": "roles/iam.serviceAccountAdmin",
    "google_service_networking": "roles/servicenetworking.networksAdmin",
    "google_sql": "roles/cloudsql.admin",
    "google_storage": "roles/storage.admin",
}
#: What the account of a deployment cannot be given in the project: a right on the billing account or the key.
ELSEWHERE = {"google_billing_budget", "google_kms_crypto_key_iam_member"}
GIVEN = ("project_id=films", "repository=my-team/films", "state_bucket=films-terraform")
WORKFLOW = (CHECKOUT / "docs" / "examples" / "deploy.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """What there is after the apply."""
    whole = prepare(tmp_path_factory.mktemp("terraform"))
    deployer = Terraform(whole.folder / "examples" / "deployer", whole.environ)
    deployer.run("init", "-input=false")
    variables = [word for each in GIVEN for word in ("-var", each)]
    deployer.run("apply", "-input=false", "-auto-approve", *variables)
    return deployer.resources()


def roles_of(resources: list[Resource], account: str) -> set[str]:
    return {
        each.values["role"]
        for each in of_type(resources, "google_project_iam_member")
        if each.key.startswith(account)
    }


def kinds() -> set[str]:
    """Return the kinds of resources of the configuration."""
    found: set[str] = set()
    for path in (CHECKOUT / "terraform").rglob("*.tf"):
        if "examples" not in path.relative_to(CHECKOUT).parts:
            found |= set(
                re.findall(r'^resource "(google_\w+)"', path.read_text("utf-8"), re.MULTILINE)
            )
    return found


def test_every_kind_of_resource_has_a_role_that_manages_it(resources: list[Resource]) -> None:
    roles = roles_of(resources, "deployer")
    for kind in kinds() - ELSEWHERE:
        known = [each for each in ROLES if kind.startswith(each)]
        assert known, kind
        assert ROLES[max(known, key=len)] in roles
    assert roles - set(ROLES.values()) == {"roles/iam.serviceAccountUser"}


def test_nobody_is_owner_or_editor_and_who_plans_writes_nothing(resources: list[Resource]) -> None:
    basic = {"roles/owner", "roles/editor"}
    assert not (roles_of(resources, "deployer") | roles_of(resources, "planner")) & basic
    assert roles_of(resources, "planner") == {
        "roles/iam.securityReviewer",
        "roles/serviceusage.serviceUsageConsumer",
        "roles/viewer",
    }
    assert not list(of_type(resources, "google_service_account_key"))


def test_only_jobs_of_the_environment_act_as_an_account(resources: list[Resource]) -> None:
    members = {
        each.key: each.values["member"].partition("/subject/")[2]
        for each in of_type(resources, "google_service_account_iam_member")
    }
    assert members == {
        "planner": "repo:my-team/films:environment:plan",
        "deployer": "repo:my-team/films:environment:production",
    }
    (provider,) = of_type(resources, "google_iam_workload_identity_pool_provider")
    assert provider.values["attribute_condition"] == "assertion.repository == 'my-team/films'"


def test_the_workflow_applies_the_plan_that_was_approved() -> None:
    body = r"^  (plan|apply):\n((?:    .*\n|\n)+)"
    jobs: dict[str, str] = dict(re.findall(body, WORKFLOW, re.MULTILINE))
    assert "environment: plan" in jobs["plan"]
    assert "vars.PLANNER" in jobs["plan"]
    assert "-out=plan" in jobs["plan"]
    assert "needs: plan" in jobs["apply"]
    assert "environment: production" in jobs["apply"]
    assert "terraform apply -input=false plan" in jobs["apply"]
    stored = re.findall(r'"(gs://\$STATE_BUCKET/plans/\$GITHUB_SHA)"', WORKFLOW)
    assert len(stored) == 2
    assert not re.search(r"credentials_json|service_account_key", WORKFLOW)
    assert not Path(CHECKOUT / "terraform" / "backend.tf").exists()
