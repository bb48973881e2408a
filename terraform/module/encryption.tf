# The customer's key, if there is one, and the service agents that encrypt and decrypt with it.
#
# The images of the functions are not encrypted with it: Cloud Functions keeps them in a repository of its own.

locals {
  kms_keys = var.kms_key == null ? {} : { key = var.kms_key }
  encrypting_agents = var.kms_key == null ? {} : merge(
    {
      storage = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
      pubsub  = local.pubsub_agent
    },
    local.has_cloud_sql ? {
      sql = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    } : {},
    local.has_load_balancer ? {
      secrets = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
    } : {},
  )
}

# Google creates these agents at the first use of their service, which is too late for the rights below.
resource "google_project_service_identity" "encrypting" {
  provider = google-beta
  for_each = var.kms_key == null ? toset([]) : toset(concat(
    local.has_cloud_sql ? ["sqladmin.googleapis.com"] : [],
    local.has_load_balancer ? ["secretmanager.googleapis.com"] : []
  ))

  project = var.project_id
  service = each.key

  depends_on = [google_project_service.enabled]
}

resource "google_kms_crypto_key_iam_member" "agent_encrypts" {
  for_each = local.encrypting_agents

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value

  depends_on = [google_project_service_identity.encrypting, google_project_service_identity.pubsub]
}
