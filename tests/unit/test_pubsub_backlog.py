"""The delivery state machine, with simulated time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.local.pubsub.backlog import Backlog
from sluice.local.pubsub.deliveries import BacklogCounts
from sluice.local.pubsub.errors import InvalidArgumentError
from sluice.local.pubsub.faults import Faults
from sluice.local.pubsub.flow_control import UNLIMITED, Window
from sluice.local.pubsub.messages import Message
from sluice.local.pubsub.policy import DeliveryPolicy

NAME = "projects/local/subscriptions/load"


@dataclass
class Recorder:
    """Notes what a backlog reports."""

    takes_dead_letters: bool = True
    attempts: dict[str, int] = field(default_factory=dict)
    settled_ids: list[str] = field(default_factory=list)
    dead: list[tuple[str, int]] = field(default_factory=list)
    timer_at: float | None = None
    times_ready: int = 0

    def became_ready(self):
        self.times_ready += 1

    def timer_set(self, at):
        self.timer_at = at

    def leased(self, message_id, attempts):
        self.attempts[message_id] = attempts

    def settled(self, message_id):
        self.settled_ids.append(message_id)

    def exhausted(self, message, attempts):
        if self.takes_dead_letters:
            self.dead.append((message.message_id, attempts))
        return self.takes_dead_letters


@pytest.fixture
def recorder():
    return Recorder()


def message(number, key="", published_at=0.0):
    return Message(str(number), b"x" * 10, {}, key, published_at)


def backlog_of(recorder, count=1, *, key="", **policy):
    backlog = Backlog(NAME, DeliveryPolicy(**policy), recorder)
    for number in range(1, count + 1):
        backlog.put(message(number, key), 0.0)
    return backlog


def take(backlog, now, limit=100, window=UNLIMITED):
    return backlog.take(now, limit, window)


def ids(deliveries):
    return [delivery.message.message_id for delivery in deliveries]


def test_an_acked_message_is_gone(recorder):
    backlog = backlog_of(recorder)
    (delivery,) = take(backlog, 0.0)
    backlog.ack(delivery.ack_id, 1.0)
    assert backlog.counts() == BacklogCounts(0, 0, 0)
    assert recorder.settled_ids == ["1"]
    assert take(backlog, 100.0) == []


def test_a_leased_message_is_not_leased_twice(recorder):
    backlog = backlog_of(recorder)
    take(backlog, 0.0)
    assert take(backlog, 9.9) == []


def test_an_expired_lease_is_delivered_again_as_the_next_attempt(recorder):
    backlog = backlog_of(recorder, ack_deadline_s=10)
    take(backlog, 0.0)
    assert recorder.timer_at == 10.0
    (again,) = take(backlog, 10.0)
    assert again.attempt == 2
    assert recorder.attempts == {"1": 2}


def test_an_extended_lease_lasts_from_the_extension(recorder):
    backlog = backlog_of(recorder, ack_deadline_s=10)
    (delivery,) = take(backlog, 0.0)
    backlog.extend(delivery.ack_id, 60, 5.0)
    assert take(backlog, 64.9) == []
    assert ids(take(backlog, 65.0)) == ["1"]


def test_a_late_ack_counts_until_the_message_is_leased_again(recorder):
    backlog = backlog_of(recorder, 2, ack_deadline_s=10)
    first, second = take(backlog, 0.0)
    backlog.advance(10.0)
    backlog.ack(first.ack_id, 10.0)
    assert ids(take(backlog, 10.0)) == ["2"]
    backlog.ack(second.ack_id, 11.0)
    assert backlog.counts().outstanding == 1


def test_a_foreign_ack_id_is_refused(recorder):
    other = Backlog("projects/local/subscriptions/other", DeliveryPolicy(), recorder)
    other.put(message(1), 0.0)
    (foreign,) = take(other, 0.0)
    backlog = backlog_of(recorder)
    for ack_id in (foreign.ack_id, "nonsense", ""):
        with pytest.raises(InvalidArgumentError, match="invalid ack ID"):
            backlog.ack(ack_id, 0.0)


def test_without_a_retry_policy_a_nack_is_delivered_again_at_once(recorder):
    backlog = backlog_of(recorder)
    (delivery,) = take(backlog, 0.0)
    backlog.nack(delivery.ack_id, 0.0)
    assert ids(take(backlog, 0.0)) == ["1"]


def test_the_backoff_doubles_from_its_minimum_to_its_maximum(recorder):
    backlog = backlog_of(recorder, minimum_backoff_s=1, maximum_backoff_s=5)
    now, waits = 0.0, []
    for _ in range(5):
        (delivery,) = take(backlog, now)
        backlog.nack(delivery.ack_id, now)
        waits.append(backlog.next_timer_at() - now)
        now = backlog.next_timer_at()
    assert waits == [1, 2, 4, 5, 5]


def test_an_expired_lease_waits_for_the_backoff_too(recorder):
    backlog = backlog_of(recorder, ack_deadline_s=10, minimum_backoff_s=3, maximum_backoff_s=3)
    take(backlog, 0.0)
    assert take(backlog, 10.0) == []
    assert ids(take(backlog, 13.0)) == ["1"]


def test_after_the_last_attempt_a_message_goes_to_the_dead_letters(recorder):
    backlog = backlog_of(recorder, dead_letter_topic="t", max_delivery_attempts=5)
    for attempt in range(1, 6):
        (delivery,) = take(backlog, 0.0)
        assert delivery.attempt == attempt
        backlog.nack(delivery.ack_id, 0.0)
    assert recorder.dead == [("1", 5)]
    assert backlog.counts() == BacklogCounts(0, 0, 1)


def test_a_message_whose_dead_letter_topic_is_gone_is_delivered_further(recorder):
    recorder.takes_dead_letters = False
    backlog = backlog_of(recorder, dead_letter_topic="t", max_delivery_attempts=5)
    for _ in range(7):
        (delivery,) = take(backlog, 0.0)
        backlog.nack(delivery.ack_id, 0.0)
    assert backlog.counts() == BacklogCounts(1, 0, 0)


def test_the_next_message_of_a_key_waits_for_the_ack(recorder):
    backlog = backlog_of(recorder, 3, key="k", is_ordered=True)
    backlog.put(message(4, key="other"), 0.0)
    first, other = take(backlog, 0.0)
    assert ids([first, other]) == ["1", "4"]
    backlog.ack(first.ack_id, 0.0)
    assert ids(take(backlog, 0.0)) == ["2"]


def test_after_a_nack_a_key_continues_from_there_in_order(recorder):
    backlog = backlog_of(recorder, 3, key="k", is_ordered=True)
    seen = []
    for _ in range(6):
        (delivery,) = take(backlog, 0.0)
        seen.append((delivery.message.message_id, delivery.attempt))
        settle = backlog.nack if delivery.attempt == 1 else backlog.ack
        settle(delivery.ack_id, 0.0)
    assert seen == [("1", 1), ("1", 2), ("2", 1), ("2", 2), ("3", 1), ("3", 2)]


def test_a_dead_letter_lets_its_key_continue(recorder):
    backlog = backlog_of(
        recorder, 2, key="k", is_ordered=True, dead_letter_topic="t", max_delivery_attempts=5
    )
    for _ in range(5):
        (delivery,) = take(backlog, 0.0)
        backlog.nack(delivery.ack_id, 0.0)
    assert ids(take(backlog, 0.0)) == ["2"]


def test_without_ordering_keys_do_not_matter(recorder):
    backlog = backlog_of(recorder, 3, key="k")
    assert ids(take(backlog, 0.0)) == ["1", "2", "3"]


def test_messages_older_than_the_retention_are_dropped_even_if_leased(recorder):
    backlog = backlog_of(recorder, 2, retention_s=600)
    backlog.put(message(3, published_at=500.0), 500.0)
    take(backlog, 599.0, limit=1)
    assert ids(take(backlog, 601.0)) == ["3"]
    assert recorder.settled_ids == ["1", "2"]


def test_a_window_delivers_no_more_than_it_allows(recorder):
    backlog = backlog_of(recorder, 5)
    rooms = []
    window = Window(max_messages=2, on_room=lambda: rooms.append(True))
    first, _ = take(backlog, 0.0, window=window)
    assert take(backlog, 0.0, window=window) == []
    backlog.ack(first.ack_id, 0.0)
    assert rooms == [True]
    assert ids(take(backlog, 0.0, window=window)) == ["3"]


def test_a_window_of_bytes_lets_one_message_exceed_it(recorder):
    backlog = backlog_of(recorder, 3)
    assert ids(take(backlog, 0.0, window=Window(max_bytes=15))) == ["1", "2"]


def test_a_message_restored_with_attempts_counts_on(recorder):
    backlog = Backlog(NAME, DeliveryPolicy(), recorder)
    backlog.put(message(1), 0.0, attempts=3)
    assert take(backlog, 0.0)[0].attempt == 4


def test_acked_messages_leave_no_memory(recorder):
    backlog = Backlog(NAME, DeliveryPolicy(ack_deadline_s=600, is_ordered=True), recorder)
    for number in range(20_000):
        backlog.put(message(number, key=f"k{number}"), 0.0)
        (delivery,) = take(backlog, 0.0)
        backlog.ack(delivery.ack_id, 0.0)
    assert len(backlog._timers) < 2_000
    assert not backlog._entries
    assert not backlog._keys


def test_a_duplicate_is_the_same_delivery_twice(recorder):
    backlog = backlog_of(recorder)
    backlog.faults = Faults(duplicate=1.0)
    first, second = take(backlog, 0.0)
    assert first == second
    backlog.ack(first.ack_id, 0.0)
    backlog.ack(second.ack_id, 0.0)
    assert recorder.settled_ids == ["1"]


def test_a_dropped_ack_leaves_the_message_to_its_deadline(recorder):
    backlog = backlog_of(recorder, ack_deadline_s=10)
    backlog.faults = Faults(drop_acks=1.0)
    (delivery,) = take(backlog, 0.0)
    backlog.ack(delivery.ack_id, 0.0)
    assert ids(take(backlog, 10.0)) == ["1"]


def test_reordering_never_breaks_the_order_of_a_key(recorder):
    backlog = Backlog(NAME, DeliveryPolicy(is_ordered=True), recorder)
    backlog.faults = Faults(reorder=True, seed=7)
    for number in range(60):
        backlog.put(message(number, key=f"k{number % 3}"), 0.0)
    seen = []
    while deliveries := take(backlog, 0.0, limit=2):
        for delivery in deliveries:
            seen.append(int(delivery.message.message_id))
            backlog.ack(delivery.ack_id, 0.0)
    assert len(seen) == 60
    assert seen != sorted(seen)
    for key in range(3):
        of_key = [number for number in seen if number % 3 == key]
        assert of_key == sorted(of_key)


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "take", "ack", "nack", "wait"]), st.integers(0, 5)),
        max_size=60,
    ),
    st.booleans(),
)
def test_no_message_is_lost_or_settled_twice(steps, is_ordered):
    recorder = Recorder()
    policy = DeliveryPolicy(is_ordered=is_ordered, minimum_backoff_s=1, maximum_backoff_s=8)
    backlog = Backlog(NAME, policy, recorder)
    now, put, held = 0.0, 0, []
    for action, number in steps:
        if action == "put":
            put += 1
            backlog.put(message(put, key=str(number % 3)), now)
        elif action == "take":
            held += take(backlog, now, limit=number)
        elif action == "wait":
            now += number * 5
            backlog.advance(now)
        elif held:
            settle = backlog.ack if action == "ack" else backlog.nack
            settle(held.pop(number % len(held)).ack_id, now)
        counts = backlog.counts()
        assert counts.undelivered + counts.outstanding + len(recorder.settled_ids) == put
    for _ in range(put + 1):
        now += 1000
        for delivery in take(backlog, now):
            backlog.ack(delivery.ack_id, now)
    assert sorted(recorder.settled_ids, key=int) == [str(n + 1) for n in range(put)]
