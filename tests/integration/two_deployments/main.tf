# Two deployments in one project, as a configuration that uses the module.

provider "google" {
  project = "my-project"
  region  = "europe-west1"
}

provider "google-beta" {
  project = "my-project"
  region  = "europe-west1"
}

module "eu" {
  source = "../terraform/module"

  project_id   = "my-project"
  region       = "europe-west1"
  name_prefix  = "eu"
  labels       = { team = "data" }
  kms_key      = "projects/keys/locations/europe-west1/keyRings/sluice/cryptoKeys/sluice"
  api_domain   = "eu.example.org"
  alert_emails = ["ops@example.org"]
}

module "west-2" {
  source = "../terraform/module"

  project_id   = "my-project"
  region       = "europe-west1"
  name_prefix  = "west-2"
  api_domain   = "west.example.org"
  alert_emails = ["ops@example.org"]
}
