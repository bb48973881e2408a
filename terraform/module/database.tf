# Cloud SQL for PostgreSQL: instance, database, a user for each service account, the check of its connections. Or a
# database of one's own, whose URL is in a secret.

locals {
  has_cloud_sql = var.database_url_secret == null
  url_secret    = local.has_cloud_sql ? {} : { url = var.database_url_secret }

  # Memory in MB to connections: https://cloud.google.com/sql/docs/postgres/flags#postgres-m
  connections_by_memory = [
    { from_mb = 122880, connections = 1000 },
    { from_mb = 61440, connections = 800 },
    { from_mb = 30720, connections = 600 },
    { from_mb = 15360, connections = 500 },
    { from_mb = 7680, connections = 400 },
    { from_mb = 6144, connections = 200 },
    { from_mb = 3840, connections = 100 },
    { from_mb = 1740, connections = 50 },
    { from_mb = 0, connections = 25 },
  ]
  database_memory_mb = (
    var.database_tier == "db-g1-small" ? 1740 :
    tonumber(element(split("-", var.database_tier), 3))
  )
  max_connections = coalesce(
    var.database_max_connections,
    [for each in local.connections_by_memory : each.connections if local.database_memory_mb >= each.from_mb][0],
  )

  # For Cloud SQL itself, the migration job and an operator's psql.
  reserved_connections = 10
  function_connections = {
    for name, each in local.functions : name => each.max_instances * (each.pool_size + each.extra_connections)
  }
  wanted_connections = sum(values(local.function_connections)) + local.reserved_connections
}

resource "google_sql_database_instance" "sluice" {
  count = local.has_cloud_sql ? 1 : 0

  name             = "${local.prefix}sluice"
  region           = var.region
  database_version = "POSTGRES_18"

  deletion_protection = var.is_protected
  encryption_key_name = var.kms_key

  settings {
    tier                        = var.database_tier
    edition                     = "ENTERPRISE" # since PostgreSQL 16 the default is Enterprise Plus, at twice the price
    availability_type           = var.database_is_highly_available ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.database_disk_gb
    disk_autoresize             = true
    deletion_protection_enabled = var.is_protected
    user_labels                 = local.labels
    connector_enforcement       = "REQUIRED"

    ip_configuration {
      ipv4_enabled                                  = var.database_has_public_address
      private_network                               = google_compute_network.sluice[0].id
      enable_private_path_for_google_cloud_services = true
      ssl_mode                                      = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = min(var.backup_days, 7)

      backup_retention_settings {
        retained_backups = var.backup_days
      }
    }

    insights_config {
      query_insights_enabled  = true
      query_string_length     = 4500
      query_plans_per_minute  = 5
      record_application_tags = true
      record_client_address   = false
    }

    maintenance_window {
      day  = 7
      hour = 3
    }

    dynamic "database_flags" {
      for_each = merge(
        {
          "cloudsql.iam_authentication" = "on"
          # Bulk loads write WAL fast; with fewer checkpoints fewer full pages are written to it.
          "checkpoint_timeout" = "900"
          "max_wal_size"       = "4096"
          "wal_compression"    = "on"
          # Compiling a statement costs more than the milliseconds that queries take.
          "jit" = "off"
          # Idle transactions are ended: a lock of a dead client would block a publication.
          "idle_in_transaction_session_timeout" = "600000"
          # The first thing to look at when something is slow.
          "log_lock_waits"     = "on"
          "log_temp_files"     = "10240"
          "log_checkpoints"    = "on"
          "log_connections"    = "on"
          "log_disconnections" = "on"
          # Logs have no values of rows or parameters; slow statements are in Query Insights, without them.
          "log_min_duration_statement" = "-1"
          "log_error_verbosity"        = "terse"
        },
        var.database_max_connections == null ? {} : { "max_connections" = tostring(var.database_max_connections) },
      )
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # the disk grows automatically

    precondition {
      condition     = local.wanted_connections <= local.max_connections
      error_message = "The functions may open ${local.wanted_connections} connections (${join(", ", [for name, count in local.function_connections : "${name} ${count}"])}, reserved ${local.reserved_connections}), the database ${var.database_tier} takes ${local.max_connections}. Lower max_loaders or max_api_instances, or take a database_tier with more memory."
    }
  }

  depends_on = [google_service_networking_connection.database, google_kms_crypto_key_iam_member.agent_encrypts]
}

resource "google_sql_database" "sluice" {
  count = local.has_cloud_sql ? 1 : 0

  name     = "sluice"
  instance = google_sql_database_instance.sluice[0].name

  # Its objects belong to roles of the instance, which only deleting the instance removes.
  deletion_policy = "ABANDON"
}

# Users log in with the token of their service account; there are no passwords.

resource "google_sql_user" "function" {
  for_each = local.has_cloud_sql ? local.functions : {}

  instance        = google_sql_database_instance.sluice[0].name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  name            = local.database_users[each.key]
  deletion_policy = "ABANDON" # it may own tables
}

resource "google_sql_user" "migrate" {
  count = local.has_cloud_sql ? 1 : 0

  instance        = google_sql_database_instance.sluice[0].name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  name            = local.database_users["migrate"]
  database_roles  = ["cloudsqlsuperuser"] # creates the roles of the others
  deletion_policy = "ABANDON"
}

locals {
  # Names in PostgreSQL omit the domain that all service accounts end in.
  database_users = {
    for name in concat(keys(local.functions), ["migrate"]) :
    name => "${local.prefix}sluice-${name}@${var.project_id}.iam"
  }
}

# People and groups that read published rows with tools of their own. The migration job makes them members of
# sluice_reader, which reads the views of published rows and nothing else.

locals {
  kinds_of_readers = {
    user           = "CLOUD_IAM_USER"
    group          = "CLOUD_IAM_GROUP"
    serviceAccount = "CLOUD_IAM_SERVICE_ACCOUNT"
  }
  readers = {
    for each in var.readers : each => {
      type = local.kinds_of_readers[split(":", each)[0]]
      name = trimsuffix(split(":", each)[1], ".gserviceaccount.com")
    }
  }
}

resource "google_sql_user" "reader" {
  for_each = local.readers

  instance = google_sql_database_instance.sluice[0].name
  type     = each.value.type
  name     = each.value.name
}

resource "google_project_iam_member" "reader" {
  for_each = {
    for pair in setproduct(var.readers, ["roles/cloudsql.client", "roles/cloudsql.instanceUser", "roles/cloudsql.studioUser"]) :
    "${pair[0]} ${pair[1]}" => { member = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = each.value.member
}

resource "google_project_iam_member" "connects" {
  for_each = merge([
    for name in local.has_cloud_sql ? concat(keys(local.functions), ["migrate"]) : [] : {
      "${name}-client" = { account = name, role = "roles/cloudsql.client" }
      "${name}-user"   = { account = name, role = "roles/cloudsql.instanceUser" }
    }
  ]...)

  project = var.project_id
  role    = each.value.role
  member = (
    each.value.account == "migrate"
    ? google_service_account.migrate.member
    : google_service_account.function[each.value.account].member
  )
}

# A database of one's own: who may read its URL.

resource "google_secret_manager_secret_iam_member" "reads_url" {
  for_each = toset(local.has_cloud_sql ? [] : concat(keys(local.functions), ["migrate"]))

  project   = split("/", var.database_url_secret)[1]
  secret_id = split("/", var.database_url_secret)[3]
  role      = "roles/secretmanager.secretAccessor"
  member = (
    each.key == "migrate" ? google_service_account.migrate.member : google_service_account.function[each.key].member
  )
}

moved {
  from = google_sql_database_instance.sluice
  to   = google_sql_database_instance.sluice[0]
}

moved {
  from = google_sql_database.sluice
  to   = google_sql_database.sluice[0]
}

moved {
  from = google_sql_user.migrate
  to   = google_sql_user.migrate[0]
}
