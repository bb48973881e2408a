# Who deploys Sluice from GitHub Actions: service accounts without keys, and with less than the role Owner.
#
# Applied once by an owner of the project, from a state of its own:
#
#   terraform init
#   terraform apply -var project_id=my-project -var repository=my-team/films -var state_bucket=my-project-terraform
#
# A workflow of that repository proves with GitHub's token who it is, and acts as an account for an hour: jobs of the
# environment `plan` as sluice-planner, which may look, those of `production` as sluice-deployer. Give `production`
# reviewers, and nothing is applied that nobody approved.

terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.42"
    }
  }
}

variable "project_id" {
  type        = string
  description = "The id of the project into which Sluice is deployed."
}

variable "repository" {
  type        = string
  description = "The repository on GitHub whose workflow deploys, such as my-team/films."

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "A repository is written OWNER/NAME."
  }
}

variable "state_bucket" {
  type        = string
  description = "The bucket of Terraform's state, which terraform/bootstrap.sh made."
}

locals {
  accounts = {
    planner  = { environment = "plan", title = "Plans changes of Sluice" }
    deployer = { environment = "production", title = "Deploys Sluice" }
  }
  to_look = ["roles/iam.securityReviewer", "roles/serviceusage.serviceUsageConsumer", "roles/viewer"]
  # Each is for a kind of resource of the configuration.
  to_deploy = [
    "roles/artifactregistry.admin",
    "roles/cloudfunctions.admin",
    "roles/cloudscheduler.admin",
    "roles/cloudsql.admin",
    "roles/compute.admin",
    "roles/iam.roleAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/logging.configWriter",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/run.admin",
    "roles/secretmanager.admin",
    "roles/servicenetworking.networksAdmin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
  ]
  roles = merge([
    for account, roles in { planner = local.to_look, deployer = local.to_deploy } : {
      for role in roles : "${account} ${role}" => { account = account, role = role }
    }
  ]...)
  services = toset(["cloudresourcemanager", "iam", "iamcredentials", "serviceusage", "sts"])
}

provider "google" {
  project               = var.project_id
  billing_project       = var.project_id
  user_project_override = true
}

resource "google_project_service" "this" {
  for_each = local.services

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_iam_workload_identity_pool" "github" {
  workload_identity_pool_id = "github"
  display_name              = "GitHub Actions"
  depends_on                = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "Workflows of one repository"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }
  attribute_condition = "assertion.repository == '${var.repository}'"

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account" "this" {
  for_each = local.accounts

  account_id   = "sluice-${each.key}"
  display_name = each.value.title
  depends_on   = [google_project_service.this]
}

resource "google_service_account_iam_member" "workflow" {
  for_each = local.accounts

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/subject/repo:${var.repository}:environment:${each.value.environment}"
}

resource "google_project_iam_member" "this" {
  for_each = local.roles

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.this[each.value.account].member
}

# Both lock the state, and the planner stores its plan.
resource "google_storage_bucket_iam_member" "state" {
  for_each = local.accounts

  bucket = var.state_bucket
  role   = "roles/storage.objectUser"
  member = google_service_account.this[each.key].member
}

output "workload_identity_provider" {
  description = "What the workflow gives to google-github-actions/auth as workload_identity_provider."
  value       = google_iam_workload_identity_pool_provider.github.name
}

output "accounts" {
  description = "What the workflow gives to google-github-actions/auth as service_account, by job."
  value       = { for name, account in google_service_account.this : name => account.email }
}
