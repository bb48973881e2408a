"""The dataset `plays`: many records of a song and day become one total."""

from __future__ import annotations

from pathlib import Path

import pytest
from flow import Flow

from real_files import DATA, expected_records, needs_real_files

#: Records of a real file, and the songs and days in it.
COUNTS = {
    "spec_example": (7, 4),
    "spotify_charts": (10_000, 9_969),
    "spotify_us_2days": (400, 397),
}
SAMPLE = (Path(__file__).parents[1] / "cases" / "datasets" / "plays.csv").read_bytes()

pytestmark = pytest.mark.flow(chunk_bytes=80, declared=None)


def totals(flow: Flow, order: str) -> list[list[str]]:
    rows = flow.ask("plays", "totals", order=order, limit=100_000)
    return [[str(each) for each in row.values()] for row in rows]


def test_totals_come_in_the_order_in_which_the_file_names_the_songs(flow: Flow) -> None:
    flow.run(SAMPLE, "plays/a.csv")
    assert totals(flow, "first_seen") == [
        ['Hello, "Dolly"', "2020-01-01", "100"],
        ['Hello, "Dolly"', "2020-01-02", "250"],
        ["hello", "2020-01-01", "7"],
        ["Hello", "2020-01-01", "5"],
    ]


def test_totals_by_name_come_in_byte_order(flow: Flow) -> None:
    flow.run(SAMPLE, "plays/a.csv")
    assert [row[0] for row in totals(flow, "name")] == ["Hello", *['Hello, "Dolly"'] * 2, "hello"]


def test_songs_and_days_are_ranked_and_added_up(flow: Flow) -> None:
    flow.run(SAMPLE, "plays/a.csv")
    flow.run(SAMPLE.replace(b"2020", b"2021"), "plays/b.csv")
    assert flow.ask("plays", "songs", limit=1) == [
        {
            "song": 'Hello, "Dolly"',
            "plays": 700,
            "days": 4,
            "first_day": "2020-01-01",
            "last_day": "2021-01-02",
        }
    ]
    days = flow.ask("plays", "days", to_day="2020-12-31")
    assert [each["plays"] for each in days] == [112, 250]
    assert totals(flow, "first_seen")[2][:2] == ['Hello, "Dolly"', "2021-01-01"]


@needs_real_files
@pytest.mark.parametrize(
    ("order", "suffix"), [("first_seen", "seed_order"), ("name", "sorted")], ids=str
)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spec_example", "spec_example"),
        ("spotify_charts", "spotify_charts_as_plays"),
        ("spotify_us_2days", "spotify_us_2days_as_plays"),
    ],
    ids=["spec_example", "spotify_charts", "spotify_us_2days"],
)
def test_real_plays_give_the_expected_totals(
    database: str, name: str, expected: str, order: str, suffix: str
) -> None:
    flow = Flow(database, chunk_bytes=50_000)
    ingestion = flow.run((DATA / "plays" / f"{name}.csv").read_bytes(), f"plays/{name}.csv")
    assert flow.state(ingestion) == "done"
    found = totals(flow, order)
    assert found == expected_records(f"plays/{expected}_totals_{suffix}.csv")
    read = flow.ingestion(ingestion).records_read
    assert (read, len(found)) == COUNTS[name]
    if name == "spotify_charts":
        assert sum(int(row[2]) for row in found) == 548_207_227
    flow.close()
