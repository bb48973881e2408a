# Everything that can differ between deployments. Only the first two have no default.

variable "project_id" {
  type        = string
  description = "The id of the Google Cloud project in which everything is created. It must exist and have a billing account."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lowercase letters, digits or dashes and begins with a letter; it is not the project's number or name."
  }
}

variable "region" {
  type        = string
  description = "The region of the functions, the buckets and the database, such as europe-west1. It cannot be changed later without moving the data."

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is written like europe-west1; europe-west1-b is a zone, and EU is a multi-region."
  }
}

variable "name_prefix" {
  type        = string
  default     = ""
  description = "What the names of all resources begin with, before a dash, such as eu: several deployments can then share a project. It cannot be changed later without moving the data."

  validation {
    condition     = var.name_prefix == "" || can(regex("^[a-z]([a-z0-9-]{0,9}[a-z0-9])?$", var.name_prefix))
    error_message = "The prefix has at most 11 lowercase letters, digits or dashes, begins with a letter and ends with no dash: the longest name of a service account, PREFIX-sluice-client-push, may have 30 characters."
  }
}

variable "labels" {
  type        = map(string)
  default     = {}
  description = "Labels of everything that takes labels, such as { team = \"data\" }, besides app = sluice."

  validation {
    condition = length(var.labels) <= 60 && alltrue([
      for key, value in var.labels :
      key != "app" && can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "There are at most 60 labels; keys and values have at most 63 lowercase letters, digits, dashes or underscores, and keys begin with a letter. The label app is always sluice."
  }
}

variable "kms_key" {
  type        = string
  default     = null
  description = "The key in Cloud KMS that encrypts the buckets, the database, the topics and the secret, as projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY. Whoever applies must be allowed to grant rights on it. Null uses keys of Google. For an existing database it cannot be changed: the database would be replaced."

  validation {
    condition     = var.kms_key == null ? true : can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "A key is written like projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY, without a version."
  }

  validation {
    condition     = var.kms_key == null ? true : try(split("/", var.kms_key)[3], var.region) == var.region
    error_message = "The key must be in the region of the deployment: Cloud SQL accepts no other."
  }
}

variable "database_tier" {
  type        = string
  default     = "db-custom-2-7680"
  description = "The machine of the database: db-g1-small for a trial, with the other sizes of examples/dev.tfvars, db-custom-CPUS-MEGABYTES for production. Its memory determines the number of connections and so limits max_loaders."

  validation {
    condition     = can(regex("^(db-g1-small|db-custom-[0-9]+-[0-9]+)$", var.database_tier))
    error_message = "The tier is db-g1-small or db-custom-CPUS-MEGABYTES such as db-custom-2-7680. The smaller db-f1-micro takes 25 connections, fewer than the functions need; others need the edition Enterprise Plus."
  }
}

variable "database_is_highly_available" {
  type        = bool
  default     = false
  description = "Whether the database has a standby in a second zone that takes over when the first fails. It doubles the price of the database."
}

variable "database_disk_gb" {
  type        = number
  default     = 20
  description = "The initial size in GB of the disk of the database. The disk grows automatically and never shrinks."

  validation {
    condition     = var.database_disk_gb >= 10 && var.database_disk_gb <= 65536
    error_message = "The size of the disk must be 10 to 65536 GB."
  }
}

variable "database_has_public_address" {
  type        = bool
  default     = false
  description = "Whether the database also has a public address, for the Cloud SQL proxy of readers outside the network. No network is admitted to it: it takes connections of the proxy and the connectors only, which Google authenticates. The functions use the private address."
}

variable "database_max_connections" {
  type        = number
  default     = null
  description = "The maximum number of connections to the database. Null uses the default of Cloud SQL for the memory of database_tier."

  validation {
    condition     = var.database_max_connections == null ? true : var.database_max_connections >= 25 && var.database_max_connections <= 4000
    error_message = "PostgreSQL on Cloud SQL allows 25 to 4000 connections."
  }
}

variable "database_url_secret" {
  type        = string
  default     = null
  description = "The secret in Secret Manager that holds the URL of a PostgreSQL 18 of your own, as projects/PROJECT/secrets/NAME; the URL is written like postgresql+pg8000://USER:PASSWORD@HOST:5432/DATABASE. Null creates an instance of Cloud SQL."

  validation {
    condition     = var.database_url_secret == null ? true : can(regex("^projects/[^/]+/secrets/[A-Za-z0-9_-]+$", var.database_url_secret))
    error_message = "The secret is written like projects/PROJECT/secrets/NAME, without a version."
  }

  validation {
    condition     = var.database_url_secret == null ? true : length(var.readers) == 0 && !var.database_has_public_address && !var.database_is_highly_available
    error_message = "readers, database_has_public_address and database_is_highly_available are for Cloud SQL; in a database of your own, do the same there and leave them out."
  }
}

variable "database_network" {
  type = object({
    network    = string
    subnetwork = string
  })
  default     = null
  description = "The network and subnetwork, by their ids, through which the functions reach the database of database_url_secret at a private address (Direct VPC egress). Null reaches public addresses only."

  validation {
    condition     = var.database_network == null ? true : var.database_url_secret != null
    error_message = "database_network is for a database of your own, see database_url_secret; Cloud SQL gets a network of its own."
  }
}

variable "backup_days" {
  type        = number
  default     = 7
  description = "The number of daily backups of the database to keep. Point-in-time recovery covers the same number of days, at most seven."

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 365
    error_message = "The number of backups must be 1 to 365."
  }
}

variable "is_protected" {
  type        = bool
  default     = true
  description = "Whether the database and non-empty buckets are protected from destruction. To destroy them, first set this to false and apply."
}

variable "max_loaders" {
  type        = number
  default     = 10
  description = "The maximum number of chunks that are loaded concurrently, each by its own instance. The database limits the throughput: use about four for each of its processors."

  validation {
    condition     = var.max_loaders >= 1 && var.max_loaders <= 200
    error_message = "The number of instances must be 1 to 200."
  }
}

variable "max_api_instances" {
  type        = number
  default     = 5
  description = "The maximum number of instances of each of the functions query, intake and status."

  validation {
    condition     = var.max_api_instances >= 1 && var.max_api_instances <= 100
    error_message = "The number of instances must be 1 to 100."
  }
}

variable "min_api_instances" {
  type        = number
  default     = 0
  description = "The number of instances of query that are kept warm. With zero, an idle API costs nothing, and the first request after a pause takes some seconds."

  validation {
    condition     = var.min_api_instances >= 0 && var.min_api_instances <= 10
    error_message = "The number of warm instances must be 0 to 10."
  }
}

variable "chunk_mib" {
  type        = number
  default     = 31
  description = "The size in MiB of the chunks into which a file is cut. An instance of load keeps a chunk in memory."

  validation {
    condition     = var.chunk_mib >= 1 && var.chunk_mib <= 64
    error_message = "The size of a chunk must be 1 to 64 MiB; larger ones do not fit into the memory of load."
  }
}

variable "statement_timeout_s" {
  type        = number
  default     = 30
  description = "The time in seconds after which a query of a client is cancelled."

  validation {
    condition     = var.statement_timeout_s >= 1 && var.statement_timeout_s <= 600
    error_message = "The timeout must be 1 to 600 seconds."
  }
}

variable "max_rows" {
  type        = number
  default     = 1000000
  description = "The maximum number of rows in one response of the rows route."

  validation {
    condition     = var.max_rows >= 1
    error_message = "The maximum number of rows must be at least 1."
  }
}

variable "log_level" {
  type        = string
  default     = "INFO"
  description = "The lowest severity that the functions log."

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.log_level)
    error_message = "The severity must be DEBUG, INFO, WARNING or ERROR."
  }
}

variable "traces_endpoint" {
  type        = string
  default     = ""
  description = "The address of an OpenTelemetry collector, such as http://10.8.0.5:4318/v1/traces, to which the functions send sampled spans; empty to send none."

  validation {
    condition     = var.traces_endpoint == "" || can(regex("^https?://", var.traces_endpoint))
    error_message = "The address of the collector must begin with http:// or https://."
  }
}

variable "inbox_days" {
  type        = number
  default     = 30
  description = "The number of days for which a file is kept in the inbox. A retry of an ingestion reads it again."

  validation {
    condition     = var.inbox_days >= 1
    error_message = "A file must be kept for at least one day, so that its ingestion can be retried."
  }
}

variable "upload_origins" {
  type        = list(string)
  default     = []
  description = "The origins of web pages, such as https://console.example.org, from which browsers may upload directly to the inbox."

  validation {
    condition     = alltrue([for each in var.upload_origins : can(regex("^https?://[^/*]+$", each))])
    error_message = "An origin is a scheme and a host without a path, such as https://console.example.org; `*` is not allowed."
  }
}

variable "api_domain" {
  type        = string
  default     = ""
  description = "The domain under which all routes of the API are served, such as sluice.example.org, protected by keys and a rate limit. If it is empty, there is no load balancer, and only api_invokers can call the functions at their own addresses."

  validation {
    condition     = var.api_domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.api_domain))
    error_message = "The domain is written like sluice.example.org, without https:// and without a path."
  }
}

variable "administrators" {
  type        = list(string)
  default     = []
  description = "The Google accounts, as e-mail addresses, with the role admin in the API: they declare datasets and make keys for others."

  validation {
    condition     = alltrue([for each in var.administrators : can(regex("^[^@,\\s]+@[^@,\\s]+$", each))])
    error_message = "An administrator is written as an e-mail address, such as ada@example.org."
  }
}

variable "token_version" {
  type        = number
  default     = 1
  description = "The version of the key of the first administrator, if api_domain is set. Increase it to replace the key by a new one; the earlier one is then invalid."
}

variable "api_invokers" {
  type        = list(string)
  default     = []
  description = "The principals that may call the HTTP functions with a Google identity token if api_domain is empty, such as group:analysts@example.org."

  validation {
    condition     = alltrue([for each in var.api_invokers : can(regex("^(user|group|serviceAccount|domain):\\S+$", each))])
    error_message = "An invoker is written like user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN; allUsers is not allowed."
  }
}

variable "rate_limit_per_minute" {
  type        = number
  default     = 600
  description = "The number of requests per minute that one address may send, if api_domain is set."

  validation {
    condition     = var.rate_limit_per_minute >= 10 && var.rate_limit_per_minute <= 10000
    error_message = "The limit must be 10 to 10000 requests per minute."
  }
}

variable "requests_per_minute" {
  type        = number
  default     = 1200
  description = "The number of requests per minute that one key or Google identity may send, unless the key has a limit of its own. Zero sets no limit."

  validation {
    condition     = var.requests_per_minute >= 0 && var.requests_per_minute <= 1000000
    error_message = "The limit must be 0 to 1000000 requests per minute."
  }
}

variable "uploaders" {
  type        = list(string)
  default     = []
  description = "The principals that may upload files to the inbox with gcloud storage or gsutil, such as group:partners@example.org, besides the owners of the project."

  validation {
    condition     = alltrue([for each in var.uploaders : can(regex("^(user|group|serviceAccount|domain):\\S+$", each))])
    error_message = "An uploader is written like user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN; allUsers is not allowed."
  }
}

variable "readers" {
  type        = list(string)
  default     = []
  description = "The people, groups and service accounts that may log in to the database and read the published rows of all datasets with SQL, such as group:analysts@example.org. They see no other tables and write nothing."

  validation {
    condition     = alltrue([for each in var.readers : can(regex("^(user|group|serviceAccount):[^@\\sA-Z]+@[^@\\sA-Z]+$", each))])
    error_message = "A reader is written like user:ADDRESS, group:ADDRESS or serviceAccount:ADDRESS, in lowercase letters, as Cloud SQL writes the names of its users."
  }
}

variable "backup_schedule" {
  type        = string
  default     = "30 2 * * *"
  description = "When the function backup writes the datasets to the outbox, as a cron expression in UTC. Cloud SQL's own backups are independent of it."
}

variable "dataset_backup_days" {
  type        = number
  default     = 30
  description = "The number of days after which a backup of the datasets is deleted from the outbox. Null keeps all backups."

  validation {
    condition     = var.dataset_backup_days == null ? true : var.dataset_backup_days >= 1
    error_message = "A backup of the datasets must be kept for at least one day; null keeps all."
  }
}

variable "alert_emails" {
  type        = list(string)
  default     = []
  description = "The email addresses to which alerts are sent. Without any, alerts appear only in Cloud Monitoring."

  validation {
    condition     = alltrue([for each in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+$", each))])
    error_message = "An address is written like ops@example.org."
  }
}

variable "alert_channels" {
  type        = list(string)
  default     = []
  description = "Notification channels of Cloud Monitoring that alerts are sent to besides alert_emails, such as PagerDuty, Slack or a webhook, by their ids projects/PROJECT/notificationChannels/NUMBER."

  validation {
    condition     = alltrue([for each in var.alert_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", each))])
    error_message = "A channel is written like projects/PROJECT/notificationChannels/NUMBER, as gcloud beta monitoring channels list shows it."
  }
}

variable "alert_after_hours_without_files" {
  type        = number
  default     = null
  description = "The number of hours without a file that is done after which an alert is sent. Null sends none."

  validation {
    condition     = var.alert_after_hours_without_files == null ? true : contains(range(1, 25), var.alert_after_hours_without_files)
    error_message = "The number of hours must be a whole number from 1 to 24: alerts look back no further. Null sends no alert."
  }
}

variable "budget" {
  type = object({
    billing_account  = string
    monthly_amount   = number
    currency         = optional(string, "USD")
    alert_at_percent = optional(list(number), [50, 90, 100])
  })
  default     = null
  description = "A monthly budget of the project, in the currency of the billing account. Exceeding it notifies the administrators of the billing account and stops nothing. Null sets no budget."
}
