# Wrong variables are refused. Nothing is created, and no credentials are needed: terraform test

mock_provider "google" {
  mock_data "google_client_config" {
    defaults = { project = "my-project" }
  }
}
mock_provider "google-beta" {}

variables {
  project_id = "my-project"
  region     = "europe-west1"
}

run "a_zone_is_no_region" {
  command = plan
  variables {
    project_id = "My project"
    region     = "europe-west1-b"
  }
  expect_failures = [var.project_id, var.region]
}

run "names_that_are_too_long_or_malformed_are_refused" {
  command = plan
  variables {
    name_prefix = "twelve-chars"
    labels      = { Team = "data" }
    kms_key     = "sluice"
    api_domain  = "https://sluice.example.org/"

    database_network = { network = "n", subnetwork = "s" }
  }
  expect_failures = [var.name_prefix, var.labels, var.kms_key, var.api_domain, var.database_network]
}

run "the_label_app_is_taken_and_the_key_is_in_the_region" {
  command = plan
  variables {
    labels  = { app = "ours" }
    kms_key = "projects/keys/locations/us-east1/keyRings/sluice/cryptoKeys/sluice"
  }
  expect_failures = [var.labels, var.kms_key]
}

run "nothing_is_open_to_everybody" {
  command = plan
  variables {
    api_invokers   = ["allUsers"]
    uploaders      = ["allAuthenticatedUsers"]
    upload_origins = ["*"]
  }
  expect_failures = [var.api_invokers, var.uploaders, var.upload_origins]
}

run "sizes_out_of_range_are_refused" {
  command = plan
  variables {
    database_tier         = "db-f1-micro"
    database_disk_gb      = 5
    backup_days           = 0
    max_loaders           = 0
    max_api_instances     = 0
    min_api_instances     = 11
    chunk_mib             = 65
    statement_timeout_s   = 0
    max_rows              = 0
    inbox_days            = 0
    dataset_backup_days   = 0
    rate_limit_per_minute = 1
    requests_per_minute   = -1
  }
  expect_failures = [
    var.database_tier, var.database_disk_gb, var.backup_days, var.max_loaders, var.max_api_instances,
    var.min_api_instances, var.chunk_mib, var.statement_timeout_s, var.max_rows, var.inbox_days,
    var.dataset_backup_days, var.rate_limit_per_minute, var.requests_per_minute,
  ]
}

run "what_is_for_cloud_sql_is_refused_with_a_database_of_ones_own" {
  command = plan
  variables {
    database_url_secret = "projects/my-project/secrets/postgresql"
    readers             = ["group:analysts@example.org"]
  }
  expect_failures = [var.database_url_secret]
}

run "people_are_named_by_address" {
  command = plan
  variables {
    administrators = ["ada"]
    alert_emails   = ["ops"]
    log_level      = "LOUD"
    readers        = ["domain:example.org"]
    alert_channels = ["slack"]

    alert_after_hours_without_files = 48
  }
  expect_failures = [
    var.administrators, var.alert_emails, var.log_level, var.readers, var.alert_channels,
    var.alert_after_hours_without_files,
  ]
}
