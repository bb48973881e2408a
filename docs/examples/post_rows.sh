#!/usr/bin/env bash
# Sends one row; it is published before the response, once for each idempotency key.

set -euo pipefail

curl -sSf "$SLUICE_URL/v1/datasets/trips/rows" -H 'Idempotency-Key: visit-17' -d '[{
    "region": "Ostrava", "origin_coord": "POINT (14.4 50.1)", "destination_coord": "POINT (14.5 50.2)",
    "datetime": "2018-05-28 09:03:40", "datasource": "by hand"}]'
