# What the main variables switch on and off. Nothing is created, and no credentials are needed: terraform test

mock_provider "google" {
  mock_data "google_client_config" {
    defaults = { project = "my-project" }
  }
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}
mock_provider "google-beta" {}

variables {
  project_id = "my-project"
  region     = "europe-west1"
}

run "the_defaults_have_one_address_for_each_function" {
  command = plan

  assert {
    condition     = output.api["query"] == "https://query-123456789012.europe-west1.run.app"
    error_message = "Without api_domain, each function has its own address."
  }
  assert {
    condition     = keys(output.api) == tolist(["backup", "intake", "query", "status"])
    error_message = "The functions for clients are backup, intake, query and status."
  }
  assert {
    condition     = output.inbox == "my-project-inbox" && output.dns_record == ""
    error_message = "The names have no prefix, and there is no address that needs a record."
  }
  assert {
    condition     = output.connections.wanted <= output.connections.available
    error_message = "The defaults fit into the default database."
  }
}

run "a_domain_has_one_address_and_a_prefix_is_in_all_names" {
  command = plan
  variables {
    api_domain  = "sluice.example.org"
    name_prefix = "eu"
  }

  assert {
    condition     = output.api == tomap({ all = "https://sluice.example.org" })
    error_message = "With api_domain, all routes have one address."
  }
  assert {
    condition     = strcontains(output.token, "gcloud secrets versions access latest --secret=eu-sluice-token")
    error_message = "The key of the first administrator is in the secret."
  }

  assert {
    condition     = output.inbox == "my-project-eu-inbox"
    error_message = "The buckets have the prefix."
  }
  assert {
    condition     = output.database.instance == "eu-sluice"
    error_message = "The database has the prefix."
  }
  assert {
    condition     = strcontains(output.migrate, "execute eu-migrate ")
    error_message = "The job has the prefix."
  }
}
