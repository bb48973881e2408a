# Optional: one address for all routes of the API, with HTTPS, the routes of sluice.routes and a rate limit.
#
# Port 80 is closed: a redirect would come after the key was sent in clear text.

locals {
  # The same as in sluice.routes; a test compares the two. HEAD is routed like GET.
  routes = [for each in [
    { function = "query", methods = ["GET"], path = "/openapi.json" },
    { function = "query", methods = ["GET"], path = "/docs" },
    { function = "query", methods = ["GET"], path = "/v1/datasets" },
    { function = "query", methods = ["GET"], path = "/v1/datasets/{dataset}" },
    { function = "query", methods = ["GET"], path = "/v1/datasets/{dataset}/rows" },
    { function = "query", methods = ["GET"], path = "/v1/datasets/{dataset}/rows/{key}" },
    { function = "query", methods = ["GET"], path = "/v1/datasets/{dataset}/queries" },
    { function = "query", methods = ["GET"], path = "/v1/datasets/{dataset}/queries/{query}" },
    { function = "query", methods = ["POST"], path = "/v1/infer" },
    { function = "intake", methods = ["PUT"], path = "/v1/datasets/{dataset}" },
    { function = "intake", methods = ["POST"], path = "/v1/datasets/{dataset}/rows" },
    { function = "intake", methods = ["POST"], path = "/v1/rows" },
    { function = "intake", methods = ["POST"], path = "/v1/uploads" },
    { function = "intake", methods = ["POST"], path = "/v1/ingestions/{ingestion}/cancel" },
    { function = "intake", methods = ["POST"], path = "/v1/ingestions/{ingestion}/retry" },
    { function = "intake", methods = ["POST"], path = "/v1/ingestions/{ingestion}/undo" },
    { function = "intake", methods = ["POST"], path = "/v1/ingestions/{ingestion}/redo" },
    { function = "intake", methods = ["POST"], path = "/v1/ingestions/{ingestion}/verify" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions/{ingestion}" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions/{ingestion}/rejects" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions/{ingestion}/duplicates" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions/{ingestion}/output" },
    { function = "status", methods = ["GET"], path = "/v1/ingestions/{ingestion}/events" },
    { function = "status", methods = ["GET", "POST"], path = "/v1/subscriptions" },
    { function = "status", methods = ["GET", "DELETE"], path = "/v1/subscriptions/{subscription}" },
    { function = "backup", methods = ["GET", "POST"], path = "/v1/backups" },
    { function = "backup", methods = ["GET"], path = "/v1/backups/{backup}" },
    { function = "backup", methods = ["POST"], path = "/v1/backups/{backup}/restore" },
    { function = "backup", methods = ["GET"], path = "/v1/backups/{backup}/compare" },
    { function = "intake", methods = ["GET", "POST"], path = "/v1/keys" },
    { function = "intake", methods = ["POST"], path = "/v1/keys/{id}/rotate" },
    { function = "intake", methods = ["DELETE"], path = "/v1/keys/{id}" },
    { function = "intake", methods = ["GET"], path = "/v1/dead-letters" },
    { function = "intake", methods = ["POST"], path = "/v1/dead-letters/replay" },
    { function = "intake", methods = ["POST"], path = "/v1/dead-letters/drop" },
    { function = "intake", methods = ["GET"], path = "/v1/audit" },
    { function = "backup", methods = ["POST"], path = "/backup" },
    { function = "backup", methods = ["POST"], path = "/restore" },
  ] : each if contains(keys(local.functions), each.function)]

  behind_balancer = toset(local.has_load_balancer ? local.for_clients : [])
  balancer        = local.has_load_balancer ? { api = var.api_domain } : {}
}

resource "google_compute_global_address" "api" {
  for_each = local.balancer

  name   = "${local.prefix}sluice-api"
  labels = local.labels

  depends_on = [google_project_service.enabled]
}

resource "google_compute_managed_ssl_certificate" "api" {
  for_each = local.balancer

  # A certificate cannot change its domain: a new one is created before the old one is destroyed.
  name = "${local.prefix}sluice-${substr(sha256(each.value), 0, 8)}"

  managed {
    domains = [each.value]
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.enabled]
}

resource "google_compute_ssl_policy" "api" {
  for_each = local.balancer

  name            = "${local.prefix}sluice-api"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.enabled]
}

resource "google_compute_region_network_endpoint_group" "api" {
  for_each = local.behind_balancer

  name                  = "${local.prefix}sluice-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloudfunctions2_function.function[each.key].name
  }
}

resource "google_compute_backend_service" "api" {
  for_each = local.behind_balancer

  name                  = "${local.prefix}sluice-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.api["api"].id

  backend {
    group = google_compute_region_network_endpoint_group.api[each.key].id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "api" {
  for_each = local.balancer

  name            = "${local.prefix}sluice-api"
  default_service = google_compute_backend_service.api["intake"].id

  host_rule {
    hosts        = [each.value]
    path_matcher = "routes"
  }

  path_matcher {
    name            = "routes"
    default_service = google_compute_backend_service.api["intake"].id # serves the routes that datasets declare

    dynamic "route_rules" {
      for_each = local.routes
      content {
        priority = route_rules.key + 1
        service  = google_compute_backend_service.api[route_rules.value.function].id

        dynamic "match_rules" {
          for_each = concat(route_rules.value.methods, contains(route_rules.value.methods, "GET") ? ["HEAD"] : [])
          content {
            path_template_match = replace(route_rules.value.path, "}", "=*}")

            header_matches {
              header_name = ":method"
              exact_match = match_rules.value
            }
          }
        }
      }
    }
  }
}

resource "google_compute_target_https_proxy" "api" {
  for_each = local.balancer

  name             = "${local.prefix}sluice-api"
  url_map          = google_compute_url_map.api[each.key].id
  ssl_certificates = [google_compute_managed_ssl_certificate.api[each.key].id]
  ssl_policy       = google_compute_ssl_policy.api[each.key].id
}

resource "google_compute_global_forwarding_rule" "api" {
  for_each = local.balancer

  name                  = "${local.prefix}sluice-api"
  labels                = local.labels
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api[each.key].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.api[each.key].id
}

resource "google_compute_security_policy" "api" {
  for_each = local.balancer

  name        = "${local.prefix}sluice-api"
  description = "Limits the rate of requests from one address."
  labels      = local.labels

  rule {
    action      = "throttle"
    priority    = 1000
    description = "Answers 429 above the limit per minute and address."

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = var.rate_limit_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    action      = "allow"
    priority    = 2147483647
    description = "Allows all other requests."

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.enabled]
}
