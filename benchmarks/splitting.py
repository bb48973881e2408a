"""Measures splitting and indexing, as ratios to counting the newlines of the same bytes.

Run `python benchmarks/splitting.py [MEBIBYTES]`. A ratio is the time of a stage divided by that of
`bytes.count` of newlines; it varies less between machines than a rate.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING

from sluice.csv.dialects import Dialect
from sluice.csv.records import count_clean, index_records
from sluice.csv.splitting import Splitter

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
BLOCK_BYTES = 8 * MIB
ROUNDS = 5
DIALECT = Dialect()

TRIP = (
    b"Prague,POINT (14.4973794438195 50.00136875782316),"
    b"POINT (14.43109483523328 50.04052930943246),2018-05-28 09:03:40,funny_car\n"
)
TITLE = (
    b's2,TV Show,Blood & Water,,"Ama Qamata, Khosi Ngema, Gail Mabalane, Thabang Molaba",'
    b'South Africa,"September 24, 2021",2021,TV-MA,2 Seasons,"International TV Shows, TV Dramas",'
    b'"After crossing paths at a party, a Cape Town teen sets out to prove whether a\n'
    b'private-school swimming star is her ""sister"" who was abducted at birth."\n'
)
ALL_QUOTED = b'"17","Ganglands","2021","TV-MA","France","1 Season"\n'
INCHES = b's7,pipe 5" long,12.50,steel\ns8,"pipe, short",7.25,steel\n'

SAMPLES = {
    "trips, no quotes": TRIP,
    "trips, CRLF": TRIP.replace(b"\n", b"\r\n"),
    "titles, quoted newlines": TITLE,
    "every field quoted": ALL_QUOTED,
    "titles, a stray quote each 200": TITLE * 199 + INCHES,
    "a stray quote each other line": INCHES,
}


def count_newlines(blocks: list[bytes]) -> None:
    for block in blocks:
        block.count(b"\n")


def split(blocks: list[bytes]) -> None:
    splitter = Splitter(DIALECT)
    for block in blocks:
        splitter.feed(block)
    splitter.finish()


STAGES: dict[str, Callable[[list[bytes]], object]] = {
    "split": split,
    "count clean": lambda blocks: [count_clean(block, DIALECT) for block in blocks],
    "index": lambda blocks: [index_records(block, DIALECT) for block in blocks],
}


def best_s(stage: Callable[[list[bytes]], object], blocks: list[bytes]) -> float:
    """Return the fastest of several rounds, in seconds."""
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        stage(blocks)
        times.append(perf_counter() - began)
    return min(times)


def main(size_mib: int = 64) -> None:
    print(f"{'':32}{'newlines':>12}" + "".join(f"{name:>22}" for name in STAGES))
    for name, sample in SAMPLES.items():
        block = sample * (BLOCK_BYTES // len(sample))
        blocks = [block] * (size_mib * MIB // BLOCK_BYTES)
        size_gb = sum(map(len, blocks)) / 1e9
        base_s = best_s(count_newlines, blocks)
        line = f"{name:32}{size_gb / base_s:7.2f} GB/s"
        for stage in STAGES.values():
            stage_s = best_s(stage, blocks)
            line += f"{size_gb / stage_s:9.2f} GB/s x{stage_s / base_s:5.2f}"
        print(line)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
