# For trying out: the smallest database, few instances, nothing protected.
# terraform apply -var-file=examples/dev.tfvars

project_id = "my-sluice-dev"
region     = "europe-west1"

database_tier    = "db-g1-small"
database_disk_gb = 10

# The smallest tier takes 50, the functions below may open a few more.
database_max_connections = 80

backup_days       = 1
max_loaders       = 2
max_api_instances = 1
is_protected      = false
inbox_days        = 7
