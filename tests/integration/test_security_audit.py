"""Who did what: in the audit log, in the transaction of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from keyring import BOOTSTRAP
from problems import assert_problem
from serving import GUESTS, receive
from sqlalchemy import text

from sluice.documents.roles import Role
from sluice.errors import DeclarationError
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from flow import Flow
    from keyring import Keyring
    from sqlalchemy import Engine


def log(callers: Keyring, **filters: str) -> list[tuple[str, str, str | None]]:
    """Return actor, action and dataset of each entry, the oldest first."""
    answer = callers.send("intake", BOOTSTRAP, "GET", "/v1/audit", query_string=filters)
    entries: list[dict[str, Any]] = answer.json["entries"]
    return [(each["actor"], each["action"], each["dataset"]) for each in reversed(entries)]


@pytest.mark.usefixtures("topics", "storage")
def test_what_callers_do_is_recorded(callers: Keyring, engine: Engine) -> None:
    loader, admin = callers.key(Role.LOADER), callers.key(Role.ADMIN)
    who, boss = (f"key:{each.split('_')[1]}" for each in (loader, admin))
    sent = callers.send("intake", admin, "PUT", "/v1/datasets/guests", json=GUESTS)
    assert sent.status_code == 200, sent.text
    again = callers.send("intake", admin, "PUT", "/v1/datasets/guests", json=GUESTS)
    assert again.json["changed"] is False
    rows = [{"id": 1, "name": "Ada"}]
    loaded = callers.send("intake", loader, "POST", "/v1/datasets/guests/rows", json=rows)
    number = loaded.json["ingestion"]
    for verb in ("undo", "redo"):
        sent = callers.send("intake", loader, "POST", f"/v1/ingestions/{number}/{verb}")
        assert sent.status_code == 200, sent.text
    waiting = receive(engine, "guests")
    for verb in ("cancel", "retry"):
        callers.send("intake", loader, "POST", f"/v1/ingestions/{waiting}/{verb}")
    body = {"endpoint": "http://localhost:9", "dataset": "guests"}
    made = callers.send("status", loader, "POST", "/v1/subscriptions", json=body).json["id"]
    callers.send("status", loader, "DELETE", f"/v1/subscriptions/{made}")
    backup = callers.send("backup", admin, "POST", "/v1/backups", json={"datasets": ["guests"]})
    path = f"/v1/backups/{backup.json['id']}/restore"
    assert callers.send("backup", admin, "POST", path, json={}).status_code == 200
    done = [each for each in log(callers, limit="1000") if each[0] in (who, boss)]
    assert done == [
        (boss, "dataset.declare", "guests"),
        (who, "rows.load", "guests"),
        (who, "ingestion.undo", "guests"),
        (who, "ingestion.redo", "guests"),
        (who, "ingestion.cancel", "guests"),
        (who, "ingestion.retry", "guests"),
        (who, "subscription.create", "guests"),
        (who, "subscription.delete", "guests"),
        (boss, "backup.make", None),
        (boss, "backup.restore", "guests2"),
    ]
    assert log(callers, actor=who, action="rows.load") == [(who, "rows.load", "guests")]
    assert_problem(callers.send("intake", loader, "GET", "/v1/audit"), "API311", 403)


def test_keys_are_recorded_without_their_secrets(callers: Keyring) -> None:
    made = callers.send("intake", BOOTSTRAP, "POST", "/v1/keys", json={"name": "a"}).json
    path = f"/v1/keys/{made['id']}"
    rotated = callers.send("intake", BOOTSTRAP, "POST", f"{path}/rotate", json={}).json
    callers.send("intake", BOOTSTRAP, "DELETE", path)
    answer = callers.send("intake", BOOTSTRAP, "GET", "/v1/audit")
    found = [each for each in answer.json["entries"] if each["subject"] == made["id"]]
    assert [each["action"] for each in found] == ["key.revoke", "key.rotate", "key.create"]
    for key in (made["key"], rotated["key"]):
        assert key.rpartition("_")[2] not in answer.text


@pytest.mark.usefixtures("topics", "storage")
def test_a_file_is_recorded_as_its_uploaders_or_the_buckets(
    callers: Keyring, engine: Engine
) -> None:
    declare(engine, GUESTS, origin="api")
    loader = callers.key(Role.LOADER, ["guests"])
    body = {"dataset": "guests", "name": "mine.csv", "size_bytes": 3}
    assert callers.send("intake", loader, "POST", "/v1/uploads", json=body).status_code == 201
    receive(engine, "guests", "mine.csv", generation=1)
    receive(engine, "guests", "mine.csv", generation=2)
    receive(engine, "guests", "other.csv")
    who = f"key:{loader.split('_')[1]}"
    loads = log(callers, action="file.load")
    assert loads == [
        (who, "file.load", "guests"),
        ("bucket", "file.load", "guests"),
        ("bucket", "file.load", "guests"),
    ]


def test_what_is_rolled_back_is_not_recorded(callers: Keyring, engine: Engine) -> None:
    wrong = {**GUESTS, "queries": {"bad": "-- Bad.\nSELECT nothing FROM guests"}}
    with pytest.raises(DeclarationError):
        declare(engine, wrong, origin="api", actor="somebody")
    assert log(callers, actor="somebody") == []


def test_the_log_comes_in_pages(callers: Keyring) -> None:
    for _ in range(5):
        callers.key(Role.READER)
    seen, cursor = [], ""
    while cursor is not None:
        path = f"/v1/audit?action=key.create&limit=2{cursor and f'&cursor={cursor}'}"
        page = callers.send("intake", BOOTSTRAP, "GET", path).json
        seen += [each["id"] for each in page["entries"]]
        cursor = page["next"]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.flow
def test_a_file_is_recorded_with_the_rights_of_split(flow: Flow) -> None:
    flow.run(b"id,name\n1,a\n", "things/a.csv")
    with transaction(flow.engine) as connection:
        actors = connection.execute(
            text("SELECT actor FROM sluice.audit WHERE action = 'file.load'")
        )
        assert actors.scalars().all() == ["bucket"]
