# For production: a standby database, warm instances of query, one public address, alerts by e-mail.
# terraform apply -var-file=examples/prod.tfvars

project_id = "my-sluice-prod"
region     = "europe-west1"

database_tier                = "db-custom-4-15360"
database_disk_gb             = 200
database_is_highly_available = true
backup_days                  = 30
max_loaders                  = 16
max_api_instances            = 10
min_api_instances            = 1
api_domain                   = "sluice.example.org"
upload_origins               = ["https://sluice.example.org"]
alert_emails                 = ["ops@example.org"]
