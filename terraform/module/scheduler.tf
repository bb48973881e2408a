# What runs periodically: recovery and backups.

locals {
  schedules = { for name, each in {
    recovery = {
      function = "finish"
      path     = "/recover"
      cron     = "*/5 * * * *" # three times within recovery_idle_s
      says     = "Resumes stalled ingestions and deletes what ended ones left over."
    }
    backup = {
      function = "backup"
      path     = "/v1/backups"
      cron     = var.backup_schedule
      says     = "Backs up every dataset to the outbox."
    }
  } : name => each if contains(keys(local.functions), each.function) }
}

resource "google_service_account" "scheduler" {
  account_id   = "${local.prefix}sluice-scheduler"
  display_name = "Calls the functions of ${local.title} periodically"

  depends_on = [google_project_service.enabled]
}

resource "google_cloud_run_v2_service_iam_member" "scheduler_invokes" {
  for_each = toset([for each in local.schedules : each.function])

  name     = google_cloudfunctions2_function.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "clock" {
  for_each = local.schedules

  name             = "${local.prefix}sluice-${each.key}"
  description      = each.value.says
  region           = var.region
  schedule         = each.value.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "${min(1800, local.functions[each.value.function].timeout_s)}s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "${google_cloudfunctions2_function.function[each.value.function].service_config[0].uri}${each.value.path}"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.function_urls[each.value.function] # the function checks it, too
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler_invokes]
}
