# Versions before the module had these resources in this folder: an existing deployment keeps them.

moved {
  from = google_sql_database_instance.sluice
  to   = module.sluice.google_sql_database_instance.sluice
}

moved {
  from = google_sql_database.sluice
  to   = module.sluice.google_sql_database.sluice
}

moved {
  from = google_sql_user.function
  to   = module.sluice.google_sql_user.function
}

moved {
  from = google_sql_user.migrate
  to   = module.sluice.google_sql_user.migrate
}

moved {
  from = google_project_iam_member.connects
  to   = module.sluice.google_project_iam_member.connects
}

moved {
  from = google_storage_bucket_object.source
  to   = module.sluice.google_storage_bucket_object.source
}

moved {
  from = google_cloudfunctions2_function.function
  to   = module.sluice.google_cloudfunctions2_function.function
}

moved {
  from = google_service_account.function
  to   = module.sluice.google_service_account.function
}

moved {
  from = google_service_account.build
  to   = module.sluice.google_service_account.build
}

moved {
  from = google_project_iam_member.build
  to   = module.sluice.google_project_iam_member.build
}

moved {
  from = google_cloud_run_v2_service_iam_member.client_invokes
  to   = module.sluice.google_cloud_run_v2_service_iam_member.client_invokes
}

moved {
  from = google_compute_global_address.api
  to   = module.sluice.google_compute_global_address.api
}

moved {
  from = google_compute_managed_ssl_certificate.api
  to   = module.sluice.google_compute_managed_ssl_certificate.api
}

moved {
  from = google_compute_ssl_policy.api
  to   = module.sluice.google_compute_ssl_policy.api
}

moved {
  from = google_compute_region_network_endpoint_group.api
  to   = module.sluice.google_compute_region_network_endpoint_group.api
}

moved {
  from = google_compute_backend_service.api
  to   = module.sluice.google_compute_backend_service.api
}

moved {
  from = google_compute_url_map.api
  to   = module.sluice.google_compute_url_map.api
}

moved {
  from = google_compute_target_https_proxy.api
  to   = module.sluice.google_compute_target_https_proxy.api
}

moved {
  from = google_compute_global_forwarding_rule.api
  to   = module.sluice.google_compute_global_forwarding_rule.api
}

moved {
  from = google_compute_security_policy.api
  to   = module.sluice.google_compute_security_policy.api
}

moved {
  from = google_service_account.migrate
  to   = module.sluice.google_service_account.migrate
}

moved {
  from = google_storage_bucket_iam_member.migrate_reads_sources
  to   = module.sluice.google_storage_bucket_iam_member.migrate_reads_sources
}

moved {
  from = google_cloud_run_v2_job.migrate
  to   = module.sluice.google_cloud_run_v2_job.migrate
}

moved {
  from = google_logging_metric.sluice
  to   = module.sluice.google_logging_metric.sluice
}

moved {
  from = google_monitoring_notification_channel.email
  to   = module.sluice.google_monitoring_notification_channel.email
}

moved {
  from = google_monitoring_alert_policy.alert
  to   = module.sluice.google_monitoring_alert_policy.alert
}

moved {
  from = google_monitoring_dashboard.sluice
  to   = module.sluice.google_monitoring_dashboard.sluice
}

moved {
  from = google_billing_budget.monthly
  to   = module.sluice.google_billing_budget.monthly
}

moved {
  from = google_compute_network.sluice
  to   = module.sluice.google_compute_network.sluice
}

moved {
  from = google_compute_subnetwork.functions
  to   = module.sluice.google_compute_subnetwork.functions
}

moved {
  from = google_compute_global_address.database
  to   = module.sluice.google_compute_global_address.database
}

moved {
  from = google_service_networking_connection.database
  to   = module.sluice.google_service_networking_connection.database
}

moved {
  from = google_pubsub_topic.engine
  to   = module.sluice.google_pubsub_topic.engine
}

moved {
  from = google_pubsub_subscription.push
  to   = module.sluice.google_pubsub_subscription.push
}

moved {
  from = google_pubsub_subscription.dead_letters
  to   = module.sluice.google_pubsub_subscription.dead_letters
}

moved {
  from = google_pubsub_subscription_iam_member.intake_reads_dead_letters
  to   = module.sluice.google_pubsub_subscription_iam_member.intake_reads_dead_letters
}

moved {
  from = google_project_service_identity.pubsub
  to   = module.sluice.google_project_service_identity.pubsub
}

moved {
  from = google_pubsub_topic_iam_member.agent_buries
  to   = module.sluice.google_pubsub_topic_iam_member.agent_buries
}

moved {
  from = google_project_iam_member.agent_takes
  to   = module.sluice.google_project_iam_member.agent_takes
}

moved {
  from = google_service_account.push
  to   = module.sluice.google_service_account.push
}

moved {
  from = google_service_account.client_push
  to   = module.sluice.google_service_account.client_push
}

moved {
  from = google_service_account_iam_member.agent_signs
  to   = module.sluice.google_service_account_iam_member.agent_signs
}

moved {
  from = google_cloud_run_v2_service_iam_member.push_invokes
  to   = module.sluice.google_cloud_run_v2_service_iam_member.push_invokes
}

moved {
  from = google_pubsub_topic_iam_member.function_publishes
  to   = module.sluice.google_pubsub_topic_iam_member.function_publishes
}

moved {
  from = google_project_iam_custom_role.subscription_maker
  to   = module.sluice.google_project_iam_custom_role.subscription_maker
}

moved {
  from = google_project_iam_member.status_makes_subscriptions
  to   = module.sluice.google_project_iam_member.status_makes_subscriptions
}

moved {
  from = google_pubsub_topic_iam_member.status_attaches
  to   = module.sluice.google_pubsub_topic_iam_member.status_attaches
}

moved {
  from = google_service_account_iam_member.status_names_client_push
  to   = module.sluice.google_service_account_iam_member.status_names_client_push
}

moved {
  from = google_service_account_iam_member.status_signs_as_client_push
  to   = module.sluice.google_service_account_iam_member.status_signs_as_client_push
}

moved {
  from = google_service_account.scheduler
  to   = module.sluice.google_service_account.scheduler
}

moved {
  from = google_cloud_run_v2_service_iam_member.scheduler_invokes
  to   = module.sluice.google_cloud_run_v2_service_iam_member.scheduler_invokes
}

moved {
  from = google_cloud_scheduler_job.clock
  to   = module.sluice.google_cloud_scheduler_job.clock
}

moved {
  from = google_secret_manager_secret.token
  to   = module.sluice.google_secret_manager_secret.token
}

moved {
  from = google_secret_manager_secret_version.token
  to   = module.sluice.google_secret_manager_secret_version.token
}

moved {
  from = google_secret_manager_secret_iam_member.function_reads_token
  to   = module.sluice.google_secret_manager_secret_iam_member.function_reads_token
}

moved {
  from = google_project_service.enabled
  to   = module.sluice.google_project_service.enabled
}

moved {
  from = google_storage_bucket.inbox
  to   = module.sluice.google_storage_bucket.inbox
}

moved {
  from = google_storage_bucket.outbox
  to   = module.sluice.google_storage_bucket.outbox
}

moved {
  from = google_storage_bucket.sources
  to   = module.sluice.google_storage_bucket.sources
}

moved {
  from = google_pubsub_topic_iam_member.storage_notifies
  to   = module.sluice.google_pubsub_topic_iam_member.storage_notifies
}

moved {
  from = google_storage_notification.uploads
  to   = module.sluice.google_storage_notification.uploads
}

moved {
  from = google_storage_bucket_iam_member.reads_inbox
  to   = module.sluice.google_storage_bucket_iam_member.reads_inbox
}

moved {
  from = google_project_iam_custom_role.uploader
  to   = module.sluice.google_project_iam_custom_role.uploader
}

moved {
  from = google_project_iam_custom_role.sender
  to   = module.sluice.google_project_iam_custom_role.sender
}

moved {
  from = google_storage_bucket_iam_member.intake_uploads
  to   = module.sluice.google_storage_bucket_iam_member.intake_uploads
}

moved {
  from = google_storage_bucket_iam_member.intake_stores_parts
  to   = module.sluice.google_storage_bucket_iam_member.intake_stores_parts
}

moved {
  from = google_storage_bucket_iam_member.people_upload
  to   = module.sluice.google_storage_bucket_iam_member.people_upload
}

moved {
  from = google_project_iam_custom_role.chunk_remover
  to   = module.sluice.google_project_iam_custom_role.chunk_remover
}

moved {
  from = google_storage_bucket_iam_member.reaches_chunks
  to   = module.sluice.google_storage_bucket_iam_member.reaches_chunks
}

moved {
  from = google_storage_bucket_iam_member.reaches_outputs
  to   = module.sluice.google_storage_bucket_iam_member.reaches_outputs
}

moved {
  from = google_storage_bucket_iam_member.writes_rejects
  to   = module.sluice.google_storage_bucket_iam_member.writes_rejects
}

moved {
  from = google_storage_bucket_iam_member.backup_writes_outbox
  to   = module.sluice.google_storage_bucket_iam_member.backup_writes_outbox
}
