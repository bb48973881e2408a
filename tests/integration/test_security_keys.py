"""Who may call what: every route by every role, keys from their making to their end, and datasets."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from keyring import BOOTSTRAP
from problems import assert_problem
from serving import GUESTS, NAMES, advance, publish, receive
from sqlalchemy import text
from test_api_status import Stream

from sluice.access.keys import create_key
from sluice.access.secrets import SecretHash
from sluice.api import authentication
from sluice.api import sse as streams
from sluice.documents.access import KeyRequest
from sluice.documents.ingestions import State
from sluice.documents.roles import Role
from sluice.errors import KeyStateError, SettingError
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare
from sluice.routes import ROUTES
from sluice.settings import read_settings

if TYPE_CHECKING:
    from keyring import Keyring
    from serving import Serve
    from sqlalchemy import Engine

#: Segments of paths that name nothing.
NOWHERE = {"ingestion": "999999"}
KEY = re.compile(r"sluice_[0-9a-z]{10}_[0-9A-Za-z]{43}")

#: The routes for administrators, and those for loaders; readers have the others.
ADMIN = {
    "declareDataset", "makeBackup", "listBackups", "showBackup", "restoreBackup", "compareBackup",
    "backUpTables", "restoreTables", "createKey", "listKeys", "rotateKey", "revokeKey",
    "listDeadLetters", "replayDeadLetters", "dropDeadLetters", "listAudit",
}  # fmt: skip
LOADER = {
    "infer", "postRows", "postRowsOfMany", "openUpload", "cancelIngestion", "retryIngestion",
    "undoIngestion", "redoIngestion", "verifyIngestion", "subscribe", "listSubscriptions",
    "showSubscription", "unsubscribe",
}  # fmt: skip


def test_no_route_needs_less_than_it_should() -> None:
    assert {each.name for each in ROUTES if each.role is Role.ADMIN} == ADMIN
    assert {each.name for each in ROUTES if each.role is Role.LOADER} == LOADER


def path_of(route: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: NOWHERE.get(found[1], "nothing"), route)


@pytest.mark.usefixtures("topics", "storage")
@pytest.mark.parametrize("function", sorted({each.function for each in ROUTES}))
def test_every_route_answers_the_callers_of_its_role_alone(callers: Keyring, function: str) -> None:
    keys = {role: callers.key(role) for role in Role}
    wrong = {
        None: "no key",
        "": "an empty key",
        "sluice_0000000000_" + "0" * 43: "an unknown key",
        keys[Role.ADMIN][:-1] + "-": "a malformed key",
        keys[Role.ADMIN][:-1] + ("a" if keys[Role.ADMIN][-1] != "a" else "b"): "a wrong secret",
        "a.b.c": "no identity token",
    }
    for route in ROUTES:
        if route.function != function:
            continue
        target = path_of(route.path)
        body = None if route.method == "GET" else b"["
        for key, why in wrong.items():
            answer = callers.send(function, key, route.method, target, data=body)
            assert answer.status_code == 401, (route.name, why, answer.text)
        for role, key in keys.items():
            answer = callers.send(function, key, route.method, target, data=body)
            is_allowed = role.includes(route.role)
            assert (answer.status_code not in (401, 403)) == is_allowed, (route.name, role)
            if not is_allowed:
                assert_problem(answer, "API311", 403)


def test_aliases_need_roles_too(callers: Keyring, engine: Engine) -> None:
    aliases = {
        "GET /hello": {"kind": "text", "text": "pong"},
        "POST /file": {"kind": "upload"},
        "POST /pieces": {"kind": "chunked_upload"},
        "POST /guest": {"kind": "row", "query": "named", "shape": "object"},
    }
    declare(engine, {**GUESTS, "aliases": aliases}, origin="api")
    reader = callers.key(Role.READER)
    assert callers.send("intake", None, "GET", "/hello").status_code == 401
    assert callers.send("intake", None, "GET", "/nothing").status_code == 401
    assert callers.send("intake", reader, "GET", "/hello").text == "pong"
    for path in ("/file", "/pieces", "/guest"):
        assert_problem(callers.send("intake", reader, "POST", path, json={}), "API311", 403)
    other = callers.key(Role.READER, ["others"])
    assert_problem(callers.send("intake", other, "GET", "/hello"), "API305", 404)


def test_a_key_is_shown_once_and_stored_as_a_hash(callers: Keyring, engine: Engine) -> None:
    body = {"name": "Partner", "role": "loader", "datasets": ["trips", "guests"]}
    answer = callers.send("intake", BOOTSTRAP, "POST", "/v1/keys", json=body)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json
    assert KEY.fullmatch(made["key"])
    assert made["key"].startswith(f"sluice_{made['id']}_")
    assert (made["role"], made["datasets"], made["pii"]) == ("loader", ["guests", "trips"], False)
    assert (made["state"], made["created_by"]) == ("active", "bootstrap")
    secret = made["key"].rpartition("_")[2]
    with transaction(engine) as connection:
        dump = str(connection.execute(text("SELECT * FROM sluice.api_keys")).all())
        dump += str(connection.execute(text("SELECT * FROM sluice.audit")).all())
    assert secret not in dump
    listed = callers.send("intake", BOOTSTRAP, "GET", "/v1/keys")
    assert secret not in listed.text
    assert [each["id"] for each in listed.json["keys"]] == [made["id"]]


def test_equal_secrets_would_have_different_hashes() -> None:
    first, second = SecretHash.of("secret"), SecretHash.of("secret")
    assert first.hash != second.hash
    assert first.fits("secret")
    assert not first.fits("Secret")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": ""}, "API303"),
        ({"role": "reader"}, "API303"),
        ({"name": "a", "role": "owner"}, "API303"),
        ({"name": "a", "datasets": []}, "API303"),
        ({"name": "a", "datasets": ["Bad name"]}, "API303"),
        ({"name": "a", "role": "admin", "datasets": ["trips"]}, "API303"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "API303"),
        ({"name": "a", "identity": "nobody"}, "API303"),
        ({"name": "a", "secret": "mine"}, "API303"),
    ],
)
def test_a_key_that_contradicts_itself_is_refused(
    callers: Keyring, body: dict[str, Any], code: str
) -> None:
    assert_problem(callers.send("intake", BOOTSTRAP, "POST", "/v1/keys", json=body), code, 400)


def test_a_revoked_key_is_refused_within_five_seconds(
    callers: Keyring, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert authentication.CACHE_S <= 5
    monkeypatch.setattr(authentication, "CACHE_S", 0.2)
    key = callers.key(Role.READER)
    assert callers.send("query", key, "GET", "/v1/datasets").status_code == 200
    path = f"/v1/keys/{key.split('_')[1]}"
    assert callers.send("intake", BOOTSTRAP, "DELETE", path).status_code == 204
    assert callers.send("intake", BOOTSTRAP, "DELETE", path).status_code == 204
    time.sleep(0.3)
    assert_problem(callers.send("query", key, "GET", "/v1/datasets"), "API304", 401)
    (found,) = callers.send("intake", BOOTSTRAP, "GET", "/v1/keys").json["keys"]
    assert found["state"] == "revoked"
    assert_problem(callers.send("intake", BOOTSTRAP, "POST", f"{path}/rotate"), "API314", 409)
    missing = callers.send("intake", BOOTSTRAP, "DELETE", "/v1/keys/0000000000")
    assert_problem(missing, "API305", 404)


@pytest.mark.parametrize("path", ["/v1/ingestions", "/v1/ingestions/{}/events"])
@pytest.mark.parametrize("heartbeat_s", [0.1, 15.0], ids=["idle", "at an event"])
def test_a_stream_of_events_ends_when_its_key_is_revoked(
    serve: Serve,
    callers: Keyring,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    heartbeat_s: float,
) -> None:
    monkeypatch.setattr(authentication, "CACHE_S", 0.2)
    monkeypatch.setattr(streams, "HEARTBEAT_S", heartbeat_s)
    status = serve("status", token=BOOTSTRAP, audiences="of-this-test")
    number = receive(engine, "trips")
    key = callers.key(Role.READER)
    stream = Stream(status, path.format(number), Authorization=f"Bearer {key}")
    stream.open()
    messages = iter(stream)
    if "events" in path:
        assert next(messages)[0] == "1"
    else:
        receive(engine, "trips", "b.csv")
        assert next(messages)[1]["type"].endswith("received")
    revoked = callers.send("intake", BOOTSTRAP, "DELETE", f"/v1/keys/{key.split('_')[1]}")
    assert revoked.status_code in {200, 204}
    time.sleep(0.3)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, messages)
        time.sleep(0.2)
        advance(engine, number, State.SPLITTING)
        assert rest.result(timeout=10) == [], "nothing is sent after the revocation"
    assert time.monotonic() - began < 10
    stream.close()


def test_an_expired_key_is_refused_at_that_moment(callers: Keyring) -> None:
    key = callers.key(Role.READER, expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    assert callers.send("query", key, "GET", "/v1/datasets").status_code == 200
    time.sleep(1.6)
    assert_problem(callers.send("query", key, "GET", "/v1/datasets"), "API304", 401)


@pytest.mark.parametrize("grace_s", [0, 60])
def test_a_rotated_secret_is_valid_for_the_grace_period(
    callers: Keyring, grace_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "CACHE_S", 0.0)
    key = callers.key(Role.LOADER, ["guests"])
    path = f"/v1/keys/{key.split('_')[1]}/rotate"
    answer = callers.send("intake", BOOTSTRAP, "POST", path, json={"grace_s": grace_s})
    rotated = answer.json
    assert (rotated["role"], rotated["datasets"]) == ("loader", ["guests"])
    assert callers.send("query", rotated["key"], "GET", "/v1/datasets").status_code == 200
    earlier = callers.send("query", key, "GET", "/v1/datasets")
    assert earlier.status_code == (200 if grace_s else 401)


def test_the_last_use_is_recorded_at_most_once_a_minute(callers: Keyring, engine: Engine) -> None:
    key = callers.key(Role.READER)
    used = []
    for _ in range(3):
        callers.send("query", key, "GET", "/v1/datasets").close()
        (found,) = callers.send("intake", BOOTSTRAP, "GET", "/v1/keys").json["keys"]
        used.append(found["last_used_at"])
    assert used[0] is not None
    assert used == [used[0]] * 3


@pytest.fixture
def two_datasets(engine: Engine, guests: int) -> dict[str, int]:
    """The datasets `guests` and `others`, each with an ingestion, and one ingestion of no dataset."""
    queries = {"both": "-- Counts both.\nSELECT count(*) AS n FROM guests, others"}
    declare(engine, {**GUESTS, "name": "others", "queries": queries, "key": []}, origin="api")
    rows = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    return {
        "guests": guests,
        "others": publish(engine, "others", rows),
        "none": receive(engine, None),
    }


@pytest.mark.usefixtures("topics", "storage")
def test_a_key_is_limited_to_its_datasets(callers: Keyring, two_datasets: dict[str, int]) -> None:
    key = callers.key(Role.LOADER, ["guests"])

    def get(function: str, path: str, **options: Any) -> Any:
        return callers.send(function, key, "GET", path, **options)

    assert [e["name"] for e in get("query", "/v1/datasets").json["datasets"]] == ["guests"]
    assert get("query", "/v1/datasets/guests/rows").status_code == 200
    missing = get("query", "/v1/datasets/nothing/rows").json["detail"]
    for path in ("", "/rows", "/rows/1", "/queries", "/queries/both"):
        found = assert_problem(get("query", f"/v1/datasets/others{path}"), "API305", 404)
        assert found["detail"] == missing.replace("nothing", "others"), "it may as well not exist"
    assert "others" not in get("query", "/openapi.json").text
    assert "others" not in get("query", "/docs").text

    listed = get("status", "/v1/ingestions").json["ingestions"]
    assert [each["id"] for each in listed] == [two_datasets["guests"]]
    assert get("status", "/v1/ingestions?dataset=others").json["ingestions"] == []
    for name in ("others", "none"):
        number = two_datasets[name]
        for path in ("", "/rejects", "/duplicates", "/output", "/events"):
            assert_problem(get("status", f"/v1/ingestions/{number}{path}"), "API305", 404)
        for verb in ("cancel", "retry", "undo", "redo", "verify"):
            answer = callers.send("intake", key, "POST", f"/v1/ingestions/{number}/{verb}")
            assert_problem(answer, "API305", 404)


def post(callers: Keyring, key: str, path: str, **body: Any) -> Any:
    return callers.send("intake", key, "POST", path, json=body)


@pytest.mark.usefixtures("topics", "storage", "two_datasets")
def test_a_key_loads_its_datasets_only(callers: Keyring) -> None:
    key = callers.key(Role.LOADER, ["guests"])
    row = {"id": 77, "name": "Eve"}
    assert post(callers, key, "/v1/rows", guests=[row]).status_code == 200
    for body in ({"others": [row]}, {"guests": [{**row, "id": 78}], "others": [row]}):
        assert_problem(post(callers, key, "/v1/rows", **body), "API305", 404)
    answer = callers.send("intake", key, "POST", "/v1/datasets/others/rows", json=[row])
    assert_problem(answer, "API305", 404)
    rows = callers.send("query", key, "GET", "/v1/datasets/guests/rows?id=gt.70").json["rows"]
    assert [each["id"] for each in rows] == [77], "nothing of a refused request is loaded"
    upload = {"name": "a.csv", "size_bytes": 3}
    assert post(callers, key, "/v1/uploads", dataset="guests", **upload).status_code == 201
    for name in ("others", "undeclared"):
        assert_problem(post(callers, key, "/v1/uploads", dataset=name, **upload), "API305", 404)
    answer = callers.send("query", key, "POST", "/v1/infer?dataset=others", data=b"a\n1\n")
    assert_problem(answer, "API305", 404)


def test_a_query_needs_the_datasets_that_it_reads(callers: Keyring, engine: Engine) -> None:
    declare(engine, GUESTS, origin="api")
    queries = {"both": "-- Counts both.\nSELECT count(*) AS n FROM guests, others"}
    aliases = {"GET /both": {"kind": "query", "query": "both"}}
    others = {**GUESTS, "name": "others", "queries": queries, "aliases": aliases}
    declare(engine, others, origin="api")
    path = "/v1/datasets/others/queries/both"
    all_of_them, both, one = (
        callers.key(Role.READER, names) for names in (None, ["guests", "others"], ["others"])
    )
    for key in (all_of_them, both):
        assert callers.send("query", key, "GET", path).status_code == 200
        assert callers.send("intake", key, "GET", "/both").status_code == 200
    # The answers are cached by now; nobody else gets them.
    assert_problem(callers.send("query", one, "GET", path), "API311", 403)
    assert_problem(callers.send("intake", one, "GET", "/both"), "API311", 403)
    etag = callers.send("query", both, "GET", path).headers["ETag"]
    conditional = callers.send("query", one, "GET", path, headers={"If-None-Match": etag})
    assert_problem(conditional, "API311", 403)


@pytest.mark.usefixtures("topics", "two_datasets")
def test_subscriptions_are_of_the_datasets_of_a_key(callers: Keyring) -> None:
    admin, loader = BOOTSTRAP, callers.key(Role.LOADER, ["guests"])

    def subscribe(key: str, dataset: str | None) -> Any:
        body = {"endpoint": "http://localhost:9", **({"dataset": dataset} if dataset else {})}
        return callers.send("status", key, "POST", "/v1/subscriptions", json=body)

    assert_problem(subscribe(loader, None), "API311", 403)
    assert_problem(subscribe(loader, "others"), "API305", 404)
    mine = subscribe(loader, "guests").json["id"]
    theirs = [subscribe(admin, dataset).json["id"] for dataset in ("others", None)]
    listed = callers.send("status", loader, "GET", "/v1/subscriptions").json["subscriptions"]
    assert [each["id"] for each in listed] == [mine]
    for number in theirs:
        for method in ("GET", "DELETE"):
            answer = callers.send("status", loader, method, f"/v1/subscriptions/{number}")
            assert_problem(answer, "API305", 404)
    of_all = callers.key(Role.LOADER)
    path = f"/v1/subscriptions/{theirs[1]}"
    assert callers.send("status", of_all, "GET", path).status_code == 200
    assert_problem(callers.send("status", of_all, "DELETE", path), "API311", 403)
    path = f"/v1/subscriptions/{mine}"
    assert callers.send("status", loader, "DELETE", path).status_code == 204


@pytest.mark.parametrize("value", ["", "off", "None"])
def test_an_unknown_value_does_not_open_the_api(value: str) -> None:
    with pytest.raises(SettingError, match="SLUICE_AUTHENTICATION"):
        read_settings({"SLUICE_AUTHENTICATION": value})


@pytest.mark.parametrize(
    "setting",
    [{"SLUICE_PUBLIC_URL": "https://api.example.org"}, {"SLUICE_DATABASE_INSTANCE": "a:b:c"}],
    ids=["public address", "Cloud SQL"],
)
def test_only_a_local_cloud_can_be_open(setting: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="local cloud"):
        read_settings({"SLUICE_AUTHENTICATION": "none", **setting})


def test_without_settings_nobody_is_let_in(serve: Serve) -> None:
    client = serve("query", authentication="required", token="")
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}):
        assert client.get("/v1/datasets", headers=headers).status_code == 401


def test_an_identity_has_one_grant(engine: Engine) -> None:
    request = KeyRequest(name="Ada", identity="Ada@Example.org")
    made = create_key(engine, request, "test")
    assert (made.key, made.identity) == (None, "ada@example.org")
    with pytest.raises(KeyStateError, match="has a grant"):
        create_key(engine, request, "test")
