# The private network between functions and database: Direct VPC egress on one side, peering on the other. With a
# database of one's own there is none, and the functions reach the database in its network, if one is given.

resource "google_compute_network" "sluice" {
  count = local.has_cloud_sql ? 1 : 0

  name                    = "${local.prefix}sluice"
  auto_create_subnetworks = false

  depends_on = [google_project_service.enabled]
}

# Each instance of a function has an address, and old ones stay while a revision is replaced: Google recommends four
# times as many addresses as instances.
resource "google_compute_subnetwork" "functions" {
  count = local.has_cloud_sql ? 1 : 0

  name                     = "${local.prefix}sluice-functions"
  network                  = google_compute_network.sluice[0].id
  region                   = var.region
  ip_cidr_range            = local.subnet
  private_ip_google_access = true

  lifecycle {
    precondition {
      condition     = 4 * local.max_instances <= local.addresses
      error_message = "The functions may have ${local.max_instances} instances, which need four times as many addresses while a revision is replaced; the subnet ${local.subnet} has ${local.addresses}. Lower max_loaders or max_api_instances."
    }
  }
}

locals {
  # The network and subnetwork of the functions; without any, they reach public addresses only.
  egress = (
    local.has_cloud_sql
    ? { network = google_compute_network.sluice[0].id, subnetwork = google_compute_subnetwork.functions[0].id }
    : var.database_network
  )
  egresses = { for name, each in { database = local.egress } : name => each if local.has_cloud_sql || var.database_network != null }

  subnet        = "10.8.0.0/21"
  addresses     = pow(2, 32 - tonumber(split("/", local.subnet)[1])) - 4 # Google keeps four
  max_instances = sum([for each in values(local.functions) : each.max_instances])
}

resource "google_compute_global_address" "database" {
  count = local.has_cloud_sql ? 1 : 0

  name          = "${local.prefix}sluice-database"
  network       = google_compute_network.sluice[0].id
  labels        = local.labels
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "database" {
  count = local.has_cloud_sql ? 1 : 0

  network                 = google_compute_network.sluice[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database[0].name]

  # Google deletes its side of the peering some days after the database; do not wait for it.
  deletion_policy = "ABANDON"
}

moved {
  from = google_compute_network.sluice
  to   = google_compute_network.sluice[0]
}

moved {
  from = google_compute_subnetwork.functions
  to   = google_compute_subnetwork.functions[0]
}

moved {
  from = google_compute_global_address.database
  to   = google_compute_global_address.database[0]
}

moved {
  from = google_service_networking_connection.database
  to   = google_service_networking_connection.database[0]
}
