#!/usr/bin/env bash
# Prepares a project for the first plan: enables the services that terraform itself calls, makes the bucket that keeps
# its state, and writes backend.tf. Can be repeated.
#
#   terraform/bootstrap.sh PROJECT_ID REGION
set -euo pipefail

project=${1:?"usage: bootstrap.sh PROJECT_ID REGION"}
region=${2:?"usage: bootstrap.sh PROJECT_ID REGION"}
bucket="$project-terraform"

gcloud services enable --project="$project" \
    cloudresourcemanager.googleapis.com serviceusage.googleapis.com storage.googleapis.com
if ! gcloud storage buckets describe "gs://$bucket" --project="$project" > /dev/null 2>&1; then
    gcloud storage buckets create "gs://$bucket" --project="$project" --location="$region" \
        --uniform-bucket-level-access --public-access-prevention
fi
gcloud storage buckets update "gs://$bucket" --project="$project" --versioning

cat > "$(dirname "$0")/backend.tf" <<END
terraform {
  backend "gcs" {
    bucket = "$bucket"
    prefix = "sluice"
  }
}
END
echo "Next: cd terraform && terraform init && terraform apply -var project_id=$project -var region=$region"
