# What happens by the clock: backups of the datasets, once the function is there.

locals {
  scheduled = toset([for name in ["backup"] : name if contains(keys(local.functions), name)])
}

resource "google_service_account" "scheduler" {
  for_each = local.scheduled

  account_id   = "sluice-scheduler"
  display_name = "Calls the functions of Sluice by the clock"

  depends_on = [google_project_service.enabled]
}

resource "google_cloud_run_v2_service_iam_member" "scheduler_invokes" {
  for_each = local.scheduled

  name     = google_cloudfunctions2_function.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[each.key].member
}

resource "google_cloud_scheduler_job" "backup" {
  for_each = local.scheduled

  name             = "sluice-backup"
  region           = var.region
  schedule         = var.backup_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "1800s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "${google_cloudfunctions2_function.function[each.key].service_config[0].uri}/v1/backups"
    body        = base64encode("{}")
    # Where a bearer token guards the API, the identity goes in the header that Cloud Run looks at first.
    headers = merge(
      { "Content-Type" = "application/json" },
      { for name in keys(local.token) : "Authorization" => "Bearer ${random_password.token[name].result}" },
    )

    oidc_token {
      service_account_email = google_service_account.scheduler[each.key].email
      audience              = google_cloudfunctions2_function.function[each.key].service_config[0].uri
    }
  }
}
