"""The gRPC services Publisher and Subscriber of `google.pubsub.v1`, over the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from sluice.local.pubsub import limits, wire
from sluice.local.pubsub.broker import Broker, page
from sluice.local.pubsub.errors import InvalidArgumentError, StatusError, UnsupportedError
from sluice.local.pubsub.pull import Stream, pull

Answer = Callable[[wire.Wire], wire.Wire]
AsyncAnswer = Callable[[wire.Wire], Awaitable[wire.Wire]]


def publisher_service(broker: Broker) -> Any:
    """Return the handlers of topics and publishing."""

    def update_topic(request: wire.Wire) -> wire.Wire:
        return broker.update_topic(request.topic, request.update_mask)

    def delete_topic(request: wire.Wire) -> wire.Wire:
        broker.delete_topic(request.topic)
        return wire.Empty()

    def list_topics(request: wire.Wire) -> wire.Wire:
        names = broker.topics_of(request.project)
        shown, token = page(names, request.page_size, request.page_token)
        topics = map(broker.topic, shown)
        return wire.ListTopicsResponse(topics=topics, next_page_token=token)

    def list_topic_subscriptions(request: wire.Wire) -> wire.Wire:
        names = broker.subscriptions_to(request.topic)
        shown, token = page(names, request.page_size, request.page_token)
        return wire.ListTopicSubscriptionsResponse(subscriptions=shown, next_page_token=token)

    def publish(request: wire.Wire) -> wire.Wire:
        return wire.PublishResponse(message_ids=broker.publish(request))

    methods = {
        "CreateTopic": _unary(wire.Topic, broker.create_topic),
        "GetTopic": _unary(wire.GetTopicRequest, lambda request: broker.topic(request.topic)),
        "UpdateTopic": _unary(wire.UpdateTopicRequest, update_topic),
        "DeleteTopic": _unary(wire.DeleteTopicRequest, delete_topic),
        "ListTopics": _unary(wire.ListTopicsRequest, list_topics),
        "ListTopicSubscriptions": _unary(
            wire.ListTopicSubscriptionsRequest, list_topic_subscriptions
        ),
        "Publish": _unary(wire.PublishRequest, publish),
    }
    return grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", methods)


def subscriber_service(broker: Broker) -> Any:
    """Return the handlers of subscriptions and receiving."""
    methods = {**_subscription_methods(broker), **_receiving_methods(broker)}
    return grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", methods)


def _subscription_methods(broker: Broker) -> dict[str, Any]:
    def get_subscription(request: wire.Wire) -> wire.Wire:
        return broker.subscription(request.subscription).config

    def update_subscription(request: wire.Wire) -> wire.Wire:
        return broker.update_subscription(request.subscription, request.update_mask)

    def delete_subscription(request: wire.Wire) -> wire.Wire:
        broker.delete_subscription(request.subscription)
        return wire.Empty()

    def list_subscriptions(request: wire.Wire) -> wire.Wire:
        names = broker.subscriptions_of(request.project)
        shown, token = page(names, request.page_size, request.page_token)
        configs = (broker.subscription(name).config for name in shown)
        return wire.ListSubscriptionsResponse(subscriptions=configs, next_page_token=token)

    def modify_push_config(request: wire.Wire) -> wire.Wire:
        broker.modify_push_config(request.subscription, request.push_config)
        return wire.Empty()

    return {
        "CreateSubscription": _unary(wire.Subscription, broker.create_subscription),
        "GetSubscription": _unary(wire.GetSubscriptionRequest, get_subscription),
        "UpdateSubscription": _unary(wire.UpdateSubscriptionRequest, update_subscription),
        "DeleteSubscription": _unary(wire.DeleteSubscriptionRequest, delete_subscription),
        "ListSubscriptions": _unary(wire.ListSubscriptionsRequest, list_subscriptions),
        "ModifyPushConfig": _unary(wire.ModifyPushConfigRequest, modify_push_config),
    }


def _receiving_methods(broker: Broker) -> dict[str, Any]:
    def acknowledge(request: wire.Wire) -> wire.Wire:
        subscription = broker.subscription(request.subscription)
        limits.check_ack_ids(request.ack_ids)
        for ack_id in request.ack_ids:
            subscription.ack(ack_id)
        return wire.Empty()

    def modify_ack_deadline(request: wire.Wire) -> wire.Wire:
        subscription = broker.subscription(request.subscription)
        limits.check_ack_ids(request.ack_ids)
        limits.check_ack_deadline(request.ack_deadline_seconds)
        for ack_id in request.ack_ids:
            subscription.extend(ack_id, request.ack_deadline_seconds)
        return wire.Empty()

    async def pull_messages(request: wire.Wire) -> wire.Wire:
        return await pull(broker.subscription(request.subscription), request)

    def seek(request: wire.Wire) -> wire.Wire:
        subscription = broker.subscription(request.subscription)
        if request.WhichOneof("target") != "time":
            raise UnsupportedError("Seek to a snapshot, only to a time")
        subscription.purge(request.time.ToNanoseconds() / 1e9)
        return wire.SeekResponse()

    return {
        "Acknowledge": _unary(wire.AcknowledgeRequest, acknowledge),
        "ModifyAckDeadline": _unary(wire.ModifyAckDeadlineRequest, modify_ack_deadline),
        "Pull": _async_unary(wire.PullRequest, pull_messages),
        "Seek": _unary(wire.SeekRequest, seek),
        "StreamingPull": _streaming_pull(broker),
    }


def _streaming_pull(broker: Broker) -> Any:
    async def stream(requests: AsyncIterator[wire.Wire], context: Any) -> AsyncIterator[wire.Wire]:
        try:
            first = await anext(aiter(requests), None)
            if first is None or not first.subscription:
                raise InvalidArgumentError(
                    "The first request of a stream must name the subscription."
                )
            receiver = Stream(broker.subscription(first.subscription), first)
            async for response in receiver.responses(requests):
                yield response
        except StatusError as refusal:
            await context.abort(grpc.StatusCode[refusal.code], refusal.message)

    return grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=wire.StreamingPullRequest.FromString,
        response_serializer=wire.StreamingPullResponse.SerializeToString,
    )


def _unary(request_type: wire.Wire, answer: Answer) -> Any:
    async def answer_later(request: wire.Wire) -> wire.Wire:
        return answer(request)

    return _async_unary(request_type, answer_later)


def _async_unary(request_type: wire.Wire, answer: AsyncAnswer) -> Any:
    async def handle(request: wire.Wire, context: Any) -> wire.Wire:
        try:
            return await answer(request)
        except StatusError as refusal:
            return await context.abort(grpc.StatusCode[refusal.code], refusal.message)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
