"""The dataset `titles`: the catalogue, its exact, partial and forgiving searches, its counts."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flow import Flow

from real_files import DATA, expected_json, expected_records, needs_real_files

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = (Path(__file__).parents[1] / "cases" / "datasets" / "titles.csv").read_bytes()

COLUMNS = (
    "show_id", "type", "title", "director", "cast", "country", "date_added", "release_year", "rating",
    "duration", "listed_in", "description",
)  # fmt: skip

pytestmark = pytest.mark.flow(chunk_bytes=400, declared=None)


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["show_id"] for each in found]


@pytest.fixture
def sample(flow: Flow) -> Flow:
    ingestion = flow.run(SAMPLE, "titles/sample.csv")
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.account(ingestion) == (7, 7, 0)
    return flow


@pytest.mark.parametrize(
    "title", ["The Élan", "the élan", "THE ÉLAN", " The Élan ", "\u00a0The Élan\u00a0\n"]
)
def test_a_title_is_found_whatever_its_case_and_the_white_space_around(
    sample: Flow, title: str
) -> None:
    assert ids(sample.ask("titles", "title", title=title)) == ["s4", "s2"]


def test_titles_that_look_like_numbers_stay_text(sample: Flow) -> None:
    assert ids(sample.ask("titles", "title", title="2,215")) == ["s3"]


def test_a_part_of_a_title_is_taken_as_it_is_written(sample: Flow) -> None:
    assert ids(sample.ask("titles", "contains", text="ÉLAN")) == ["s2", "s4"]
    assert ids(sample.ask("titles", "contains", text="%")) == ["s5"]
    assert ids(sample.ask("titles", "contains", text="_")) == []


def test_words_are_found_in_any_form_the_title_first(sample: Flow) -> None:
    assert ids(sample.ask("titles", "search", text="robber"))[:2] == ["s6", "s1"]
    assert ids(sample.ask("titles", "search", text='"drug lord" -series')) == ["s1"]
    assert ids(sample.ask("titles", "search", text="thief banks")) == []


def test_names_may_be_nearly_right(sample: Flow) -> None:
    assert ids(sample.ask("titles", "search", text="Sophia Lorren")) == ["s2"]


@needs_real_files
def test_the_best_title_of_the_real_catalogue_comes_first(catalogue: Flow) -> None:
    meant = {
        "gangland": "Ganglands",
        "Ganglnds": "Ganglands",
        "drug lord robbers": "Ganglands",
        "stranger thngs": "Stranger Things",
        "Squd Game": "Squid Game",
        "brekaing bad": "Breaking Bad",
        "the crwn": "The Crown",
        "sophia lorren": "What Would Sophia Loren Do?",
        "9": "9",
    }
    found = {text: catalogue.ask("titles", "search", text=text)[0]["title"] for text in meant}
    assert found == meant


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "tv show"}, ["s3", "s1"]),
        ({"country": "france"}, ["s2", "s1", "s4"]),
        ({"genre": "Dramas"}, ["s5", "s2"]),
        ({"year": 2019}, ["s2"]),
        ({"from_year": 2019, "to_year": 2020}, ["s5", "s3", "s2"]),
        ({"country": "France", "type": "Movie"}, ["s2", "s4"]),
    ],
    ids=str,
)
def test_titles_are_found_by(sample: Flow, filters: dict[str, Any], found: list[str]) -> None:
    assert ids(sample.ask("titles", "find", **filters)) == found


def test_genres_and_countries_are_counted_one_by_one(sample: Flow) -> None:
    assert sample.ask("titles", "countries")[0] == {"country": "France", "titles": 3}
    genres = {each["genre"]: each["titles"] for each in sample.ask("titles", "genres")}
    assert genres == {"Dramas": 2, "Comedies": 2, "Crime TV Shows": 1, "Documentaries": 1}


def test_dates_are_read_in_each_way_the_catalogue_writes_them(sample: Flow) -> None:
    found = sample.all("SELECT show_id, CAST(date_added AS text) AS day FROM titles")
    days = {each.show_id: each.day for each in found}
    assert (days["s1"], days["s2"], days["s3"]) == ("2021-09-24", "2017-08-04", "2019-09-09")


def test_a_newer_list_corrects_the_older_one_until_it_is_undone(sample: Flow) -> None:
    header, first = SAMPLE.split(b"\n")[:2]
    later = sample.run(header + b"\n" + first.replace(b"Gangsters", b"Mobsters"), "titles/b.csv")
    assert ids(sample.ask("titles", "title", title="mobsters")) == ["s1"]
    sample.undo(later)
    assert ids(sample.ask("titles", "title", title="gangsters")) == ["s1"]


@pytest.fixture
def catalogue(database: str) -> Iterator[Flow]:
    """The real catalogue."""
    flow = Flow(database, chunk_bytes=200_000)
    data = (DATA / "titles" / "netflix_titles.csv").read_bytes()
    ingestion = flow.run(data, "titles/netflix_titles.csv")
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.account(ingestion) == (8807, 8807, 0)
    yield flow
    flow.close()


@needs_real_files
def test_the_real_catalogue_gives_the_expected_answers(catalogue: Flow) -> None:
    summary = expected_json("titles/summary.json")
    rows = catalogue.all("SELECT * FROM titles")
    missing = {name: sum(getattr(row, name) is None for row in rows) for name in COLUMNS}
    assert missing == summary["missing"]
    assert Counter(row.type for row in rows) == summary["type"]
    assert Counter(row.rating or "" for row in rows) == summary["rating"]
    days = [row.date_added.isoformat() for row in rows if row.date_added]
    assert [min(days), max(days)] == summary["date_added"]
    found = catalogue.ask("titles", "contains", text="gang")
    assert ids(found) == summary["gang_contains"]
    counts = [[str(each) for each in row.values()] for row in catalogue.ask("titles", "counts")]
    assert counts == expected_records("titles/counts_by_type_year.csv")
    newlines = [row.show_id for row in rows if any("\n" in str(each) for each in row)]
    assert sorted(newlines) == summary["records_with_embedded_newline"]
    for title, same in expected_json("titles/titles_equal_ignoring_case.json").items():
        assert sorted(ids(catalogue.ask("titles", "title", title=title))) == sorted(same)
    for each in expected_json("titles/title_lookup.json"):
        answers = catalogue.ask("titles", "title", title=each["title"])
        others = each["other_ids_same_title_ignoring_case"]
        assert sorted(ids(answers)) == sorted([each["show_id"], *others])
        (answer,) = [found for found in answers if found["show_id"] == each["show_id"]]
        assert (answer["type"], answer["description"]) == (each["type"], each["description"])


@needs_real_files
@pytest.mark.parametrize("chunk_bytes", [200_000, 40_000_000], ids=["chunks", "whole"])
def test_the_windows_1252_catalogue_is_detected_and_not_garbled(
    database: str, chunk_bytes: int
) -> None:
    """Spreadsheet software saved it: letters that Windows-1252 lacks were written without accents."""
    flow = Flow(database, chunk_bytes=chunk_bytes)
    data = (DATA / "titles" / "netflix_titles_cp1252.csv").read_bytes()
    ingestion = flow.run(data, "titles/netflix_titles_cp1252.csv")
    assert flow.account(ingestion) == (8807, 8807, 0)
    read = csv.DictReader(io.StringIO(data.decode("cp1252"), newline=""))
    texts = [name for name in COLUMNS if name not in ("date_added", "release_year")]
    written = {
        each["show_id"]: tuple(each[name].strip() or None for name in texts) for each in read
    }
    stored = {row.show_id: row for row in flow.all("SELECT * FROM titles")}
    assert {key: tuple(getattr(row, n) for n in texts) for key, row in stored.items()} == written
    days = [row.date_added.isoformat() for row in stored.values() if row.date_added]
    assert [min(days), max(days)] == expected_json("titles/summary.json")["date_added"]
    flow.close()
