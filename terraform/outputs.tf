# The outputs of the module, passed on.

output "upload" {
  description = "The command that uploads a file; the folder is the name of the dataset."
  value       = module.sluice.upload
}

output "inbox" {
  description = "The bucket to which files are uploaded."
  value       = module.sluice.inbox
}

output "api" {
  description = "The addresses of the API: one if api_domain is set, else one for each HTTP function."
  value       = module.sluice.api
}

output "dns_record" {
  description = "The record that the domain needs before its certificate is issued, which then takes up to an hour."
  value       = module.sluice.dns_record
}

output "token" {
  description = "The command that sets the address and the token for the command `sluice` and other clients."
  value       = module.sluice.token
}

output "subscribe" {
  description = "The command that subscribes an endpoint to the event of each file that is done."
  value       = module.sluice.subscribe
}

output "migrate" {
  description = "The command that runs the migrations again."
  value       = module.sluice.migrate
}

output "connections" {
  description = "The connections that the functions may open, and the connections that the database allows."
  value       = module.sluice.connections
}

output "topics" {
  description = "The ids of the topics, by name without the prefix; subscribe to `status` for events."
  value       = module.sluice.topics
}

output "buckets" {
  description = "The names of the buckets inbox, outbox and sources."
  value       = module.sluice.buckets
}

output "database" {
  description = "The instance of Cloud SQL, its name for connectors (project:region:instance), the database and its network; null with a database of one's own."
  value       = module.sluice.database
}

output "service_accounts" {
  description = "The e-mail addresses of the service accounts: one for each function, and build, migrate, push, client-push and scheduler."
  value       = module.sluice.service_accounts
}

output "addresses" {
  description = "The address of each function at Cloud Run."
  value       = module.sluice.addresses
}
