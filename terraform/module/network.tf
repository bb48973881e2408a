# The private network between functions and database: Direct VPC egress on one side, peering on the other.

resource "google_compute_network" "sluice" {
  name                    = "${local.prefix}sluice"
  auto_create_subnetworks = false

  depends_on = [google_project_service.enabled]
}

# Each instance of a function has an address, and old ones stay while a revision is replaced: Google recommends four
# times as many addresses as instances.
resource "google_compute_subnetwork" "functions" {
  name                     = "${local.prefix}sluice-functions"
  network                  = google_compute_network.sluice.id
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
  subnet        = "10.8.0.0/21"
  addresses     = pow(2, 32 - tonumber(split("/", local.subnet)[1])) - 4 # Google keeps four
  max_instances = sum([for each in values(local.functions) : each.max_instances])
}

resource "google_compute_global_address" "database" {
  name          = "${local.prefix}sluice-database"
  network       = google_compute_network.sluice.id
  labels        = local.labels
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.sluice.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]

  # Google deletes its side of the peering some days after the database; do not wait for it.
  deletion_policy = "ABANDON"
}
