# The versions of Terraform and the providers. The caller configures the providers.

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

data "google_project" "this" {
  project_id = var.project_id
}

# Resources are created in the project of the provider, names and rights are those of project_id.
data "google_client_config" "this" {
  lifecycle {
    postcondition {
      condition     = coalesce(self.project, var.project_id) == var.project_id
      error_message = "The provider google has the project ${coalesce(self.project, "-")}, project_id is ${var.project_id}; configure the provider with the same project."
    }
  }
}
