"""Every query of every dataset as a person sees it: a page, and the picture that its header declares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from real_files import DATA, ROOT, needs_real_files
from sluice.datasets.declarations import read_folders

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve

    from sluice.datasets.model import Dataset, Query

DATASETS = read_folders(ROOT / "sql" / "datasets")
SAMPLES = Path(__file__).parents[1] / "cases" / "datasets"
SVG = "{http://www.w3.org/2000/svg}"
#: A value for each parameter that some query needs; the real files and the samples have them all.
ASKED = {
    "title": "Gangsters",
    "text": "gang",
    "lastname": "Robiner",
    "ingestion": 1,
    "datasource": "cheap_mobile",
    "region": "Turin",
}
REAL = {
    "titles": "titles/netflix_titles.csv",
    "trips": "trips/trips.csv",
    "plays": "plays/spotify_us_2days.csv",
    "people": "people/people.csv",
    "departments": "hr/departments.csv",
    "jobs": "hr/jobs.csv",
    "hired_employees": "hr/hired_employees.csv",
}
FILES = {
    "samples": {each.name: SAMPLES / f"{each.name}.csv" for each in DATASETS},
    "real": {name: DATA / path for name, path in REAL.items()},
}

pytestmark = pytest.mark.flow(chunk_bytes=10_000_000, declared=None)


def asked(query: Query) -> dict[str, Any]:
    needed = {each.name for each in query.parameters if each.required}
    needed |= set(query.needs[0]) if query.needs else set()
    return {name: ASKED[name] for name in needed}


def texts_of(svg: str) -> set[str]:
    return {" ".join("".join(each.itertext()).split()) for each in ET.fromstring(svg).iter()}


def assert_picture(dataset: Dataset, query: Query, svg: str, rows: list[dict[str, Any]]) -> None:
    """The picture has its title, parameters and unit, and the names in the answer."""
    assert query.drawing is not None
    found = texts_of(svg)
    everything = " ".join(found)
    name = f"{dataset.name}.{query.name}"
    assert all(word in everything for word in query.summary.rstrip(".").split()), name
    assert any(each.startswith(dataset.name) for each in found), name
    options = dict(query.drawing.options)
    unit = options.get("label") or options.get("size") or options["y"]
    assert unit.replace("_", " ") in found, name
    if query.drawing.kind == "bar":
        places = [str(row[options["x"]]) for row in rows][:20]
        assert all(" ".join(each.split())[:20] in everything for each in places), name


@pytest.mark.parametrize("files", ["samples", pytest.param("real", marks=needs_real_files)])
def test_every_query_is_a_page_and_every_declared_picture_is_readable(
    flow: Flow, serve: Serve, files: str
) -> None:
    # The file of plays comes first: its ingestion is the one that `ASKED` names.
    for name in sorted(FILES[files], key=lambda each: each != "plays"):
        ingestion = flow.run(FILES[files][name].read_bytes(), f"{name}/a.csv")
        assert flow.state(ingestion) == "done", name
    client = serve("query")
    drawn = 0
    for dataset in DATASETS:
        for query in dataset.queries:
            url = f"/v1/datasets/{dataset.name}/queries/{query.name}"
            rows = client.get(url, query_string=asked(query)).json
            page = client.get(url, query_string={**asked(query), "format": "html"})
            assert (page.status_code, "<table" in page.text) == (200, True), url
            picture = client.get(url, query_string={**asked(query), "format": "svg"})
            assert picture.status_code == (200 if query.drawing else 400), url
            if query.drawing:
                assert_picture(dataset, query, picture.text, rows.get("rows", [rows]))
                drawn += 1
    assert drawn == sum(query.drawing is not None for each in DATASETS for query in each.queries)
    assert drawn >= 11
