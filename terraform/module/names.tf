# What all names begin with, and the labels of everything that takes some.

locals {
  # Before names that a project has only once: topics, functions, service accounts, buckets and so on.
  prefix = var.name_prefix == "" ? "" : "${var.name_prefix}-"
  # The same before the ids of roles, which take no dash.
  role_prefix = replace(local.prefix, "-", "_")
  # In titles for people.
  title = var.name_prefix == "" ? "Sluice" : "Sluice ${var.name_prefix}"

  labels = merge(var.labels, { app = "sluice" })
}
