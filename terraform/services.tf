# The services of Google Cloud that must be on. They stay on when all else is destroyed.

resource "google_project_service" "enabled" {
  for_each = toset([
    "artifactregistry.googleapis.com", # holds the images that Cloud Functions builds
    "cloudbuild.googleapis.com",       # builds them
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com", # network, load balancer
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs addresses of downloads without a key
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com", # the private way to the database
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
  ])

  service            = each.key
  disable_on_destroy = false
}
