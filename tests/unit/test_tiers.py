"""What is compacted next: ingestions of similar size, and eight segments of similar size."""

from __future__ import annotations

import random

import pytest

from sluice.compaction.tiers import FAN_OUT, Group, next_group


def segment(number: int, rows: int) -> Group:
    return Group((number,), rows, is_segment=True)


def test_there_is_nothing_to_do() -> None:
    assert next_group([]) is None
    assert next_group([segment(number, 10) for number in range(FAN_OUT - 1)]) is None
    assert next_group([segment(1, 10), segment(2, 10_000_000)]) is None


def test_new_ingestions_of_similar_size_become_one_segment() -> None:
    groups = [Group((3,), 25_000_000), Group((1,), 24_000_000), segment(2, 26_000_000)]
    assert next_group(groups) == Group((1, 3), 49_000_000)


def test_the_lowest_tier_is_first() -> None:
    assert next_group([Group((1,), 10_000_000), Group((2,), 10)]) == Group((2,), 10)


def test_eight_segments_of_a_tier_are_merged() -> None:
    alike = [segment(number, 100) for number in range(FAN_OUT)]
    other = segment(99, 10_000_000)
    assert next_group([*alike, other]) == Group(tuple(range(FAN_OUT)), 100 * FAN_OUT)


def test_new_ingestions_that_complete_a_tier_are_merged_with_it() -> None:
    alike = [segment(number, 100) for number in range(FAN_OUT - 1)]
    merged = next_group([*alike, Group((50,), 100), Group((51,), 100)])
    assert merged == Group((*range(FAN_OUT - 1), 50, 51), 100 * (FAN_OUT + 1))


@pytest.mark.parametrize("seed", range(3))
def test_many_files_end_in_few_segments_and_rows_are_seldom_moved(seed: int) -> None:
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
            groups.append(Group(made.ingestions, made.rows, is_segment=True))
    assert sorted(n for each in groups for n in each.ingestions) == list(range(2000))
    assert len(groups) < 5 * FAN_OUT
    assert moved < 5 * total
