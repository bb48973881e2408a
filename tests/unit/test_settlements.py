"""What is settled together: ingestions of similar size, and settlements when there are eight alike."""

from __future__ import annotations

import random

import pytest

from sluice.compaction.tiers import FAN_OUT, Group, next_group


def settled(number: int, rows: int) -> Group:
    return Group((number,), rows, is_settled=True)


def test_nothing_is_to_do() -> None:
    assert next_group([]) is None
    assert next_group([settled(number, 10) for number in range(FAN_OUT - 1)]) is None
    assert next_group([settled(1, 10), settled(2, 10_000_000)]) is None


def test_new_ingestions_of_similar_size_go_together() -> None:
    groups = [Group((3,), 25_000_000), Group((1,), 24_000_000), settled(2, 26_000_000)]
    assert next_group(groups) == Group((1, 3), 49_000_000)


def test_the_small_are_first_for_they_are_quick() -> None:
    assert next_group([Group((1,), 10_000_000), Group((2,), 10)]) == Group((2,), 10)


def test_settlements_are_merged_when_there_are_enough() -> None:
    alike = [settled(number, 100) for number in range(FAN_OUT)]
    other = settled(99, 10_000_000)
    assert next_group([*alike, other]) == Group(tuple(range(FAN_OUT)), 100 * FAN_OUT)


def test_a_new_one_that_makes_enough_is_merged_at_once() -> None:
    alike = [settled(number, 100) for number in range(FAN_OUT - 1)]
    merged = next_group([*alike, Group((50,), 100), Group((51,), 100)])
    assert merged == Group((*range(FAN_OUT - 1), 50, 51), 100 * (FAN_OUT + 1))


@pytest.mark.parametrize("seed", range(3))
def test_few_settlements_hold_many_files_and_rows_are_moved_seldom(seed: int) -> None:
    draw = random.Random(seed)
    groups: list[Group] = []
    moved = total = 0
    for number in range(2000):
        rows = int(10 ** draw.uniform(1, 5))
        total += rows
        groups.append(Group((number,), rows))
        while (made := next_group(groups)) is not None:
            moved += made.rows
            groups = [each for each in groups if not set(each.ingestions) <= set(made.ingestions)]
            groups.append(Group(made.ingestions, made.rows, is_settled=True))
    assert sorted(n for each in groups for n in each.ingestions) == list(range(2000))
    assert len(groups) < 5 * FAN_OUT
    assert moved < 5 * total
