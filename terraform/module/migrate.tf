# The migration job: brings the database up to date before new code takes traffic.
#
# A Cloud Run job, because the database has a private address only, which neither Terraform nor Cloud Build's default
# pool can reach. It needs no image of its own and so no registry: a plain Python image runs the bundle from the
# bucket of sources. Each new bundle is executed once; `terraform apply` waits for it, and the functions wait for the
# job. By hand: gcloud run jobs execute migrate --wait

resource "google_service_account" "migrate" {
  account_id   = "${local.prefix}sluice-migrate"
  display_name = "Migrates the database of ${local.title}"

  depends_on = [google_project_service.enabled]
}

resource "google_storage_bucket_iam_member" "migrate_reads_sources" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.migrate.member
}

resource "google_cloud_run_v2_job" "migrate" {
  name                = "${local.prefix}migrate"
  labels              = local.labels
  location            = var.region
  deletion_protection = false # it has no state

  # A new bundle, or a change of the readers, is executed once, and apply fails if the execution fails.
  run_execution_token = join("-", concat(
    [substr(data.archive_file.source["migrate"].output_sha256, 0, 12)],
    length(var.readers) == 0 ? [] : [substr(sha256(jsonencode(var.readers)), 0, 8)],
  ))

  template {
    template {
      service_account = google_service_account.migrate.email
      max_retries     = 1
      timeout         = "3600s"

      dynamic "vpc_access" {
        for_each = local.egresses
        content {
          egress = "PRIVATE_RANGES_ONLY"

          network_interfaces {
            network    = vpc_access.value.network
            subnetwork = vpc_access.value.subnetwork
          }
        }
      }

      volumes {
        name = "sources"

        gcs {
          bucket    = google_storage_bucket.sources.name
          read_only = true
        }
      }

      containers {
        image   = "docker.io/library/python:3.13-slim"
        command = ["/bin/sh", "-euc"]
        args = [join("\n", [
          "python -m zipfile -e /sources/${google_storage_bucket_object.source["migrate"].name} /tmp/job",
          "python -m pip install --quiet --require-hashes --target /tmp/packages -r /tmp/job/requirements.txt",
          "cd /tmp/job",
          "PYTHONPATH=/tmp/job:/tmp/packages exec python main.py",
        ])]

        resources {
          limits = { cpu = "1", memory = "2Gi" } # the packages are in memory, as /tmp is
        }

        volume_mounts {
          name       = "sources"
          mount_path = "/sources"
        }

        dynamic "env" {
          for_each = merge(
            { for name, value in local.common_settings : "SLUICE_${upper(name)}" => value },
            { SLUICE_POOL_SIZE = "2" },
            local.has_cloud_sql ? {
              SLUICE_DATABASE_USER = google_sql_user.migrate[0].name
              DATABASE_USERS       = jsonencode(local.database_users)
            } : {},
            length(var.readers) == 0 ? {} : { DATABASE_READERS = jsonencode([for each in local.readers : each.name]) },
          )
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = local.url_secret
          content {
            name = "SLUICE_DATABASE_URL"
            value_source {
              secret_key_ref {
                secret  = env.value
                version = "latest"
              }
            }
          }
        }
      }
    }
  }

  # `gcloud run jobs execute` notes itself in the job.
  lifecycle {
    ignore_changes = [client, client_version]

    precondition {
      condition     = local.has_cloud_sql || var.database_max_connections == null ? true : local.wanted_connections <= var.database_max_connections
      error_message = "The functions may open ${local.wanted_connections} connections, the database takes database_max_connections = ${coalesce(var.database_max_connections, 0)}. Lower max_loaders or max_api_instances."
    }
  }

  depends_on = [
    google_sql_user.function,
    google_sql_user.reader,
    google_project_iam_member.connects,
    google_secret_manager_secret_iam_member.reads_url,
    google_storage_bucket_iam_member.migrate_reads_sources,
  ]
}
