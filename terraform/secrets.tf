# The bearer token of the API, if it has a public address, and the accounts that may read it.

locals {
  has_load_balancer = var.api_domain != ""
  token             = local.has_load_balancer ? { token = "sluice-token" } : {}
}

# Rotate it with: terraform apply -replace='random_password.token["token"]'
resource "random_password" "token" {
  for_each = local.token

  length  = 48
  special = false
}

resource "google_secret_manager_secret" "token" {
  for_each = local.token

  secret_id = each.value

  replication {
    auto {}
  }

  depends_on = [google_project_service.enabled]
}

resource "google_secret_manager_secret_version" "token" {
  for_each = local.token

  secret      = google_secret_manager_secret.token[each.key].id
  secret_data = random_password.token[each.key].result

  lifecycle {
    create_before_destroy = true # the functions use the new one before the old one is destroyed
  }
}

resource "google_secret_manager_secret_iam_member" "function_reads_token" {
  for_each = toset(local.has_load_balancer ? local.for_clients : [])

  secret_id = google_secret_manager_secret.token["token"].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.key].member
}
