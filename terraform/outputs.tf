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
