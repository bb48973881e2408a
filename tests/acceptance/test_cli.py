"""`sluice` against the local cloud: each command is a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real_files import DATA, expected_json, needs_real_files
from sluice.client import Client
from sluice.local.provision import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from subprocess import CompletedProcess

    from sluice.local.cloud import Cloud

    Sluice = Callable[..., CompletedProcess[str]]

HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"
GOOD = "{0},POINT (14.4 50.0),POINT (14.5 50.1),2018-05-{1:02} 09:00:00,cheap_mobile\n"
BAD = "{0},somewhere,POINT (14.5 50.1),2018-05-03 09:00:00,cheap_mobile\n"


@pytest.fixture
def environment(local_cloud: Cloud) -> Mapping[str, str]:
    return {**os.environ, "SLUICE_URL": local_cloud.url, "NO_COLOR": "1"}


@pytest.fixture
def sluice(environment: Mapping[str, str]) -> Sluice:
    def run(*arguments: object) -> CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sluice.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=dict(environment),
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def client(local_cloud: Cloud) -> Client:
    with Client(local_cloud.url) as opened:
        yield opened


def trips(folder: Path, region: str, rows: int, rejects: int = 0) -> Path:
    """Write a file of trips in a unique region, the rejects last."""
    path = folder / "trips" / f"{region}.csv"
    path.parent.mkdir(exist_ok=True)
    good = [GOOD.format(region, 1 + number % 28) for number in range(rows)]
    path.write_text(HEADER + "".join(good) + BAD.format(region) * rejects)
    return path


def test_a_file_is_loaded_and_its_rows_answer(sluice: Sluice, tmp_path: Path) -> None:
    done = sluice("load", trips(tmp_path, "Brno", 100))
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout
    rows = sluice("rows", "trips", "region=eq.Brno", "--select", "region", "--format", "csv")
    assert rows.stdout.splitlines() == ["region", *["Brno"] * 100]
    answer = json.loads(sluice("query", "trips", "weekly_average", "region=Brno", "--json").stdout)
    assert answer["trips"] == 100


def test_several_files_are_loaded_in_parallel(sluice: Sluice, tmp_path: Path) -> None:
    files = [trips(tmp_path, f"Town{number}", 10 + number) for number in range(6)]
    done = sluice("load", *files, "--json")
    assert done.returncode == 0, done.stderr
    accounts = {each["file"]: each["account"] for each in map(json.loads, done.stdout.splitlines())}
    assert [accounts[str(path)]["loaded"] for path in files] == [10, 11, 12, 13, 14, 15]


def test_rejects_are_shown_and_can_be_downloaded(sluice: Sluice, tmp_path: Path) -> None:
    done = sluice("load", trips(tmp_path, "Olomouc", 5, rejects=2), "--json")
    assert done.returncode == 3
    ingestion = json.loads(done.stdout)
    assert ingestion["account"] == {"read": 7, "loaded": 5, "rejected": 2, "duplicates": 0}
    shown = sluice("rejects", ingestion["id"]).stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [["7", "origin"], ["8", "origin"]]
    assert "somewhere" in sluice("rejects", ingestion["id"], "--format", "csv").stdout


def test_the_same_content_is_reported_as_skipped(sluice: Sluice, tmp_path: Path) -> None:
    path = trips(tmp_path, "Zlin", 5)
    sluice("load", path)
    again = sluice("load", path)
    assert again.returncode == 0
    assert "skipped" in again.stdout


def test_a_file_of_another_dataset_fails_with_the_reason(sluice: Sluice, tmp_path: Path) -> None:
    path = tmp_path / "trips" / "wrong.csv"
    path.parent.mkdir()
    path.write_text("a,b\n1,2\n")
    done = sluice("load", path)
    assert done.returncode == 4
    assert "CSV104" in done.stderr


def test_an_undone_load_leaves_no_rows(sluice: Sluice, tmp_path: Path) -> None:
    loaded = json.loads(sluice("load", trips(tmp_path, "Plzen", 5), "--json").stdout)
    assert json.loads(sluice("undo", loaded["id"], "--json").stdout)["state"] == "undone"
    rows = json.loads(sluice("rows", "trips", "region=eq.Plzen", "--json").stdout)
    assert rows["rows"] == []


def test_watch_shows_a_load_as_it_happens(
    environment: Mapping[str, str], client: Client, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "sluice.cli.main", "watch", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as watching:
        assert "listening" in watching.stderr.readline()
        loaded = client.load(trips(tmp_path, "Liberec", 5), "trips")
        events = (json.loads(line)["data"] for line in watching.stdout)
        states = [each["state"] for each in until_done(events, loaded.id)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    assert states[0] == "received"


def until_done(events: Iterable[dict], ingestion: int) -> Iterator[dict]:
    for data in events:
        if data["ingestion"] == ingestion:
            yield data
            if data["state"] == "done":
                return


def test_an_ingestion_that_ended_can_still_be_watched(sluice: Sluice, tmp_path: Path) -> None:
    loaded = json.loads(sluice("load", trips(tmp_path, "Opava", 5), "--json").stdout)
    done = sluice("watch", loaded["id"], "--json")
    sequences = [json.loads(line)["sequence"] for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert sequences == list(range(1, len(sequences) + 1))


def test_datasets_queries_and_ingestions_are_listed(sluice: Sluice, tmp_path: Path) -> None:
    sluice("load", trips(tmp_path, "Kladno", 5))
    assert "trips" in sluice("datasets").stdout
    assert "started_at" in sluice("datasets", "trips").stdout
    assert "by=origin|destination|both|either" in sluice("query", "trips").stdout
    assert "trips/Kladno.csv" in sluice("ingestions", "--dataset", "trips").stdout


def test_a_subscription_is_created_listed_and_deleted(sluice: Sluice) -> None:
    made = json.loads(
        sluice("subscribe", "http://localhost:9/", "--state", "done", "--json").stdout
    )
    assert made["id"] in sluice("subscriptions").stdout
    assert sluice("unsubscribe", made["id"]).returncode == 0
    assert made["id"] not in sluice("subscriptions").stdout


def test_dead_letters_are_listed_shown_replayed_and_dropped(
    sluice: Sluice, local_cloud: Cloud
) -> None:
    buried = {"CloudPubSubDeadLetterSourceSubscription": "status-finish", "ingestion": "1"}
    publish(local_cloud.pubsub_address, "dead-letters", [(b"{}", buried)] * 2)
    first, second = json.loads(sluice("dead-letters", "list", "--json").stdout)["letters"]
    assert "ingestion 1" in sluice("dead-letters", "list").stdout
    assert "subscription: status-finish" in sluice("dead-letters", "show", first["id"]).stdout
    replayed = sluice("dead-letters", "replay", first["id"])
    assert replayed.stdout == "1 dead letter published again\n"
    assert sluice("dead-letters", "drop").returncode == 2
    assert json.loads(sluice("dead-letters", "drop", "--all", "--json").stdout) == {
        "ids": [second["id"]],
        "missing": [],
    }
    assert sluice("dead-letters", "list").stderr == "no dead letters\n"


@pytest.mark.parametrize("kind", ["parquet", "arrow", "ndjson", "csv"])
def test_rows_are_saved_in_every_format(sluice: Sluice, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"trips.{kind}"
    done = sluice("rows", "trips", "--limit", 3, "-o", target)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 0


@needs_real_files
def test_the_real_trips_give_the_expected_averages(sluice: Sluice) -> None:
    done = sluice("load", DATA / "trips" / "trips.csv")
    assert done.returncode == 0, done.stderr
    expected = expected_json("trips/summary.json")
    for region, figures in expected["weekly_by_region"].items():
        answer = sluice("query", "trips", "weekly_average", f"region={region}", "--json").stdout
        assert json.loads(answer)["weekly_average"] == figures["weekly_average_observed"]
