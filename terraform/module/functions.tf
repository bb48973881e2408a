# The functions: size, settings, source, service account and invokers of each.

locals {
  # A function times out before the ack deadline of its message, so that no two instances work on one message.
  #
  # concurrency        concurrent requests of an instance; its threads
  # pool_size          size of an instance's pool of database connections
  # extra_connections  connections outside the pool: split holds a lock on one for each file, status listens on one
  # settings           the settings that its code reads, see sluice.settings
  sizes = {
    split = {
      memory         = "1Gi", cpu = "1", concurrency = 16, timeout_s = 570
      min_instances  = 0, max_instances = max(1, ceil(var.max_loaders / 4))
      pool_size      = 4, extra_connections = 4
      is_for_clients = false
      settings = [
        "project", "inbox", "outbox", "chunk_bytes", "copy_block_bytes", "max_rejects", "max_attempts",
        "give_up_after_s", "max_content_bytes", "max_expansion", "files_at_once"
      ]
    }
    load = {
      memory         = "2Gi", cpu = "1", concurrency = 1, timeout_s = 570
      min_instances  = 0, max_instances = var.max_loaders
      pool_size      = 2, extra_connections = 0
      is_for_clients = false
      settings = [
        "project", "outbox", "copy_block_bytes", "max_rejects", "max_attempts", "give_up_after_s"
      ]
    }
    finish = {
      memory         = "512Mi", cpu = "1", concurrency = 4, timeout_s = 570
      min_instances  = 0, max_instances = max(1, ceil(var.max_loaders / 5))
      pool_size      = 4, extra_connections = 0
      is_for_clients = false
      settings = [
        "project", "outbox", "max_rejects", "publish_step_rows", "recovery_idle_s", "max_attempts", "give_up_after_s",
        "max_resends", "max_content_bytes", "max_expansion"
      ]
    }
    query = {
      memory         = "1Gi", cpu = "1", concurrency = 16, timeout_s = 3600
      min_instances  = var.min_api_instances, max_instances = var.max_api_instances
      pool_size      = 16, extra_connections = 0
      is_for_clients = true
      settings = [
        "project", "max_rows", "statement_timeout_s", "cache_s", "cache_bytes", "public_url", "audiences", "administrators",
        "requests_per_minute", "failures_per_minute", "forwarded_hops"
      ]
    }
    intake = {
      memory         = "1Gi", cpu = "1", concurrency = 16, timeout_s = 300
      min_instances  = 0, max_instances = var.max_api_instances
      pool_size      = 4, extra_connections = 0
      is_for_clients = true
      settings = [
        "project", "inbox", "outbox", "statement_timeout_s", "copy_block_bytes", "max_content_bytes", "max_expansion",
        "public_url", "audiences", "administrators",
        "requests_per_minute", "failures_per_minute", "forwarded_hops"
      ]
    }
    status = {
      memory         = "512Mi", cpu = "1", concurrency = 80, timeout_s = 3600
      min_instances  = 0, max_instances = var.max_api_instances
      pool_size      = 4, extra_connections = 1
      is_for_clients = true
      settings = [
        "project", "max_rows", "statement_timeout_s", "push_service_account", "public_url", "audiences", "administrators",
        "requests_per_minute", "failures_per_minute", "forwarded_hops"
      ]
    }
    backup = {
      memory         = "2Gi", cpu = "2", concurrency = 4, timeout_s = 3600
      min_instances  = 0, max_instances = 1
      pool_size      = 6, extra_connections = 0
      is_for_clients = true
      settings = [
        "project", "outbox", "copy_block_bytes", "public_url", "audiences", "administrators", "requests_per_minute",
        "failures_per_minute", "forwarded_hops"
      ]
    }
  }

  functions   = local.sizes
  for_clients = toset([for name, each in local.functions : name if each.is_for_clients])

  # Settings of all functions, and the values of those that only some read.
  common_settings = merge(
    { log_level = var.log_level, traces_endpoint = var.traces_endpoint },
    local.has_cloud_sql ? {
      database_instance = google_sql_database_instance.sluice[0].connection_name
      database_name     = google_sql_database.sluice[0].name
      database_ip_type  = "private"
    } : {},
  )
  settings = {
    project              = var.project_id
    inbox                = google_storage_bucket.inbox.name
    outbox               = google_storage_bucket.outbox.name
    chunk_bytes          = var.chunk_mib * 1024 * 1024
    files_at_once        = max(8, 2 * var.max_loaders) # of a dataset: enough for all loaders, and few in their queue
    copy_block_bytes     = 256 * 1024
    max_rejects          = 100000
    max_content_bytes    = 64 * 1024 * 1024 * 1024
    max_expansion        = 250
    publish_step_rows    = 250000
    max_rows             = var.max_rows
    cache_s              = 60
    cache_bytes          = 64 * 1024 * 1024
    recovery_idle_s      = 900  # longer than a message is processed
    max_attempts         = 10   # failed attempts of a step; a message has 100 deliveries
    give_up_after_s      = 1800 # longer than an outage of the database or Cloud Storage usually lasts
    max_resends          = 5    # the wait doubles: eight hours in all
    statement_timeout_s  = var.statement_timeout_s
    push_service_account = google_service_account.client_push.email
    public_url           = local.public_url
    requests_per_minute  = var.requests_per_minute
    failures_per_minute  = 60
    forwarded_hops       = local.has_load_balancer ? 2 : 1 # the balancer appends its own address after the client's
    audiences            = join(",", concat([for name in local.for_clients : local.function_urls[name]], local.tool_audiences))
    administrators       = join(",", concat(var.administrators, [google_service_account.scheduler.email]))
  }
  public_url = (
    local.has_load_balancer
    ? "https://${var.api_domain}"
    : local.function_urls["query"]
  )
  # The addresses that Cloud Run gives the functions, known before they exist.
  function_urls = {
    for name in keys(local.functions) : name => "https://${local.prefix}${name}-${data.google_project.this.number}.${var.region}.run.app"
  }
  # `gcloud auth print-identity-token` of a person is for gcloud itself, which Cloud Run accepts, too.
  tool_audiences = local.has_load_balancer ? [] : ["32555940559.apps.googleusercontent.com"]

  runtime = "python313" # cloudbuild.yaml tests it
}

# Sources: the same files as functions/bundle.py writes; a test compares the two. An archive is named by the hash of
# its content, or new code would not be deployed.

locals {
  # The same text as before there was a module, so that the archives keep their paths.
  checkout = "${dirname(path.module)}/.."
  package_files = [
    for file in fileset("${local.checkout}/shared/sluice", "**") : file
    if !can(regex("^(cli|client|local)/|__pycache__", file))
  ]
  shipped_files = merge(
    { for file in local.package_files : "sluice/${file}" => "${local.checkout}/shared/sluice/${file}" },
    { for file in fileset("${local.checkout}/sql", "**") : "sql/${file}" => "${local.checkout}/sql/${file}" },
  )
  source_folders = merge(
    { for name in keys(local.functions) : name => "${local.checkout}/functions/${name}" },
    { migrate = "${local.checkout}/terraform/migrate" },
  )
}

data "archive_file" "source" {
  for_each = local.source_folders

  type             = "zip"
  output_path      = "${local.checkout}/build/terraform/${local.prefix}${each.key}.zip"
  output_file_mode = "0644"

  dynamic "source" {
    for_each = merge(
      local.shipped_files,
      { for file in fileset(each.value, "*.{py,sql,txt}") : file => "${each.value}/${file}" },
    )
    content {
      filename = source.key
      content  = file(source.value)
    }
  }
}

resource "google_storage_bucket_object" "source" {
  for_each = local.source_folders

  bucket = google_storage_bucket.sources.name
  name   = "${each.key}-${data.archive_file.source[each.key].output_sha256}.zip"
  source = data.archive_file.source[each.key].output_path
}

resource "google_cloudfunctions2_function" "function" {
  for_each = local.functions

  name     = "${local.prefix}${each.key}"
  location = var.region
  labels   = local.labels

  build_config {
    runtime         = local.runtime
    entry_point     = each.key
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.source[each.key].name
      }
    }
  }

  service_config {
    available_memory                 = each.value.memory
    available_cpu                    = each.value.cpu
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = each.value.min_instances
    max_instance_count               = each.value.max_instances
    timeout_seconds                  = each.value.timeout_s
    service_account_email            = google_service_account.function[each.key].email
    direct_vpc_egress                = length(local.egresses) == 0 ? null : "VPC_EGRESS_PRIVATE_RANGES_ONLY"

    # Pub/Sub and Cloud Scheduler of the same project are internal.
    ingress_settings = (
      !each.value.is_for_clients ? "ALLOW_INTERNAL_ONLY" :
      local.has_load_balancer ? "ALLOW_INTERNAL_AND_GCLB" : "ALLOW_ALL"
    )

    dynamic "direct_vpc_network_interface" {
      for_each = local.egresses
      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
      }
    }

    environment_variables = merge(
      { THREADS = tostring(each.value.concurrency) }, # of gunicorn; the default is four per processor
      # The C library keeps what a thread has freed for that thread: with an area for each thread, memory for one
      # long record of each. Two files are split at a time.
      each.key == "split" ? { MALLOC_ARENA_MAX = "2" } : {},
      { for name, value in local.common_settings : "SLUICE_${upper(name)}" => value },
      local.has_cloud_sql ? { SLUICE_DATABASE_USER = google_sql_user.function[each.key].name } : {},
      var.name_prefix == "" ? {} : { SLUICE_NAME_PREFIX = var.name_prefix },
      { for name in each.value.settings : "SLUICE_${upper(name)}" => tostring(local.settings[name]) },
      each.value.is_for_clients ? { SLUICE_REQUESTS_AT_ONCE = tostring(max(1, floor(each.value.concurrency / 2))) } : {},
      each.value.is_for_clients ? {} : {
        SLUICE_PUSH_AUDIENCE = local.function_urls[each.key]
        SLUICE_PUSH_CALLERS = join(",", concat(
          [google_service_account.push.email], each.key == "finish" ? [google_service_account.scheduler.email] : []
        ))
      },
      {
        # What one of the owners creates, the others may change.
        SLUICE_DATABASE_ROLE = contains(["intake", "backup"], each.key) ? "sluice_owner" : "sluice_${each.key}"
        SLUICE_POOL_SIZE     = tostring(each.value.pool_size)
        # Cloud Run's IAM checks every call, except where allUsers may call.
        SLUICE_TOKEN_SIGNATURES = each.value.is_for_clients && local.has_load_balancer ? "verify" : "cloud-run"
      },
    )

    dynamic "secret_environment_variables" {
      for_each = each.value.is_for_clients ? google_secret_manager_secret_version.token : {}
      content {
        key        = "SLUICE_TOKEN"
        project_id = var.project_id
        secret     = google_secret_manager_secret.token[secret_environment_variables.key].secret_id
        version    = secret_environment_variables.value.version
      }
    }

    dynamic "secret_environment_variables" {
      for_each = local.url_secret
      content {
        key        = "SLUICE_DATABASE_URL"
        project_id = split("/", secret_environment_variables.value)[1]
        secret     = split("/", secret_environment_variables.value)[3]
        version    = "latest"
      }
    }
  }

  # The image is built with these rights, and the code requires the migrated schema.
  depends_on = [
    google_project_iam_member.build,
    google_project_iam_member.connects,
    google_secret_manager_secret_iam_member.function_reads_token,
    google_secret_manager_secret_iam_member.reads_url,
    google_cloud_run_v2_job.migrate,
  ]
}

resource "google_service_account" "function" {
  for_each = local.functions

  account_id   = "${local.prefix}sluice-${each.key}"
  display_name = "Function ${each.key} of ${local.title}"

  depends_on = [google_project_service.enabled]
}

# The account that builds the images.

resource "google_service_account" "build" {
  account_id   = "${local.prefix}sluice-build"
  display_name = "Builds the functions of ${local.title}"

  depends_on = [google_project_service.enabled]
}

# Cloud Functions copies the source to a bucket of its own, named gcf-v2-sources-..., before the first build: so the
# right to read is on the project, as in the example of the provider.
resource "google_project_iam_member" "build" {
  for_each = toset(["roles/artifactregistry.writer", "roles/logging.logWriter", "roles/storage.objectViewer"])

  project = var.project_id
  role    = each.key
  member  = google_service_account.build.member
}

# Who may call the HTTP functions. With the load balancer allUsers may, because it has no identity of its own: the
# functions then accept requests from the balancer only, and keys protect them.

locals {
  invocations = merge([
    for function in local.for_clients : {
      for member in(local.has_load_balancer ? ["allUsers"] : var.api_invokers) :
      "${function} ${member}" => { function = function, member = member }
    }
  ]...)
}

resource "google_cloud_run_v2_service_iam_member" "client_invokes" {
  for_each = local.invocations

  name     = google_cloudfunctions2_function.function[each.value.function].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value.member
}
