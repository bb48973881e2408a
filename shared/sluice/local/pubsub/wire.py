"""The message types of `google.pubsub.v1` as plain protobuf classes; the only importer of them.

The proto-plus classes around them cost ten times as much for each message. The generated classes
carry no types, so signatures say `Wire` for any of them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import empty_pb2
from google.pubsub_v1.types import pubsub

Wire: TypeAlias = Any
"""A protobuf message."""

Empty = empty_pb2.Empty
Topic = pubsub.Topic.pb()
GetTopicRequest = pubsub.GetTopicRequest.pb()
UpdateTopicRequest = pubsub.UpdateTopicRequest.pb()
DeleteTopicRequest = pubsub.DeleteTopicRequest.pb()
ListTopicsRequest = pubsub.ListTopicsRequest.pb()
ListTopicsResponse = pubsub.ListTopicsResponse.pb()
ListTopicSubscriptionsRequest = pubsub.ListTopicSubscriptionsRequest.pb()
ListTopicSubscriptionsResponse = pubsub.ListTopicSubscriptionsResponse.pb()
PublishRequest = pubsub.PublishRequest.pb()
PublishResponse = pubsub.PublishResponse.pb()
PubsubMessage = pubsub.PubsubMessage.pb()
Subscription = pubsub.Subscription.pb()
GetSubscriptionRequest = pubsub.GetSubscriptionRequest.pb()
UpdateSubscriptionRequest = pubsub.UpdateSubscriptionRequest.pb()
DeleteSubscriptionRequest = pubsub.DeleteSubscriptionRequest.pb()
ListSubscriptionsRequest = pubsub.ListSubscriptionsRequest.pb()
ListSubscriptionsResponse = pubsub.ListSubscriptionsResponse.pb()
ModifyPushConfigRequest = pubsub.ModifyPushConfigRequest.pb()
ModifyAckDeadlineRequest = pubsub.ModifyAckDeadlineRequest.pb()
AcknowledgeRequest = pubsub.AcknowledgeRequest.pb()
PullRequest = pubsub.PullRequest.pb()
PullResponse = pubsub.PullResponse.pb()
ReceivedMessage = pubsub.ReceivedMessage.pb()
StreamingPullRequest = pubsub.StreamingPullRequest.pb()
StreamingPullResponse = pubsub.StreamingPullResponse.pb()
SeekRequest = pubsub.SeekRequest.pb()
SeekResponse = pubsub.SeekResponse.pb()
