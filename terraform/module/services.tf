# The Google Cloud services that must be enabled. They stay enabled after `terraform destroy`.

resource "google_project_service" "enabled" {
  for_each = toset(concat(var.budget == null ? [] : ["billingbudgets.googleapis.com"], local.has_cloud_sql ? [
    "servicenetworking.googleapis.com", # private connections to the database
    "sqladmin.googleapis.com",
    ] : [], [
    "artifactregistry.googleapis.com", # stores the images that Cloud Functions builds
    "cloudbuild.googleapis.com",       # builds them
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com", # terraform reads the project; `bootstrap.sh` enables it before the first plan
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com", # network, load balancer
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs URLs of downloads without a key
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com", # enables the others; so does `bootstrap.sh`
    "storage.googleapis.com",
  ]))

  service            = each.key
  disable_on_destroy = false
}
