# Topics and subscriptions, the same as in sluice.local.topology, and the accounts that publish and push.

locals {
  topics = ["uploads", "chunks", "status", "dead-letters"]

  # Every message is pushed to a function, which times out before the deadline: see `timeout_s` in functions.tf.
  pushes = {
    uploads-split = { topic = "uploads", function = "split", filter = "" }
    chunks-load   = { topic = "chunks", function = "load", filter = "" }
    status-finish = { topic = "status", function = "finish", filter = "(attributes.state = \"publishing\" OR attributes.state = \"done\" OR attributes:observed) AND NOT attributes:group_commit" }
  }
  ack_deadline_s = 600

  publishers = { for function, topics in {
    split  = ["chunks", "status", "uploads"] # uploads: whoever ends a file notifies split of one that has waited for it
    load   = ["status", "uploads"]
    finish = ["status", "uploads", "chunks"] # chunks whose types it decided, and for recovery
    intake = ["uploads", "status", "chunks"] # chunks to replay dead letters
    backup = ["status"]
  } : function => topics if contains(keys(local.functions), function) }
  publications = merge([
    for function, topics in local.publishers : { for topic in topics : "${function}-${topic}" => { function = function, topic = topic } }
  ]...)
}

resource "google_pubsub_topic" "engine" {
  for_each = toset(local.topics)

  name                       = "${local.prefix}${each.key}"
  labels                     = local.labels
  kms_key_name               = var.kms_key
  message_retention_duration = "604800s"

  depends_on = [google_project_service.enabled, google_kms_crypto_key_iam_member.agent_encrypts]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.pushes

  name                       = "${local.prefix}${each.key}"
  labels                     = local.labels
  topic                      = google_pubsub_topic.engine[each.value.topic].id
  filter                     = each.value.filter
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = google_cloudfunctions2_function.function[each.value.function].service_config[0].uri

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.function_urls[each.value.function] # the function checks it, too
    }
  }

  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }

  dead_letter_policy {
    dead_letter_topic = google_pubsub_topic.engine["dead-letters"].id
    # The maximum: while all instances are busy, Cloud Run answers 429, which counts as an attempt. Attempts that
    # fail are counted in the database, see `max_attempts`.
    max_delivery_attempts = 100
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push_invokes]
}

resource "google_pubsub_subscription" "dead_letters" {
  name                       = "${local.prefix}dead-letters"
  labels                     = local.labels
  topic                      = google_pubsub_topic.engine["dead-letters"].id
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = "2678400s" # 31 days, the maximum

  expiration_policy {
    ttl = "" # never
  }
}

resource "google_pubsub_subscription_iam_member" "intake_reads_dead_letters" {
  subscription = google_pubsub_subscription.dead_letters.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.function["intake"].member
}

# Pub/Sub's service agent publishes dead letters and acknowledges them in their subscriptions. Subscriptions that
# clients create through the API are not known here, so it may subscribe in the whole project.

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# Google creates it at the first use of the service, which is too late for the rights below.
resource "google_project_service_identity" "pubsub" {
  provider = google-beta
  service  = "pubsub.googleapis.com"

  depends_on = [google_project_service.enabled]
}

resource "google_pubsub_topic_iam_member" "agent_buries" {
  topic  = google_pubsub_topic.engine["dead-letters"].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}

resource "google_project_iam_member" "agent_takes" {
  project = var.project_id
  role    = "roles/pubsub.subscriber"
  member  = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}

# The accounts whose tokens authenticate pushes to the functions and to clients' endpoints; the latter has no rights.

resource "google_service_account" "push" {
  account_id   = "${local.prefix}sluice-push"
  display_name = "Pushes messages to the functions"

  depends_on = [google_project_service.enabled]
}

resource "google_service_account" "client_push" {
  account_id   = "${local.prefix}sluice-client-push"
  display_name = "Signs the pushes to endpoints of clients"

  depends_on = [google_project_service.enabled]
}

resource "google_service_account_iam_member" "agent_signs" {
  for_each = {
    push        = google_service_account.push.name
    client_push = google_service_account.client_push.name
  }

  service_account_id = each.value
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}

resource "google_cloud_run_v2_service_iam_member" "push_invokes" {
  for_each = toset([for each in local.pushes : each.function])

  name     = google_cloudfunctions2_function.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.push.member
}

# The topics to which each function publishes.

resource "google_pubsub_topic_iam_member" "function_publishes" {
  for_each = local.publications

  topic  = google_pubsub_topic.engine[each.value.topic].name
  role   = "roles/pubsub.publisher"
  member = google_service_account.function[each.value.function].member
}

# The function status creates push subscriptions for clients on the topic `status`.

resource "google_project_iam_custom_role" "subscription_maker" {
  role_id     = "${local.role_prefix}sluiceSubscriptionMaker"
  title       = "${local.title} subscription maker"
  description = "Creates and deletes subscriptions; the rights on the topics decide to which."
  permissions = ["pubsub.subscriptions.create", "pubsub.subscriptions.delete"]

  depends_on = [google_project_service.enabled]
}

resource "google_project_iam_member" "status_makes_subscriptions" {
  project = var.project_id
  role    = google_project_iam_custom_role.subscription_maker.name
  member  = google_service_account.function["status"].member
}

resource "google_pubsub_topic_iam_member" "status_attaches" {
  topic  = google_pubsub_topic.engine["status"].name
  role   = "roles/pubsub.subscriber"
  member = google_service_account.function["status"].member
}

resource "google_service_account_iam_member" "status_names_client_push" {
  service_account_id = google_service_account.client_push.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.function["status"].member
}

# It asks endpoints for their consent with the token that the pushes will have.
resource "google_service_account_iam_member" "status_signs_as_client_push" {
  service_account_id = google_service_account.client_push.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = google_service_account.function["status"].member
}
