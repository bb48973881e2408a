# ruff: noqa: E501, RUF001  # a table of outcomes; a dash of a file
"""Files that broke other importers, from `../shared/cases/reports`: what loads, what is rejected, what is refused.

All tests use one local cloud, through its storage and its HTTP API.
"""

from __future__ import annotations

import csv
import io
import json
import time
import tomllib
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from real_files import needs_reports, reported_file
from sluice.documents.ingestions import FINAL
from sluice.local.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sluice.local.cloud import Cloud

    Document = Mapping[str, Any]

pytestmark = needs_reports

WAIT_S = 60
SPECIAL_DATES = {
    "columns": [
        {"name": "n", "type": "integer"},
        {"name": "d", "type": "date"},
        {"name": "at", "type": "timestamp"},
    ]
}
SHOPS = {"columns": [{"name": "shop", "type": "text"}, {"name": "x", "type": "integer"}]}
PRICES = {
    "columns": [
        {"name": "id", "type": "text", "required": True},
        {"name": "price", "type": "integer"},
    ]
}
KINDS = {
    "t": "text", "i": "integer", "big": "bigint", "f": "float", "n": "numeric", "b": "boolean", "d": "date",
    "ts": "timestamp", "at": "instant", "tm": "time", "u": "uuid", "p": "point",
}  # fmt: skip
EVERY_KIND = {
    "columns": [
        {"name": name, "type": kind, "trim": kind != "text"} for name, kind in KINDS.items()
    ]
}
ALPHA_BETA = ["alpha", "beta"]
NOTES = ["5'9\" tall", 'said "hi" loudly', '"hi" he said', '"never closed', "last one"]
CAFE = [["What is it?", "café 10 – 20"], ["Who?", "naïve"]]


@dataclass(frozen=True)
class Outcome:
    """A file with its declaration, and what must come of it.

    Attributes:
        columns: those whose stored values are compared; all of them if empty.
        rows: their values in the order of the file; of one column, the values alone.
        rejects: the lines of the rejected rows.
        says: what the problem of a failed file, or else the reason of the first reject, contains.
        state: how the ingestion ends.
    """

    file: str
    declaration: str | Document
    columns: str = ""
    rows: Sequence[object] = ()
    rejects: Sequence[int] = ()
    says: str = ""
    state: str = "done"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        folder, _, name = self.file.partition("/")
        declared = self.declaration if isinstance(self.declaration, str) else ""
        return f"{folder}-{name}-{declared.removesuffix('.json')}"


def _failed(file: str, declaration: str | Document, says: str, **others: Any) -> Outcome:
    return Outcome(file, declaration, says=says, state="failed", **others)


BOM = "bom-in-the-middle"
WIDE = "utf16-from-excel"
TALL = "tsv-with-quotes/people.tsv"
SEPARATORS = "separators-mistaken"
YEARS = "two-digit-years"
TIMES = "am-pm-and-offsets"
ZIPPED = "gzip-by-other-ways"
SPECIAL = "infinity-dates"
GZIP = {"contentEncoding": "gzip"}

OUTCOMES = [
    Outcome(f"{BOM}/joined.csv", "bom_dates.json", "day", ["2024-01-01", "2024-01-02", "2024-01-03"]),
    Outcome(f"{BOM}/joined_quoted.csv", "bom_notes.json", "note", ["rent, January", "rent, February", "plain"]),
    Outcome(f"{BOM}/twice.csv", "bom_notes.json", rows=[["a, b", 1], ["c", 2]]),
    Outcome(f"{BOM}/untrimmed.csv", "bom_raw.json", "note", ALPHA_BETA),
    Outcome(f"{WIDE}/unicode_text.csv", "sheets.json", rows=CAFE),
    Outcome(f"{WIDE}/be.csv", "sheets.json", rows=CAFE),
    Outcome(f"{WIDE}/nobom.csv", "sheets.json", rows=CAFE),
    Outcome(TALL, "tall_noquote.json", "note", NOTES),
    Outcome(TALL, "tall_ctrl.json", "note", NOTES),
    Outcome(TALL, "tall_default.json", "note", NOTES[4:], [2, 3, 4, 5], "quote"),
    Outcome(TALL, "tall_literal.json", "note", [*NOTES[:2], NOTES[4]], [4, 5], "closing quote"),
    Outcome(
        "mysql-dump/dump.csv", "dump.json", "id,score,tag",
        [[1, 5, None], [4, 8, "z"], [5, 9, "w"], [6, 10, "v"], [7, 11, "u"]], [2, 3], "closing quote",
    ),
    Outcome(
        f"{SEPARATORS}/english.csv", "prices_en.json", rows=[["good", 1234.5, 1000]],
        rejects=[3, 4, 5, 6, 7], says='"9,99" is not a number like 1,234,567.89',
    ),
    Outcome(f"{SEPARATORS}/german.csv", "prices_de.json", "price", [1234.5, 12.5], [4, 5], "1.234.567,89"),
    Outcome(f"{YEARS}/dives.csv", "dives.json", "day", ["1991-04-15"], [3, 4, 5, 6, 7], "%m/%d/%Y"),
    Outcome(f"{YEARS}/iso.csv", "iso_days.json", "day", ["1991-04-15"], [3, 4, 5], "2018-05-28"),
    Outcome(
        f"{TIMES}/jobs.csv", "jobs_fmt.json", "at",
        ["2018-10-05T18:44:00", "2018-10-06T03:55:00", "2018-10-06T00:05:00", "2018-10-06T12:05:00"],
        [6, 7], "%p",
    ),
    Outcome(f"{TIMES}/jobs.csv", "jobs_default.json", "at", ["2018-10-06T15:00:00"], [2, 3, 4, 5, 7]),
    Outcome(f"{TIMES}/clock.csv", "clocks.json", "t", ["14:00:00"], [2, 3, 5, 6]),
    Outcome(
        f"{TIMES}/offsets.csv", "off_instant.json", "at",
        [f"2019-01-10T0{hour}:21:23+00:00" for hour in (5, 8, 8, 5)], [6, 7, 8, 9, 10],
    ),
    Outcome(f"{TIMES}/offsets.csv", "off_stamp.json", "n", [1], range(3, 11)),
    Outcome("names-of-postgres/tables.csv", "words.json", rows=[["ann", 1, "t", 5]]),
    Outcome(f"{ZIPPED}/plain.csv", "zipped.json", "t", ALPHA_BETA),
    Outcome(f"{ZIPPED}/z.csv.gz", "zipped.json", "t", ALPHA_BETA, metadata=GZIP),
    Outcome(f"{ZIPPED}/z.csv.gz", "zipped.json", "t", ALPHA_BETA),
    Outcome(f"{ZIPPED}/gz_named.csv", "zipped.json", "t", ALPHA_BETA, metadata=GZIP),
    Outcome(f"{ZIPPED}/gz_named.csv", "zipped.json", "t", ALPHA_BETA),
    Outcome(f"{ZIPPED}/plain_named.csv.gz", "zipped.json", "t", ALPHA_BETA),
    _failed(f"{ZIPPED}/twice.csv.gz", "zipped.json", "compressed twice"),
    _failed(f"{ZIPPED}/workbook.csv", "zipped.json", "ZIP archive"),
    _failed(f"{ZIPPED}/sheet.csv", "zipped.json", "ZIP archive"),
    Outcome(f"{SPECIAL}/validity.csv", "validity.json", "contract", [3], [2, 3], '"infinity" is not a date'),
    _failed(f"{SPECIAL}/mixed.csv", SPECIAL_DATES, "all 3 rows are rejected", rejects=[2, 3, 4]),
]  # fmt: skip


class Reported:
    """A dataset of one test, and ways to fill it with files of the reports."""

    def __init__(self, cloud: Cloud, web: httpx.Client) -> None:
        self.name = f"reported_{uuid.uuid4().hex[:12]}"
        self.web = web
        self._uploads = f"{cloud.storage.url}/upload/storage/v1/b/inbox/o"
        self._count = 0

    def declare(self, declaration: str | Document, **changes: Any) -> httpx.Response:
        if isinstance(declaration, str):
            declaration = json.loads(reported_file(declaration).read_text("utf-8"))
        return self.web.put(f"/v1/datasets/{self.name}", json={**declaration, **changes})

    def put(self, data: str | bytes, name: str = "a.csv", **metadata: str) -> None:
        """Upload a file to the inbox, with an object's metadata."""
        content = data.encode() if isinstance(data, str) else data
        parameters = {"uploadType": "media", "name": f"{self.name}/{name}", **metadata}
        httpx.post(self._uploads, params=parameters, content=content).raise_for_status()
        self._count += 1

    def load(self, file: str, **metadata: str) -> Document:
        """Load a file of the reports under its own name; return its ingestion."""
        self.put(reported_file(file).read_bytes(), file.rpartition("/")[2], **metadata)
        return self.ended()[-1]

    def load_text(self, text: str | bytes, name: str = "a.csv") -> Document:
        self.put(text, name)
        return self.ended()[-1]

    def ended(self) -> list[Document]:
        """Return the ingestions of the dataset, by number, once all of them have ended."""
        deadline = time.monotonic() + WAIT_S
        path = f"/v1/ingestions?dataset={self.name}"
        while time.monotonic() < deadline:
            found: list[Document] = self.web.get(path).json()["ingestions"]
            if len(found) == self._count and all(each["state"] in FINAL for each in found):
                return sorted(found, key=lambda each: int(each["id"]))
            time.sleep(0.05)
        raise AssertionError(f"{self._count} files have not ended: {found}")

    def get(self, **filters: str) -> httpx.Response:
        return self.web.get(f"/v1/datasets/{self.name}/rows", params=filters)

    def rows(self, columns: str = "", **filters: str) -> list[Any]:
        """Return the stored values of the columns; those of one column are not lists."""
        answer = self.get(**filters)
        assert answer.status_code == 200, answer.text
        rows = json.loads(answer.text, parse_constant=pytest.fail)["rows"]
        names = (
            columns.split(",") if columns else [n for n in [*(rows or [{}])[0]] if n != "ingestion"]
        )
        return [row[names[0]] if len(names) == 1 else [row[name] for name in names] for row in rows]

    def rejects(self, ingestion: Document) -> list[Document]:
        found: list[Document] = self.web.get(f"/v1/ingestions/{ingestion['id']}/rejects").json()[
            "rejects"
        ]
        return found

    def command(self, ingestion: Document, verb: str) -> None:
        self.web.post(f"/v1/ingestions/{ingestion['id']}/{verb}").raise_for_status()


@pytest.fixture(scope="module")
def web(local_cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=local_cloud.url, timeout=30) as client:
        yield client


@pytest.fixture
def reported(local_cloud: Cloud, web: httpx.Client) -> Reported:
    return Reported(local_cloud, web)


@pytest.mark.parametrize("outcome", [pytest.param(each, id=each.id) for each in OUTCOMES])
def test_a_file_has_its_outcome(reported: Reported, outcome: Outcome) -> None:
    folder = outcome.file.partition("/")[0]
    declared = outcome.declaration
    named = f"{folder}/{declared}" if isinstance(declared, str) else declared
    assert reported.declare(named).status_code == 200
    ingestion = reported.load(outcome.file, **outcome.metadata)
    rejects = reported.rejects(ingestion)
    assert ingestion["state"] == outcome.state, ingestion
    assert reported.rows(outcome.columns) == list(outcome.rows)
    assert [each["line"] for each in rejects] == list(outcome.rejects)
    problem = ingestion["problem"]["detail"] if ingestion["problem"] else ""
    assert outcome.says in (problem or "".join(each["reason"] for each in rejects))
    account = ingestion["account"]
    assert account["read"] == len(outcome.rows) + len(rejects)


def test_names_that_postgresql_uses_itself_are_refused_with_another(reported: Reported) -> None:
    answer = reported.declare("names-of-postgres/boxes.json")
    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["key"]) == ("API320", "columns[0].name")
    assert 'header = "xmin"' in answer.json()["detail"]
    columns = [
        {"name": f"{name}_value", "header": name, "type": "float"}
        for name in ("xmin", "xmax", "ymin", "ymax")
    ]
    assert reported.declare({"columns": columns}).status_code == 200
    reported.load("names-of-postgres/boxes.csv")
    assert reported.rows() == [[1, 2, 3, 4]]


def test_columns_named_like_parameters_are_filtered(reported: Reported) -> None:
    reported.declare("column-named-order/steps.json")
    reported.load("column-named-order/steps.csv")
    refused = reported.get(order="gt.1")
    assert refused.status_code == 400
    assert "filter.order=gt.1" in refused.json()["detail"]
    assert reported.rows("name", **{"filter.order": "gt.1"}) == ["two", "three"]
    assert reported.rows("name", **{"filter.limit": "eq.10", "limit": "5"}) == ["one"]
    assert reported.rows("name", **{"filter.format": "eq.A4", "format": "json"}) == ["one", "three"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("num", "minus cathy sasha terry nan nobody"),
        ("num.desc", "nobody nan terry sasha cathy minus"),
        ("day", "terry sasha minus nan nobody cathy"),
        ("day.desc", "cathy nobody nan minus sasha terry"),
    ],
)
def test_pages_have_numbers_that_are_not_finite_and_nulls_once(
    reported: Reported, order: str, expected: str
) -> None:
    reported.declare("infinity-null-paging/nums.json")
    reported.load("infinity-null-paging/nums.csv")
    assert reported.rows("name", num="eq.Infinity") == ["terry"]
    names: list[str] = []
    page: Document = {"next": ""}
    while page["next"] is not None:
        page = reported.get(order=order, limit="1", cursor=page["next"]).json()
        names += [row["name"] for row in page["rows"]]
    assert names == expected.split()


def test_posted_texts_that_postgresql_cannot_store_are_rejects(reported: Reported) -> None:
    reported.declare("json-nul-and-surrogates/posted.json")
    answer = reported.web.post(
        f"/v1/datasets/{reported.name}/rows",
        content=reported_file("json-nul-and-surrogates/rows.json").read_bytes(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    outcomes = [each["outcome"] for each in answer.json()["rows"]]
    assert outcomes == ["loaded", "rejected", "rejected", "loaded", "rejected", "loaded"]
    assert reported.rows("n") == [1, 4, 5]
    rejects = reported.rejects({"id": answer.json()["ingestion"]})
    assert [each["rule"] for each in rejects] == ["nul", "encoding", "type"]


def test_every_decimal_is_kept(reported: Reported) -> None:
    reported.declare("many-decimals/transfers.json")
    reported.load("many-decimals/transfers.csv")
    stored = list(csv.DictReader(io.StringIO(reported.get(format="csv").text)))
    with reported_file("many-decimals/transfers.csv").open(encoding="utf-8") as file:
        sent = list(csv.DictReader(file))
    for column in ("value", "ratio"):
        assert [Decimal(row[column]) for row in stored] == [Decimal(row[column]) for row in sent]


def test_files_of_the_same_size_and_checksum_are_both_loaded(reported: Reported) -> None:
    reported.declare("same-size-same-crc/sensors.json")
    for name in ("first", "second"):
        assert reported.load(f"same-size-same-crc/{name}.csv")["state"] == "done"
    assert len(reported.rows()) == 4


def test_an_export_loads_back(reported: Reported) -> None:
    reported.declare(EVERY_KIND)
    first = reported.load("csv-roundtrip/in.csv")
    exported = reported.get(format="csv").content
    again = reported.load_text(exported, "back.csv")
    assert (first["account"]["loaded"], again["account"]["loaded"]) == (8, 8)
    both = [reported.rows(ingestion=f"eq.{each['id']}") for each in (first, again)]
    assert both[0] == both[1]


@pytest.mark.parametrize("name", ["back", "back2", "out", "out2"])
def test_an_export_of_an_earlier_version_loads(reported: Reported, name: str) -> None:
    reported.declare(EVERY_KIND)
    ingestion = reported.load(f"csv-roundtrip/{name}.csv")
    assert (ingestion["state"], ingestion["account"]["rejected"]) == ("done", 0)


def test_replacing_one_of_two_identical_files_keeps_the_other(reported: Reported) -> None:
    reported.declare(SHOPS, reupload="replace")
    held = reported_file("identical-files/b.csv").read_bytes()
    for data, name in ((held, "a.csv"), (held, "b.csv")):
        reported.load_text(data, name)
    reported.load("identical-files/a.csv")
    assert sorted(reported.rows("x")) == [1, 2, 9]


def test_undoing_one_of_two_identical_files_lets_the_other_be_loaded(reported: Reported) -> None:
    reported.declare(SHOPS)
    first = reported.load("identical-files/u1.csv")
    second = reported.load("identical-files/u2.csv")
    assert (second["state"], second["replaced_by"]) == ("skipped", first["id"])
    reported.command(first, "undo")
    assert reported.rows() == []
    reported.command(second, "retry")
    assert [each["state"] for each in reported.ended()] == ["undone", "done"]
    assert reported.rows("shop") == ["undo"]


@pytest.mark.parametrize(
    "policy",
    [{"key": ["id"], "duplicates": "update"}, {"reupload": "replace"}],
    ids=["update", "replace"],
)
def test_an_old_file_that_is_put_back_counts(reported: Reported, policy: dict[str, Any]) -> None:
    reported.declare(PRICES, **policy)
    old = reported_file("put-back/p.csv").read_bytes()
    for data in (old, "id,price\na,2\n", old):
        newest = reported.load_text(data, "p.csv")
    assert reported.rows() == [["a", 1]]
    reported.command(newest, "undo")
    reported.load_text(old, "p.csv")
    assert reported.rows() == [["a", 1]]


def test_a_large_old_file_that_ends_late_replaces_nothing_of_a_newer_one(
    reported: Reported,
) -> None:
    columns = [*PRICES["columns"], {"name": "pad", "type": "text"}]
    reported.declare({"columns": columns}, key=["id"], duplicates="update")
    others = "".join(f"k{number},1,{'x' * 100}\n" for number in range(30_000))
    reported.put(f"id,price,pad\n{others}z,5,old\n", "large.csv")
    reported.load("out-of-order/small.csv")
    assert reported.rows(id="eq.z") == [["z", 600, "new"]]


def test_white_space_around_texts_of_a_dictionary_is_removed(reported: Reported) -> None:
    reported.declare("dictionary-trim/d.json")
    for name in ("d1", "d2", "d3", "d4", "d5", "d6", "p1", "p2"):
        assert reported.load(f"dictionary-trim/{name}.csv")["account"]["rejected"] == 0
    expected = "red blue red red red red red gr,een n\xa0b lilac blue pink lilac"
    assert reported.rows("k", order="v") == expected.split(" ")


def test_white_space_around_the_datasources_of_trips_is_removed(reported: Reported) -> None:
    declared = tomllib.loads((CHECKOUT / "sql/datasets/trips/dataset.toml").read_text("utf-8"))
    reported.declare(declared)
    for number in range(1, 7):
        loaded = reported.load(f"dictionary-trim/s{number}.csv")
        assert (loaded["state"], loaded["account"]["rejected"]) == ("done", 0)
    found = reported.rows("region,datasource")
    assert found == [
        *(["Isoland", f"src{letter}"] for letter in "ABCDEF"), ["Lead", "srcG"], ["Trail2", "srcG"],
    ]  # fmt: skip


def test_files_are_checked_by_the_declaration_in_force(reported: Reported) -> None:
    folder = "stale-declaration"
    reported.declare(f"{folder}/r1.json")
    for name in ("b", "d"):
        assert reported.load(f"{folder}/{name}.csv")["state"] == "done"
    reported.declare(f"{folder}/r2.json")
    assert reported.load(f"{folder}/e.csv")["account"]["rejected"] == 1
    reported.declare(
        {"columns": [{"name": "id", "type": "integer"}, {"name": "y", "type": "text"}]}
    )
    reported.load_text("id,y\n9,new\n", "n.csv")
    assert reported.rows() == [[2, None], [500, None], [9, "new"]]
