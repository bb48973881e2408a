# The commands and addresses that an operator needs next.

output "upload" {
  description = "The command that uploads a file; the folder is the name of the dataset."
  value       = "gcloud storage cp trips.csv gs://${google_storage_bucket.inbox.name}/trips/"
}

output "inbox" {
  description = "The bucket to which files are uploaded."
  value       = google_storage_bucket.inbox.name
}

output "api" {
  description = "The addresses of the API: one if api_domain is set, else one for each HTTP function."
  value = (
    local.has_load_balancer
    ? { all = "https://${var.api_domain}" }
    : { for name in local.for_clients : name => local.function_urls[name] }
  )
}

output "dns_record" {
  description = "The record that the domain needs before its certificate is issued, which then takes up to an hour."
  value       = join("", [for name, each in google_compute_global_address.api : "${var.api_domain}. 300 IN A ${each.address}"])
}

output "token" {
  description = "The command that sets the address and the token for the command `sluice` and other clients."
  value = (
    local.has_load_balancer
    ? "export SLUICE_URL=https://${var.api_domain} SLUICE_TOKEN=$(gcloud secrets versions access latest --secret=${local.prefix}sluice-token --project=${var.project_id})"
    : "export SLUICE_URL=${local.function_urls["query"]} SLUICE_TOKEN=$(gcloud auth print-identity-token)"
  )
}

output "subscribe" {
  description = "The command that subscribes an endpoint to the event of each file that is done."
  value       = "sluice subscribe https://example.org/hook --state done"
}

output "migrate" {
  description = "The command that runs the migrations again."
  value       = "gcloud run jobs execute ${google_cloud_run_v2_job.migrate.name} --region=${var.region} --project=${var.project_id} --wait"
}

output "connections" {
  description = "The connections that the functions may open, and the connections that the database allows."
  value       = { wanted = local.wanted_connections, available = local.has_cloud_sql ? local.max_connections : var.database_max_connections }
}

# For other configurations and programs.

output "topics" {
  description = "The ids of the topics, by name without the prefix; subscribe to `status` for events."
  value       = { for name, each in google_pubsub_topic.engine : name => each.id }
}

output "buckets" {
  description = "The names of the buckets inbox, outbox and sources."
  value = {
    inbox   = google_storage_bucket.inbox.name
    outbox  = google_storage_bucket.outbox.name
    sources = google_storage_bucket.sources.name
  }
}

output "database" {
  description = "The instance of Cloud SQL, its name for connectors (project:region:instance), the database and its network; null with a database of one's own."
  value = local.has_cloud_sql ? {
    instance        = google_sql_database_instance.sluice[0].name
    connection_name = google_sql_database_instance.sluice[0].connection_name
    name            = google_sql_database.sluice[0].name
    network         = google_compute_network.sluice[0].id
  } : null
}

output "service_accounts" {
  description = "The e-mail addresses of the service accounts: one for each function, and build, migrate, push, client-push and scheduler."
  value = merge(
    { for name, each in google_service_account.function : name => each.email },
    {
      build       = google_service_account.build.email
      migrate     = google_service_account.migrate.email
      push        = google_service_account.push.email
      client-push = google_service_account.client_push.email
      scheduler   = google_service_account.scheduler.email
    },
  )
}

output "addresses" {
  description = "The address of each function at Cloud Run."
  value       = { for name, each in google_cloudfunctions2_function.function : name => each.service_config[0].uri }
}
