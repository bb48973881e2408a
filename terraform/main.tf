# One instance of Sluice: the module with the variables of this folder.
#
# variables.tf is a symbolic link to that of the module, so that both have the same defaults and checks.

module "sluice" {
  source = "./module"

  project_id                      = var.project_id
  region                          = var.region
  name_prefix                     = var.name_prefix
  labels                          = var.labels
  kms_key                         = var.kms_key
  database_tier                   = var.database_tier
  database_is_highly_available    = var.database_is_highly_available
  database_disk_gb                = var.database_disk_gb
  database_has_public_address     = var.database_has_public_address
  database_max_connections        = var.database_max_connections
  database_url_secret             = var.database_url_secret
  database_network                = var.database_network
  backup_days                     = var.backup_days
  is_protected                    = var.is_protected
  max_loaders                     = var.max_loaders
  max_api_instances               = var.max_api_instances
  min_api_instances               = var.min_api_instances
  chunk_mib                       = var.chunk_mib
  statement_timeout_s             = var.statement_timeout_s
  max_rows                        = var.max_rows
  log_level                       = var.log_level
  traces_endpoint                 = var.traces_endpoint
  inbox_days                      = var.inbox_days
  upload_origins                  = var.upload_origins
  api_domain                      = var.api_domain
  administrators                  = var.administrators
  token_version                   = var.token_version
  api_invokers                    = var.api_invokers
  rate_limit_per_minute           = var.rate_limit_per_minute
  requests_per_minute             = var.requests_per_minute
  uploaders                       = var.uploaders
  readers                         = var.readers
  backup_schedule                 = var.backup_schedule
  dataset_backup_days             = var.dataset_backup_days
  alert_emails                    = var.alert_emails
  alert_channels                  = var.alert_channels
  alert_after_hours_without_files = var.alert_after_hours_without_files
  budget                          = var.budget
}
