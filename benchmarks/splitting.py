"""How fast chunks and records are found, as ratios to counting the newlines of the same bytes.

Run `python benchmarks/splitting.py [MEBIBYTES]`. A ratio says how many times the time of
`block.count(b"\\n")` a stage takes; it moves less between machines than a rate does.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING

from sluice.dialects import Dialect
from sluice.records import count_clean_records, index_records
from sluice.splitting import Splitter

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


def count_newlines(data: bytes) -> None:
    for start in range(0, len(data), BLOCK_BYTES):
        data.count(b"\n", start, start + BLOCK_BYTES)


def split(data: bytes) -> None:
    splitter = Splitter(DIALECT)
    for start in range(0, len(data), BLOCK_BYTES):
        splitter.feed(data[start : start + BLOCK_BYTES])
    splitter.finish()


STAGES: dict[str, Callable[[bytes], object]] = {
    "split": split,
    "count clean": lambda data: count_clean_records(data, DIALECT),
    "index": lambda data: index_records(data, DIALECT),
}


def best_s(stage: Callable[[bytes], object], data: bytes) -> float:
    """Return the best time of some rounds in seconds."""
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        stage(data)
        times.append(perf_counter() - began)
    return min(times)


def main(size_mib: int = 64) -> None:
    print(f"{'':32}{'newlines':>12}" + "".join(f"{name:>22}" for name in STAGES))
    for name, sample in SAMPLES.items():
        data = sample * (size_mib * MIB // len(sample))
        base_s = best_s(count_newlines, data)
        line = f"{name:32}{len(data) / base_s / 1e9:7.2f} GB/s"
        for stage in STAGES.values():
            stage_s = best_s(stage, data)
            line += f"{len(data) / stage_s / 1e9:9.2f} GB/s x{stage_s / base_s:5.2f}"
        print(line)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
