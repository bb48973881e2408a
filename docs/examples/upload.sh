#!/usr/bin/env bash
# Uploads a file of trips with curl: asks for a resumable session, then sends the file directly to Cloud Storage.
#
#     docs/examples/upload.sh sunday.csv

set -euo pipefail

url=$(curl -sSf "$SLUICE_URL/v1/uploads" -H 'Content-Type: application/json' \
    -d "{\"dataset\": \"trips\", \"name\": \"$(basename "$1")\"}" \
    | python -c 'import json, sys; print(json.load(sys.stdin)["url"])')
curl -sSf -T "$1" "$url"
