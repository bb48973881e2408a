# The key of the first administrator of the API, if it has a public address, and the accounts that may read it.

locals {
  has_load_balancer = var.api_domain != ""
  token             = local.has_load_balancer ? { token = "${local.prefix}sluice-token" } : {}
}

resource "google_secret_manager_secret" "token" {
  for_each = local.token

  secret_id = each.value
  labels    = local.labels

  # Organisations may restrict the locations of resources, which the automatic replication ignores.
  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = local.kms_keys
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.enabled, google_kms_crypto_key_iam_member.agent_encrypts]
}

resource "google_secret_manager_secret_version" "token" {
  for_each = local.token

  secret = google_secret_manager_secret.token[each.key].id

  # 244 random bits, made while applying and written to Secret Manager only: neither the plan nor the state has them.
  # Each apply makes others, which are not written unless the version changes.
  secret_data_wo         = replace("${uuid()}${uuid()}", "-", "")
  secret_data_wo_version = var.token_version

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
