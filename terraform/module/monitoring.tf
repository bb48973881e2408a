# Metrics from logs, alerts, a dashboard and a budget. See docs/operations.md.

locals {
  function_logs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${join(" OR ", [for name in keys(local.functions) : "\"${local.prefix}${name}\""])})"

  log_metrics = {
    sluice-errors   = { filter = "severity>=ERROR", description = "Records of severity ERROR or worse, by function." }
    sluice-files    = { filter = "jsonPayload.message=\"finished\"", description = "Ingestions that finish has published." }
    sluice-done     = { filter = "jsonPayload.message=\"done\"", description = "Ingestions whose event `done` was published." }
    sluice-chunks   = { filter = "jsonPayload.message=\"loaded\"", description = "Chunks that load has loaded." }
    sluice-retries  = { filter = "severity=WARNING AND jsonPayload.code=*", description = "Messages that failed with a transient error and are delivered again." }
    sluice-unusable = { filter = "severity=ERROR AND jsonPayload.code=*", description = "Messages and files that failed with a permanent error." }
  }

  # What the dashboard shows.
  all_subscriptions = "resource.type=\"pubsub_subscription\" resource.labels.subscription_id=monitoring.regex.full_match(\"${local.prefix}(${join("|", keys(local.pushes))}|dead-letters|push-.*)\")"
  all_functions     = "resource.type=\"cloud_run_revision\" resource.labels.service_name=monitoring.regex.full_match(\"${local.prefix}(${join("|", keys(local.functions))})\")"
  all_databases     = "resource.type=\"cloudsql_database\" resource.labels.database_id=\"${var.project_id}:${local.instance_name}\""

  instance_name = join("", google_sql_database_instance.sluice[*].name)

  subscription = "resource.type=\"pubsub_subscription\" AND"
  instance     = "resource.type=\"cloudsql_database\" AND resource.labels.database_id=\"${var.project_id}:${local.instance_name}\" AND"

  alerts = {
    dead-letters = {
      title    = "A message became a dead letter"
      says     = "A message was refused a hundred times, so a file or one of its chunks is not processed. See the section 'Dead letters' of the operations manual."
      filter   = "${local.subscription} resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", [for name in keys(local.pushes) : "${local.prefix}${name}"])}\") AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      above    = 0
      duration = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      period   = "300s"
      group_by = ["resource.label.subscription_id"]
    }
    client-endpoint = {
      title    = "An endpoint of a client does not take its events"
      says     = "A push subscription of a client gave up on an event after twenty attempts. Files are loaded; only the client does not hear of them. Ask its owner, or delete the subscription: see the section 'A dead endpoint' of the operations manual."
      filter   = "${local.subscription} resource.labels.subscription_id=monitoring.regex.full_match(\"${local.prefix}push-.*\") AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      above    = 0
      duration = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      period   = "300s"
      group_by = ["resource.label.subscription_id"]
    }
    oldest-message = {
      title    = "A message is older than 15 minutes"
      says     = "A function does not keep up, or fails on a message repeatedly. Its log names the message; max_loaders limits the function load."
      filter   = "${local.subscription} resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", [for name in keys(local.pushes) : "${local.prefix}${name}"])}\") AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      above    = 900
      duration = "300s"
      aligner  = "ALIGN_MAX"
      reducer  = "REDUCE_MAX"
      period   = "60s"
      group_by = ["resource.label.subscription_id"]
    }
    server-errors = {
      title    = "The API answers with 5xx"
      says     = "More than five requests failed in five minutes. The log of the function has the cause, which clients do not see."
      filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=monitoring.regex.full_match(\"${join("|", [for name in local.for_clients : "${local.prefix}${name}"])}\") AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
      above    = 5
      duration = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      period   = "300s"
      group_by = ["resource.label.service_name"]
    }
    client-errors = {
      title    = "The API refuses many requests"
      says     = "More than 200 requests were refused in five minutes: a client has an expired key or is limited, or somebody guesses keys. The log of the function has the codes of the problems and the callers."
      filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=monitoring.regex.full_match(\"${join("|", [for name in local.for_clients : "${local.prefix}${name}"])}\") AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"4xx\""
      above    = 200
      duration = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      period   = "300s"
      group_by = ["resource.label.service_name"]
    }
    slow-answers = {
      title    = "The API is slow"
      says     = "One of twenty requests to query or intake took longer than five seconds for a quarter of an hour. Query insights shows the statements; new instances take some seconds to start, see min_api_instances."
      filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=monitoring.regex.full_match(\"${local.prefix}query|${local.prefix}intake\") AND metric.type=\"run.googleapis.com/request_latencies\""
      above    = 5000
      duration = "900s"
      aligner  = "ALIGN_PERCENTILE_95"
      reducer  = "REDUCE_MAX"
      period   = "300s"
      group_by = ["resource.label.service_name"]
    }
  }

  database_alerts = { for name, each in {
    connections = {
      title    = "The database is short of connections"
      says     = "More than 80 per cent of the connections are in use. terraform plan checks that the functions have enough, so other clients are connected too."
      filter   = "${local.instance} metric.type=\"cloudsql.googleapis.com/database/postgresql/num_backends\""
      above    = floor(local.max_connections * 0.8)
      duration = "300s"
      aligner  = "ALIGN_MAX"
      reducer  = "REDUCE_SUM"
      period   = "60s"
      group_by = []
    }
    disk = {
      title    = "The disk of the database is nearly full"
      says     = "The disk is more than 85 per cent full although it grows automatically: it has reached its limit or grows too slowly."
      filter   = "${local.instance} metric.type=\"cloudsql.googleapis.com/database/disk/utilization\""
      above    = 0.85
      duration = "600s"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      period   = "300s"
      group_by = []
    }
    processor = {
      title    = "The processor of the database is overloaded"
      says     = "More than 90 per cent for half an hour. Query insights shows the statements; reduce max_loaders or choose a larger tier."
      filter   = "${local.instance} metric.type=\"cloudsql.googleapis.com/database/cpu/utilization\""
      above    = 0.9
      duration = "1800s"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      period   = "300s"
      group_by = []
    }
  } : name => each if local.has_cloud_sql }
}

# Alerts on what is logged. A metric made from logs is unknown to Cloud Monitoring for minutes after its creation, and an
# alert with a threshold on it is refused with 404: so these are on single records, or on a metric that is not checked.

locals {
  log_alerts = {
    stalled = {
      title = "An ingestion has stalled"
      says  = "Recovery sent its messages again and it made no progress. The record names the ingestion; see the section 'A stalled ingestion' of the operations manual."
      log   = "${local.function_logs} AND jsonPayload.message=\"stalled\" AND jsonPayload.resends>=2"
    }
    scheduled-jobs = {
      title = "A scheduled job failed"
      says  = "Recovery or the nightly backup was not done. The record has the status of the answer; the log of the function that was called has the cause."
      log   = "resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=(${join(" OR ", [for name in keys(local.schedules) : "\"${local.prefix}sluice-${name}\""])}) AND severity>=ERROR"
    }
    errors = {
      title = "A function logs errors"
      says  = "One function logged more than ten errors in five minutes. See its log in Cloud Logging."
      query = "sum by (service_name) (increase(logging_googleapis_com:user_${replace(google_logging_metric.sluice["sluice-errors"].name, "-", "_")}{monitored_resource=\"cloud_run_revision\"}[5m])) > 10"
    }
  }
}

resource "google_logging_metric" "sluice" {
  for_each = local.log_metrics

  name        = "${local.prefix}${each.key}"
  description = each.value.description
  filter      = "${local.function_logs} AND ${each.value.filter}"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.enabled]
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = each.key
  type         = "email"
  user_labels  = local.labels
  labels       = { email_address = each.key }

  depends_on = [google_project_service.enabled]
}

# Asks for /health of the API every five minutes from three continents. Without a public address there is nothing to ask:
# Cloud Run refuses requests without an identity.
resource "google_monitoring_uptime_check_config" "api" {
  for_each = local.balancer

  display_name     = "${local.title}: the API"
  period           = "300s"
  timeout          = "10s"
  selected_regions = ["EUROPE", "USA", "ASIA_PACIFIC"]
  user_labels      = local.labels

  http_check {
    path         = "/health"
    port         = 443
    use_ssl      = true
    validate_ssl = true

    accepted_response_status_codes {
      status_class = "STATUS_CLASS_2XX"
    }
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project_id, host = each.value }
  }

  depends_on = [google_project_service.enabled]
}

locals {
  uptime_alerts = {
    for name, check in google_monitoring_uptime_check_config.api : "unreachable" => {
      title    = "The API cannot be reached"
      says     = "Requests for /health from outside fail. Check the certificate and the DNS record of the domain, then the load balancer and the log of the function intake."
      filter   = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id=\"${check.uptime_check_id}\""
      above    = 1
      duration = "300s"
      aligner  = "ALIGN_NEXT_OLDER"
      reducer  = "REDUCE_COUNT_FALSE"
      period   = "600s"
      group_by = ["resource.label.host"]
    }
  }

  # A line of the log counts, as Pub/Sub has no metric of messages by attribute.
  silence_alerts = {
    for hours in var.alert_after_hours_without_files == null ? [] : [var.alert_after_hours_without_files] : "no-files" => {
      title = "No file was loaded for a long time"
      says  = "Files are expected more often, see alert_after_hours_without_files. Is the sender still uploading, and does the function split run? Failed files have alerts of their own."
      query = "(sum(increase(logging_googleapis_com:user_${replace(google_logging_metric.sluice["sluice-done"].name, "-", "_")}{monitored_resource=\"cloud_run_revision\"}[${hours}h])) or vector(0)) < 1"
    }
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = merge(local.alerts, local.database_alerts, local.log_alerts, local.uptime_alerts, local.silence_alerts)

  display_name          = "${local.title}: ${each.value.title}"
  combiner              = "OR"
  user_labels           = local.labels
  notification_channels = concat([for channel in google_monitoring_notification_channel.email : channel.name], var.alert_channels)

  documentation {
    content   = each.value.says
    mime_type = "text/markdown"
  }

  conditions {
    display_name = each.value.title

    dynamic "condition_threshold" {
      for_each = can(each.value.above) ? [each.value] : []
      content {
        filter          = condition_threshold.value.filter
        comparison      = "COMPARISON_GT"
        threshold_value = condition_threshold.value.above
        duration        = condition_threshold.value.duration

        aggregations {
          alignment_period     = condition_threshold.value.period
          per_series_aligner   = condition_threshold.value.aligner
          cross_series_reducer = condition_threshold.value.reducer
          group_by_fields      = condition_threshold.value.group_by
        }
      }
    }

    dynamic "condition_matched_log" {
      for_each = can(each.value.log) ? [each.value.log] : []
      content {
        filter = condition_matched_log.value
      }
    }

    dynamic "condition_prometheus_query_language" {
      for_each = can(each.value.query) ? [each.value.query] : []
      content {
        query                     = condition_prometheus_query_language.value
        duration                  = "0s"
        evaluation_interval       = "60s"
        disable_metric_validation = true
      }
    }
  }

  dynamic "alert_strategy" {
    for_each = can(each.value.log) ? ["3600s"] : []
    content {
      auto_close = "86400s"

      notification_rate_limit {
        period = alert_strategy.value
      }
    }
  }

  depends_on = [google_project_service.enabled]
}

resource "google_monitoring_dashboard" "sluice" {
  dashboard_json = jsonencode({
    displayName = local.title
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in [for each in [
          { title = "Messages waiting", filter = "${local.all_subscriptions} metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", aligner = "ALIGN_MAX", group_by = ["resource.label.subscription_id"] },
          { title = "Oldest message, seconds", filter = "${local.all_subscriptions} metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", aligner = "ALIGN_MAX", group_by = ["resource.label.subscription_id"] },
          { title = "Chunks loaded a second", filter = "resource.type=\"cloud_run_revision\" metric.type=\"logging.googleapis.com/user/${google_logging_metric.sluice["sluice-chunks"].name}\"", aligner = "ALIGN_RATE", group_by = [] },
          { title = "Errors a second", filter = "resource.type=\"cloud_run_revision\" metric.type=\"logging.googleapis.com/user/${google_logging_metric.sluice["sluice-errors"].name}\"", aligner = "ALIGN_RATE", group_by = ["resource.label.service_name"] },
          { title = "Requests a second", filter = "${local.all_functions} metric.type=\"run.googleapis.com/request_count\"", aligner = "ALIGN_RATE", group_by = ["resource.label.service_name"] },
          { title = "Instances", filter = "${local.all_functions} metric.type=\"run.googleapis.com/container/instance_count\"", aligner = "ALIGN_MAX", group_by = ["resource.label.service_name"] },
          { title = "Connections to the database", filter = "${local.all_databases} metric.type=\"cloudsql.googleapis.com/database/postgresql/num_backends\"", aligner = "ALIGN_MAX", group_by = [] },
          { title = "Processor and disk of the database", filter = "${local.all_databases} metric.type=\"cloudsql.googleapis.com/database/cpu/utilization\"", aligner = "ALIGN_MEAN", group_by = [] },
          ] : each if local.has_cloud_sql || !strcontains(each.title, "database")] : merge(
          # Google leaves out positions of zero, which every plan would add again.
          { for axis, position in { xPos = (index % 2) * 6, yPos = floor(index / 2) * 4 } : axis => position if position > 0 },
          {
            width  = 6
            height = 4
            widget = {
              title = chart.title
              xyChart = {
                dataSets = [{
                  plotType = "LINE"
                  timeSeriesQuery = {
                    timeSeriesFilter = {
                      filter = chart.filter
                      aggregation = {
                        alignmentPeriod    = "60s"
                        perSeriesAligner   = chart.aligner
                        crossSeriesReducer = "REDUCE_SUM"
                        groupByFields      = chart.group_by
                      }
                    }
                  }
                }]
              }
            }
        })
      ]
    }
  })

  depends_on = [google_project_service.enabled]
}

resource "google_billing_budget" "monthly" {
  for_each = var.budget == null ? {} : { monthly = var.budget }

  billing_account = each.value.billing_account
  display_name    = "${local.title} in ${var.project_id}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      currency_code = each.value.currency
      units         = tostring(floor(each.value.monthly_amount))
    }
  }

  dynamic "threshold_rules" {
    for_each = each.value.alert_at_percent
    content {
      threshold_percent = threshold_rules.value / 100
    }
  }
}
