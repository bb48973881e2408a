# The buckets: inbox for files, outbox for outputs, backups and chunks, sources for code. And who may use them.

locals {
  buckets = {
    inbox   = "${var.project_id}-${local.prefix}inbox"
    outbox  = "${var.project_id}-${local.prefix}outbox"
    sources = "${var.project_id}-${local.prefix}sluice-sources"
  }
  # Prefixes under which gcloud and gsutil upload the parts of large files before they compose them.
  upload_parts = ["gcloud/tmp/parallel_composite_uploads/", "gsutil/tmp/parallel_composite_uploads/"]
}

resource "google_storage_bucket" "inbox" {
  name                        = local.buckets.inbox
  labels                      = local.labels
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.is_protected

  # No soft deletion: files live a few days, and each deleted part of an upload would be kept and billed.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = var.inbox_days
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 1
      matches_prefix = local.upload_parts
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "cors" {
    for_each = length(var.upload_origins) > 0 ? [var.upload_origins] : []
    content {
      origin          = cors.value
      method          = ["GET", "POST", "PUT", "OPTIONS"]
      response_header = ["Content-Type", "Content-Range", "Location", "Range", "X-Goog-Resumable"]
      max_age_seconds = 3600
    }
  }

  dynamic "encryption" {
    for_each = local.kms_keys
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.enabled, google_kms_crypto_key_iam_member.agent_encrypts]
}

resource "google_storage_bucket" "outbox" {
  name                        = local.buckets.outbox
  labels                      = local.labels
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.is_protected

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions = 3
    }
  }

  # The content of compressed files, which is of use only while they load. Recovery deletes it; this rule
  # deletes the older versions that leaves, and what it misses.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 1
      matches_prefix             = ["chunks/"]
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.inbox_days
      matches_prefix = ["chunks/"]
    }
  }

  # Old backups of the datasets. A deletion makes them older versions first, which are deleted after another week.
  dynamic "lifecycle_rule" {
    for_each = var.dataset_backup_days == null ? [] : [var.dataset_backup_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        with_state     = "LIVE"
        matches_prefix = ["backups/"]
      }
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 7
      matches_prefix             = ["backups/"]
    }
  }

  # Parts of uploads that were never completed.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 7
      matches_prefix = ["parts/"]
    }
  }

  dynamic "encryption" {
    for_each = local.kms_keys
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.enabled, google_kms_crypto_key_iam_member.agent_encrypts]
}

resource "google_storage_bucket" "sources" {
  name                        = local.buckets.sources
  labels                      = local.labels
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "encryption" {
    for_each = local.kms_keys
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.enabled, google_kms_crypto_key_iam_member.agent_encrypts]
}

# Notifications of objects in the inbox, published to the topic `uploads`.

data "google_storage_project_service_account" "agent" {
  depends_on = [google_project_service.enabled]
}

resource "google_pubsub_topic_iam_member" "storage_notifies" {
  topic  = google_pubsub_topic.engine["uploads"].name
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
}

resource "google_storage_notification" "uploads" {
  bucket         = google_storage_bucket.inbox.name
  topic          = google_pubsub_topic.engine["uploads"].id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]

  depends_on = [google_pubsub_topic_iam_member.storage_notifies]
}

# Who may use the buckets.

resource "google_storage_bucket_iam_member" "reads_inbox" {
  for_each = toset(["split", "load", "intake"])

  bucket = google_storage_bucket.inbox.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.function[each.key].member
}

resource "google_project_iam_custom_role" "uploader" {
  role_id     = "${local.role_prefix}sluiceUploader"
  title       = "${local.title} uploader"
  description = "Creates and replaces objects without reading them."
  permissions = ["storage.objects.create", "storage.objects.delete"]

  depends_on = [google_project_service.enabled]
}

# `gcloud storage cp` and gsutil look for an object before they replace it, and list what a pattern means.
resource "google_project_iam_custom_role" "sender" {
  role_id     = "${local.role_prefix}sluiceSender"
  title       = "${local.title} sender"
  description = "Creates, replaces, reads and lists objects, as gcloud storage and gsutil do to upload files."
  permissions = [
    "storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list"
  ]

  depends_on = [google_project_service.enabled]
}

resource "google_storage_bucket_iam_member" "intake_uploads" {
  bucket = google_storage_bucket.inbox.name
  role   = google_project_iam_custom_role.uploader.name
  member = google_service_account.function["intake"].member
}

# Multipart uploads: intake stores the parts in the outbox until they are one object of the inbox.

resource "google_storage_bucket_iam_member" "intake_stores_parts" {
  bucket = google_storage_bucket.outbox.name
  role   = "roles/storage.objectUser"
  member = google_service_account.function["intake"].member

  condition {
    title      = "parts"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.outbox.name}/objects/parts/\")"
  }
}

resource "google_storage_bucket_iam_member" "people_upload" {
  for_each = toset(var.uploaders)

  bucket = google_storage_bucket.inbox.name
  role   = google_project_iam_custom_role.sender.name
  member = each.key
}

# Compressed files: split writes the content of each chunk to the outbox, where load reads it and finish deletes it
# (recovery). None of them has access to other objects there.

resource "google_project_iam_custom_role" "chunk_remover" {
  role_id     = "${local.role_prefix}sluiceChunkRemover"
  title       = "${local.title} chunk remover"
  description = "Deletes objects without reading or listing them."
  permissions = ["storage.objects.delete"]

  depends_on = [google_project_service.enabled]
}

resource "google_storage_bucket_iam_member" "reaches_chunks" {
  for_each = {
    split  = google_project_iam_custom_role.uploader.name
    load   = "roles/storage.objectViewer"
    finish = google_project_iam_custom_role.chunk_remover.name
  }

  bucket = google_storage_bucket.outbox.name
  role   = each.value
  member = google_service_account.function[each.key].member

  condition {
    title      = "chunks only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.outbox.name}/objects/chunks/\")"
  }
}

# Outputs: finish writes one for each file of a dataset that declares it; status serves it, and intake serves it as
# the download of a job.

resource "google_storage_bucket_iam_member" "reaches_outputs" {
  for_each = {
    finish = "roles/storage.objectUser"
    status = "roles/storage.objectViewer"
    intake = "roles/storage.objectViewer"
  }

  bucket = google_storage_bucket.outbox.name
  role   = each.value
  member = google_service_account.function[each.key].member

  condition {
    title      = "outputs"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.outbox.name}/objects/outputs/\")"
  }
}

# Rejects: the function that ends an ingestion writes them for people to fix; status reads them from the database.

resource "google_storage_bucket_iam_member" "writes_rejects" {
  for_each = toset(["split", "load", "finish"])

  bucket = google_storage_bucket.outbox.name
  role   = "roles/storage.objectUser"
  member = google_service_account.function[each.key].member

  condition {
    title      = "rejects"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.outbox.name}/objects/rejects/\")"
  }
}

resource "google_storage_bucket_iam_member" "backup_writes_outbox" {
  for_each = toset([for each in ["backup"] : each if contains(keys(local.functions), each)])

  bucket = google_storage_bucket.outbox.name
  role   = "roles/storage.objectUser"
  member = google_service_account.function[each.key].member
}
