"""Fault injection: its form on the command line, and that it is repeatable."""

import pytest

from sluice.local.pubsub import Faults

NAME = "projects/local/subscriptions/load"


def test_the_command_line_form_sets_every_field():
    text = "duplicate=0.3,delay=0.5s,reorder,drop_acks=0.2,seed=7,subscription=load"
    assert Faults.parse(text) == Faults(0.3, 0.5, True, 0.2, 7, "load")
    assert Faults.parse("") == Faults()


@pytest.mark.parametrize("text", ["twice=0.3", "duplicate=often", "seed=0.5"])
def test_a_wrong_word_or_value_is_refused(text):
    with pytest.raises(ValueError, match=r"unknown faults|could not convert|invalid literal"):
        Faults.parse(text)


def test_the_same_seed_injects_the_same_faults():
    def injected(seed):
        faults = Faults(duplicate=0.5, delay_s=1.0, drop_acks=0.5, seed=seed)
        return [
            (
                faults.is_duplicated(NAME, place, 1),
                faults.is_ack_dropped(NAME, place, 1),
                faults.delay_s_of(NAME, place, 1),
            )
            for place in range(20)
        ]

    assert injected(7) == injected(7)
    assert injected(7) != injected(8)


def test_a_share_is_kept_roughly():
    faults = Faults(duplicate=0.3)
    assert 250 < sum(faults.is_duplicated(NAME, place, 1) for place in range(1000)) < 350


def test_faults_of_one_subscription_spare_the_others():
    faults = Faults(1.0, 1.0, True, 1.0, subscription="load")
    assert faults.is_duplicated(NAME, 1, 1)
    other = "projects/local/subscriptions/split"
    assert not faults.is_duplicated(other, 1, 1)
    assert not faults.is_ack_dropped(other, 1, 1)
    assert faults.delay_s_of(other, 1, 1) == 0.0
    assert faults.overtakes(other, 1, 10) == 0


def test_faults_are_sent_as_json():
    faults = Faults(0.1, 0.2, True, 0.3, 4, "load")
    assert Faults.from_json(faults.to_json()) == faults
