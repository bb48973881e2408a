# Everything that may differ between deployments. Only the first two have no default.

variable "project_id" {
  type        = string
  description = "The id of the Google Cloud project that everything is created in. It must exist and have billing."

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

variable "database_tier" {
  type        = string
  default     = "db-custom-2-7680"
  description = "The machine of the database: db-f1-micro or db-g1-small for trying out, db-custom-CPUS-MEGABYTES for work. Its memory decides how many connections there are, so look at max_loaders too."

  validation {
    condition     = can(regex("^(db-f1-micro|db-g1-small|db-custom-[0-9]+-[0-9]+)$", var.database_tier))
    error_message = "The tier is db-f1-micro, db-g1-small or db-custom-CPUS-MEGABYTES such as db-custom-2-7680; others need the edition Enterprise Plus."
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
  description = "The size in GB that the disk of the database begins with. It grows by itself and never shrinks."

  validation {
    condition     = var.database_disk_gb >= 10 && var.database_disk_gb <= 65536
    error_message = "The disk has 10 to 65536 GB."
  }
}

variable "database_max_connections" {
  type        = number
  default     = null
  description = "The most connections that the database takes. Null leaves what Cloud SQL gives to the memory of database_tier."

  validation {
    condition     = var.database_max_connections == null ? true : var.database_max_connections >= 25 && var.database_max_connections <= 4000
    error_message = "PostgreSQL on Cloud SQL takes 25 to 4000 connections."
  }
}

variable "backup_days" {
  type        = number
  default     = 7
  description = "How many daily backups of the database are kept. Point-in-time recovery reaches back as many days, seven at most."

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 365
    error_message = "One to 365 backups are kept."
  }
}

variable "is_protected" {
  type        = bool
  default     = true
  description = "Whether the database and buckets that hold objects refuse to be destroyed. Set it to false, apply, and only then destroy."
}

variable "max_loaders" {
  type        = number
  default     = 10
  description = "How many chunks are loaded at once, each by an instance of its own. The database, not the functions, sets the speed: about four for each of its processors."

  validation {
    condition     = var.max_loaders >= 1 && var.max_loaders <= 200
    error_message = "One to 200 instances load."
  }
}

variable "max_api_instances" {
  type        = number
  default     = 5
  description = "How many instances each of the functions query, intake and status may have."

  validation {
    condition     = var.max_api_instances >= 1 && var.max_api_instances <= 100
    error_message = "One to 100 instances answer."
  }
}

variable "min_api_instances" {
  type        = number
  default     = 0
  description = "How many instances of query stay warm. Zero costs nothing at rest, and the first request after a pause then waits some seconds."

  validation {
    condition     = var.min_api_instances >= 0 && var.min_api_instances <= 10
    error_message = "Zero to 10 instances stay warm."
  }
}

variable "chunk_mib" {
  type        = number
  default     = 31
  description = "The size in MiB at which a file is cut into chunks. A chunk is held in the memory of one instance of load."

  validation {
    condition     = var.chunk_mib >= 1 && var.chunk_mib <= 64
    error_message = "A chunk has 1 to 64 MiB; larger ones do not fit into the memory of load."
  }
}

variable "statement_timeout_s" {
  type        = number
  default     = 30
  description = "The time in seconds after which a client's query is ended."

  validation {
    condition     = var.statement_timeout_s >= 1 && var.statement_timeout_s <= 600
    error_message = "A query may take 1 to 600 seconds."
  }
}

variable "max_rows" {
  type        = number
  default     = 1000000
  description = "The most rows that one answer of the rows route holds."

  validation {
    condition     = var.max_rows >= 1
    error_message = "An answer holds at least one row."
  }
}

variable "log_level" {
  type        = string
  default     = "INFO"
  description = "The least severity that the functions log."

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.log_level)
    error_message = "The severity is DEBUG, INFO, WARNING or ERROR."
  }
}

variable "inbox_days" {
  type        = number
  default     = 30
  description = "How many days an uploaded file stays in the inbox. A retry of an ingestion needs it there."

  validation {
    condition     = var.inbox_days >= 1
    error_message = "A file stays at least one day, so that its ingestion can be retried."
  }
}

variable "upload_origins" {
  type        = list(string)
  default     = []
  description = "The origins, such as https://console.example.org, from whose pages browsers may upload straight into the inbox."

  validation {
    condition     = alltrue([for each in var.upload_origins : can(regex("^https?://[^/*]+$", each))])
    error_message = "An origin is a scheme and a host without a path, such as https://console.example.org; `*` is refused."
  }
}

variable "api_domain" {
  type        = string
  default     = ""
  description = "The domain under which all routes of the API are served, such as sluice.example.org, guarded by a bearer token and a rate limit. Empty: no load balancer, and only api_invokers reach the functions at their own addresses."

  validation {
    condition     = var.api_domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.api_domain))
    error_message = "The domain is written like sluice.example.org, without https:// and without a path."
  }
}

variable "api_invokers" {
  type        = list(string)
  default     = []
  description = "Who may call the HTTP functions with a Google identity token where api_domain is empty, such as group:analysts@example.org."

  validation {
    condition     = alltrue([for each in var.api_invokers : can(regex("^(user|group|serviceAccount|domain):\\S+$", each))])
    error_message = "An invoker is written like user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN; allUsers is refused."
  }
}

variable "rate_limit_per_minute" {
  type        = number
  default     = 600
  description = "How many requests one address may send in a minute, where api_domain is set."

  validation {
    condition     = var.rate_limit_per_minute >= 10 && var.rate_limit_per_minute <= 10000
    error_message = "10 to 10000 requests a minute."
  }
}

variable "uploaders" {
  type        = list(string)
  default     = []
  description = "Who may drop files into the inbox with gcloud storage or gsutil, such as group:partners@example.org. Owners of the project may anyway."

  validation {
    condition     = alltrue([for each in var.uploaders : can(regex("^(user|group|serviceAccount|domain):\\S+$", each))])
    error_message = "An uploader is written like user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN; allUsers is refused."
  }
}

variable "backup_schedule" {
  type        = string
  default     = "30 2 * * *"
  description = "When the function backup writes the datasets to the outbox, as five cron fields in UTC. Cloud SQL's own backups go on besides."
}

variable "dataset_backup_days" {
  type        = number
  default     = 30
  description = "After how many days a backup of the datasets is deleted from the outbox. Null: never."

  validation {
    condition     = var.dataset_backup_days == null ? true : var.dataset_backup_days >= 1
    error_message = "A backup of the datasets is kept for at least a day; null keeps all."
  }
}

variable "alert_emails" {
  type        = list(string)
  default     = []
  description = "The addresses that alerts are sent to. Without any, alerts are only shown in Cloud Monitoring."

  validation {
    condition     = alltrue([for each in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+$", each))])
    error_message = "An address is written like ops@example.org."
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
  description = "A monthly budget of the project, in the currency of the billing account. It tells the billing account's administrators, and stops nothing. Null: none."
}
