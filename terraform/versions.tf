# The versions of Terraform and its providers, and their project and region.

terraform {
  required_version = ">= 1.11" # write-only arguments

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.42" # run_execution_token of Cloud Run jobs
    }
    # Only for the identity of Pub/Sub's service agent, which the other provider cannot create.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 7.42"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.7"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  # Budgets and quotas are charged to this project, not to the project of gcloud's credentials.
  billing_project       = var.project_id
  user_project_override = true
}

provider "google-beta" {
  project = var.project_id
  region  = var.region
}
