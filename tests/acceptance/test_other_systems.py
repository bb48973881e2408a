"""The routes of the systems that Sluice replaces, with the requests of their clients and their real files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from real_files import DATA, expected_json, expected_records, needs_real_files
from sluice.client import Client

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from sluice.local.cloud import Cloud

HR = ("departments", "jobs", "hired_employees")
GANGLANDS = (
    "    To protect his family from a powerful drug lord, skilled thief Mehdi and his expert team of robbers"
    " are pulled into a violent and deadly turf war.\n"
)
PERSON = {
    "First": "Ada",
    "Last": "Robiner",
    "Age": 36,
    "GithubAcct": "ada",
    "Date of 3rd Grade Graduation": "6/24/40",
}

pytestmark = needs_real_files


@pytest.fixture(scope="module")
def web(local_cloud: Cloud) -> Iterator[httpx.Client]:
    """The API; what the tests load is undone after them."""
    with httpx.Client(base_url=local_cloud.url, timeout=60) as client:
        yield client
    with Client(local_cloud.url) as api:
        for name in ("titles", "people", "hired_employees", "jobs", "departments"):
            for each in api.ingestions(dataset=name, state="done", limit="1000"):
                api.undo(each.id)


@pytest.fixture(scope="module")
def people(web: httpx.Client) -> httpx.Client:
    upload(web, "people")
    return web


@pytest.fixture(scope="module")
def hr(web: httpx.Client) -> httpx.Client:
    accounts = {name: upload(web, name)["account"] for name in HR}
    assert [accounts[name]["loaded"] for name in HR] == [12, 183, 1929]
    assert accounts["hired_employees"]["rejected"] == 70
    return web


@pytest.fixture(scope="module")
def sluice(local_cloud: Cloud) -> Callable[..., CompletedProcess[str]]:
    """The command line, as a client of the API alone."""

    def run(*arguments: str) -> CompletedProcess[str]:
        command = [sys.executable, "-m", "sluice.cli.main", "--url", local_cloud.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="module")
def catalogue(
    web: httpx.Client, sluice: Callable[..., CompletedProcess[str]]
) -> Callable[..., CompletedProcess[str]]:
    """The command line, after it sent the catalogue to the API row by row."""
    path = str(DATA / "titles" / "netflix_titles.csv")
    done = sluice("load", path, "--dataset", "titles", "--via", "http", "--json")
    assert done.returncode == 0, done.stderr
    return sluice


def upload(web: httpx.Client, name: str) -> dict[str, Any]:
    """Upload a real file as the form of the system's text does."""
    (path,) = DATA.glob(f"*/{name}.csv")
    answer = web.post("/upload", files={"file": (path.name, path.read_bytes())})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["response"] == "successfully saved the file and processed it with status: 0"
    return found


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return an answer as a CSV file has it."""
    return [[str(value) for value in row.values()] for row in rows]


def ids(answer: httpx.Response) -> list[int]:
    return [each["ID"] for each in answer.json()]


def test_a_script_sends_the_catalogue_to_the_api_which_counts_it_as_expected(
    catalogue: Callable[..., CompletedProcess[str]], web: httpx.Client
) -> None:
    found = web.get("/v1/datasets/titles/queries/counts").json()["rows"]
    assert cells(found) == expected_records("titles/counts_by_type_year.csv")
    assert web.get("/v1/datasets/titles/rows?measure=count").json()["rows"] == [{"count": 8807}]


def test_a_title_is_answered_with_its_description_indented_by_four_spaces(
    catalogue: Callable[..., CompletedProcess[str]],
) -> None:
    done = catalogue("title", "Ganglands")
    assert (done.returncode, done.stdout) == (0, GANGLANDS)
    assert catalogue("title", "  gangLANDS ").stdout == GANGLANDS
    for title in expected_json("titles/titles_equal_ignoring_case.json"):
        lines = catalogue("title", title).stdout.splitlines()
        # Two titles of one name have headings, each with a description.
        assert [line.startswith("    ") for line in lines] == [False, True] * 2, title


def test_a_title_that_is_nearly_written_so_is_told(
    catalogue: Callable[..., CompletedProcess[str]],
) -> None:
    done = catalogue("title", "Ganglnds")
    assert (done.stdout, done.stderr) == ("", "nothing found; similar:\n    Ganglands\n")


def test_many_sessions_add_and_ask_at_once_and_each_sees_its_own(
    catalogue: Callable[..., CompletedProcess[str]], web: httpx.Client
) -> None:
    def session(number: int) -> list[str]:
        row = {"show_id": f"own{number}", "type": "Movie", "title": f"Own {number}"}
        rows = [{**row, "release_year": 2000 + number}]
        with httpx.Client(base_url=web.base_url, timeout=60) as client:
            client.post("/v1/datasets/titles/rows", json=rows).raise_for_status()
            asked = {"title": f"own {number}"}
            found = client.get("/v1/datasets/titles/queries/title", params=asked).json()["rows"]
        return [each["show_id"] for each in found]

    with ThreadPoolExecutor(24) as together:
        found = list(together.map(session, range(24)))
    assert found == [[f"own{number}"] for number in range(24)]


def test_ping_is_answered_pong(web: httpx.Client) -> None:
    assert web.get("/ping").text == "pong"


def test_people_come_with_the_headers_of_their_file(people: httpx.Client) -> None:
    found = people.get("/people").json()
    assert list(found[0]) == ["ID", *PERSON]
    of_the_file = [each for each in found if each["ID"] <= 7]
    assert of_the_file == expected_json("people/people_GET_people.json")


def test_people_come_from_the_youngest_to_the_oldest_unknown_ages_last(
    people: httpx.Client,
) -> None:
    first = [each for each in ids(people.get("/people/age")) if each <= 7]
    assert first == [3, 1, 6, 5, 7, 2, 4]


def test_the_ids_of_a_last_name_are_a_flat_list(people: httpx.Client) -> None:
    for name, numbers in expected_json("people/people_GET_ids_by_lastname.json").items():
        found = people.get(f"/ids/lastname/{name}").json() if name else numbers
        assert [each for each in found if each <= 7] == numbers


def test_an_added_person_gets_the_next_free_id_and_is_among_those_answered(
    people: httpx.Client,
) -> None:
    before = ids(people.get("/people"))
    answer = people.post("/people/add", json=PERSON)
    assert ids(answer) == [*before, max(before) + 1]
    assert answer.json()[-1] == {
        "ID": max(before) + 1,
        **PERSON,
        "Date of 3rd Grade Graduation": "1940-06-24",
    }
    assert people.get("/people").json() == answer.json()


def test_a_person_whose_id_is_there_is_ignored_with_a_warning(people: httpx.Client) -> None:
    before = people.get("/people").json()
    answer = people.post("/people/add", json={**PERSON, "ID": 3})
    assert (answer.status_code, answer.json()) == (200, before)
    assert "is ignored" in answer.headers["Warning"]


@pytest.mark.parametrize("name", list(PERSON))
def test_a_person_without_a_key_is_refused_by_its_name(people: httpx.Client, name: str) -> None:
    person = {key: value for key, value in PERSON.items() if key != name}
    answer = people.post("/people/add", json=person)
    assert (answer.status_code, answer.json()["missing"]) == (400, [name])


@pytest.mark.parametrize("age", ["old", 1.5, "12 years"])
def test_an_age_that_is_no_whole_number_is_refused(people: httpx.Client, age: object) -> None:
    answer = people.post("/people/add", json={**PERSON, "Age": age})
    assert (answer.status_code, answer.json()["field"]) == (400, "Age")


def test_the_rejected_rows_of_hired_employees_are_kept_whole(hr: httpx.Client) -> None:
    listed = hr.get("/v1/ingestions", params={"dataset": "hired_employees", "limit": 1000}).json()
    numbers = [each["id"] for each in listed["ingestions"] if each["account"]["rejected"] == 70]
    found = hr.get(f"/v1/ingestions/{numbers[0]}/rejects").json()["rejects"]
    kept = [[str(each["line"]), *each["original"].split(",")] for each in found]
    assert kept == [[line, *cells] for line, _, *cells in expected_records("hr/rejected_rows.csv")]
    assert all(each["column"] and each["reason"] for each in found)


def test_a_file_that_comes_twice_adds_no_row(hr: httpx.Client) -> None:
    again = upload(hr, "jobs")
    assert again["state"] == "skipped"


def test_a_parameter_names_the_table_of_a_file(hr: httpx.Client) -> None:
    (path,) = DATA.glob("*/jobs.csv")
    file = {"file": ("some name.csv", path.read_bytes())}
    assert hr.post("/upload", data={"table": "jobs"}, files=file).json()["dataset"] == "jobs"
    assert hr.post("/upload?table=jobs", files=file).json()["dataset"] == "jobs"


def test_a_file_of_no_table_and_one_that_is_no_csv_are_refused(hr: httpx.Client) -> None:
    for name in ("unheard_of.csv", "jobs.csv.exe", "jobs"):
        answer = hr.post("/upload", files={"file": (name, b"1,a\n")})
        assert answer.status_code == 400, name


def test_a_file_that_fails_is_told_with_its_problem(people: httpx.Client) -> None:
    answer = people.post("/upload", files={"file": ("people.csv", b"wrong,header\n1,2\n")})
    assert (answer.status_code, answer.json()["code"]) == (422, "CSV104")


def test_metric_1_counts_the_hired_of_2021_by_quarter(hr: httpx.Client) -> None:
    found = hr.post("/metric1").json()
    assert list(found[0]) == ["department", "job", "Q1", "Q2", "Q3", "Q4"]
    assert cells(found) == expected_records("hr/metric1_complete_rows_only.csv")
    assert len(found) == 933
    assert [sum(each[f"Q{n}"] for each in found) for n in (1, 2, 3, 4)] == [249, 454, 453, 487]


def test_metric_2_lists_the_departments_above_the_mean(hr: httpx.Client) -> None:
    found = hr.post("/metric2").json()
    assert list(found[0]) == ["id", "department", "hired"]
    assert cells(found) == expected_records("hr/metric2_complete_rows_only.csv")


@pytest.mark.parametrize("metric", ["metric1", "metric2"])
def test_the_year_of_a_metric_is_a_parameter(hr: httpx.Client, metric: str) -> None:
    of_2022 = hr.post(f"/{metric}", json={"year": 2022}).json()
    assert of_2022 == hr.post(f"/{metric}?year=2022").json()
    assert of_2022 == hr.post(f"/{metric}", data={"year": "2022"}).json()
    assert of_2022 not in ([], hr.post(f"/{metric}", json={"year": 2021}).json())
    assert hr.post(f"/{metric}", json={"year": 1999}).json() == []
    refused = hr.post(f"/{metric}", json={"year": "last"})
    assert (refused.status_code, refused.json()["code"]) == (400, "API301")


def test_tables_are_backed_up_and_restored_beside_with_a_2_twice_alike(
    hr: httpx.Client,
) -> None:
    taken = hr.post("/backup").json()
    assert taken["response"] == "backups were taken sucessfully"
    rows = {each["name"]: each["rows"] for each in taken["backup"]["datasets"]}
    assert set(HR) < set(rows)
    asked = {"backup": taken["backup"]["id"], "tables": list(HR)}
    for _ in range(2):
        restored = hr.post("/restore", json=asked).json()["restored"]
        assert {each["into"]: each["rows"] for each in restored} == {
            f"{name}2": rows[name] for name in HR
        }
    for name in HR:
        counted = hr.get(f"/v1/datasets/{name}2/rows", params={"measure": "count"}).json()
        assert counted["rows"] == [{"count": rows[name]}]


def test_one_table_is_backed_up_and_restored_in_place(hr: httpx.Client) -> None:
    taken = hr.post("/backup", json={"table": "jobs"}).json()["backup"]
    assert [each["name"] for each in taken["datasets"]] == ["jobs"]
    before = hr.get("/v1/datasets/jobs/rows?order=id&limit=1000&select=id,job").json()["rows"]
    hr.post("/v1/datasets/jobs/rows", json=[{"id": 9900, "job": "Later"}]).raise_for_status()
    asked = {"table": "jobs", "in_place": True, "backup": taken["id"]}
    (restored,) = hr.post("/restore", json=asked).json()["restored"]
    assert (restored["dataset"], restored["into"]) == ("jobs", "jobs")
    after = hr.get("/v1/datasets/jobs/rows?order=id&limit=1000&select=id,job").json()["rows"]
    assert after == before


def test_rows_of_several_tables_come_in_one_request_and_the_bad_are_kept(hr: httpx.Client) -> None:
    rows = [
        [9001, "Ann", "2020-05-01T00:00:00Z", 1, 9001],
        [9002, "", "2020-05-01T00:00:00Z", 1, 1],
    ]
    body = {"hired_employees": rows, "jobs": [{"id": 9001, "job": " Tester "}]}
    hired, jobs = hr.post("/v1/rows", json=body).json()["ingestions"]
    assert [each["outcome"] for each in hired["rows"]] == ["loaded", "rejected"]
    assert (jobs["account"]["loaded"], hired["rows"][1]["column"]) == (1, "name")
    too_many = {"jobs": [[number, "x"] for number in range(10_000, 11_001)]}
    assert hr.post("/v1/rows", json=too_many).status_code == 400
    assert hr.post("/v1/rows", json={"jobs": []}).status_code == 400
