"""Misbehaviour: its command line form, and that it repeats."""

import pytest

from sluice.local.pubsub import Mischief

NAME = "projects/local/subscriptions/load"


def test_the_command_line_form_says_it_all():
    text = "duplicate=0.3,delay=0.5s,reorder,drop_acks=0.2,seed=7,subscription=load"
    assert Mischief.parse(text) == Mischief(0.3, 0.5, True, 0.2, 7, "load")
    assert Mischief.parse("") == Mischief()


@pytest.mark.parametrize("text", ["twice=0.3", "duplicate=often", "seed=0.5"])
def test_a_wrong_word_or_value_is_refused(text):
    with pytest.raises(ValueError, match=r"unknown mischief|could not convert|invalid literal"):
        Mischief.parse(text)


def test_the_same_seed_makes_the_same_trouble():
    def trouble(seed):
        mischief = Mischief(duplicate=0.5, delay_s=1.0, drop_acks=0.5, seed=seed)
        return [
            (
                mischief.repeats(NAME, place, 1),
                mischief.forgets_ack(NAME, place, 1),
                mischief.tarries_s(NAME, place, 1),
            )
            for place in range(20)
        ]

    assert trouble(7) == trouble(7)
    assert trouble(7) != trouble(8)


def test_a_share_is_kept_roughly():
    mischief = Mischief(duplicate=0.3)
    assert 250 < sum(mischief.repeats(NAME, place, 1) for place in range(1000)) < 350


def test_a_restricted_mischief_spares_the_others():
    mischief = Mischief(1.0, 1.0, True, 1.0, subscription="load")
    assert mischief.repeats(NAME, 1, 1)
    other = "projects/local/subscriptions/split"
    assert not mischief.repeats(other, 1, 1)
    assert not mischief.forgets_ack(other, 1, 1)
    assert mischief.tarries_s(other, 1, 1) == 0.0
    assert mischief.overtakes(other, 1, 10) == 0


def test_mischief_travels_as_json():
    mischief = Mischief(0.1, 0.2, True, 0.3, 4, "load")
    assert Mischief.from_json(mischief.to_json()) == mischief
