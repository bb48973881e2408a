"""The faults: each is a function that injects one for a while, ends it, and returns how often it took effect.

`FAULTS` lists all. Two faults of a round never have the same place, so that none ends another.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import httpx
import psutil
from chaos_cloud import ChaosCloud, wait_until
from chaos_proxies import DatabaseProxy, Fault, PubsubProxy, StorageProxy, misbehaving
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sluice.local.pubsub.faults import NO_FAULTS, Faults

WORKERS = ("split", "load", "finish")
ALL_FUNCTIONS = (*WORKERS, "intake", "query", "status", "backup")
SKEWS_S = (-86_400, -3600, -61, -5, 5, 61, 3600, 86_400)
RESTORED = "lists"
_LOCKED = ("sluice.receipts", "sluice.rejects", "sluice.events", "sluice.publications")
_RESTORE_S = 60.0
_DEADLOCK_S = 8.0


@dataclass(frozen=True)
class Scene:
    """Where and how long a fault is injected.

    Attributes:
        chance: decides the details, by the seed of the round.
        lasts_s: about how long.
        replace: uploads another content for the victim's object; waits until the first is uploaded.
        remove: deletes the victim's object; waits as well.
    """

    cloud: ChaosCloud
    chance: random.Random
    lasts_s: float
    replace: Callable[[], None]
    remove: Callable[[], None]

    def hold(self) -> None:
        """Let the fault last."""
        time.sleep(self.lasts_s)


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        place: what it misuses; one fault of a place in a round.
        weight: how often it is drawn, relative to the others.
        victim: the kinds of files of which it needs one; none if it needs no file.
    """

    inject: Callable[[Scene], int]
    place: str
    weight: float = 1.0
    victim: Sequence[str] = ()


def functions_killed(scene: Scene) -> int:
    """Kill instances with SIGKILL: all of one, or its worker, or its parent, which orphans the worker."""
    killed = 0
    for _ in range(scene.chance.randint(1, 2)):
        found = scene.cloud.instances(WORKERS if scene.chance.random() < 0.85 else ALL_FUNCTIONS)
        if found:
            killed += _kill(scene.chance.choice(found)[1], scene.chance)
        time.sleep(scene.chance.random() * scene.lasts_s / 2)
    return killed


def every_function_killed(scene: Scene) -> int:
    """Kill all functions that load, at once."""
    return sum(_kill(pid, scene.chance) for _, pid in scene.cloud.instances(WORKERS))


def functions_replaced(scene: Scene) -> int:
    """Replace the instances of the functions that load, one after the other, while they work."""
    found = scene.cloud.instances(WORKERS)
    scene.chance.shuffle(found)
    for _, pid in found:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        time.sleep(scene.lasts_s / len(found))
    return len(found)


def new_version_deployed(scene: Scene) -> int:
    """Deploy all functions again, as `sluice up` does when their code has changed."""
    scene.cloud.deploy(f"{scene.chance.random()}")
    return 1


def database_restarted(scene: Scene) -> int:
    """Stop the server as an administrator does, and start it again."""
    return _restart(scene, signal.SIGINT)


def database_stopped_immediately(scene: Scene) -> int:
    """Stop the server without a checkpoint, and start it again."""
    return _restart(scene, signal.SIGQUIT)


def database_killed(scene: Scene) -> int:
    """Kill the server, and start it again."""
    return _restart(scene, signal.SIGKILL)


def sessions_ended(scene: Scene) -> int:
    """End sessions of functions; with luck inside their transactions."""
    sql = (
        "SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity"
        " WHERE usename LIKE '%@local.iam' AND (state <> 'idle' OR random() < 0.3)"
    )
    return _repeatedly(scene, lambda: int(scene.cloud.select(sql)[0].ended))


def session_crashed(scene: Scene) -> int:
    """Kill a session's process of the server, after which PostgreSQL ends all sessions and recovers."""
    sql = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"

    def crash() -> int:
        found = scene.cloud.select(sql)
        for each in found[:1]:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        return len(found[:1])

    wait_until(crash, scene.lasts_s)
    return 1


def disk_full(scene: Scene) -> int:
    """Leave next to nothing of the disk free; PostgreSQL refuses statements, or stops itself."""
    if not scene.cloud.has_disk:
        return 0
    with scene.cloud.full_disk(scene.chance.randrange(1024 * 1024)):
        scene.hold()
    scene.cloud.start_database()
    return 1


def deadlock(scene: Scene) -> int:
    """Lock what a waiting transaction of a function has written, so that PostgreSQL cancels it."""
    table = scene.chance.choice(_LOCKED)
    with scene.cloud.engine.connect() as connection:
        # Of the two that wait for each other, the function looks first.
        connection.execute(text("SET deadlock_timeout = '60s'"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{_DEADLOCK_S:.0f}s'"))
        connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
        written: list[str] = []

        def wait_for_victim() -> bool:
            written[:] = _written_by_waiting(scene.cloud)
            return bool(written)

        if not wait_until(wait_for_victim, scene.lasts_s + 1):
            return 0
        began = time.monotonic()
        with suppress(DBAPIError):
            connection.execute(text(f"LOCK TABLE {scene.chance.choice(written)} IN SHARE MODE"))
        return int(0.3 < time.monotonic() - began < _DEADLOCK_S)


def _written_by_waiting(cloud: ChaosCloud) -> list[str]:
    sql = (
        "SELECT DISTINCT CAST(CAST(held.relation AS regclass) AS text) AS name"
        " FROM pg_locks AS waiting JOIN pg_locks AS held USING (pid)"
        " JOIN pg_class ON pg_class.oid = held.relation"
        " WHERE NOT waiting.granted AND held.granted AND held.mode = 'RowExclusiveLock'"
        " AND relkind = 'r'"
        " AND relnamespace IN (CAST('store' AS regnamespace), CAST('sluice' AS regnamespace))"
    )
    return sorted(each.name for each in cloud.select(sql))


def connections_cut(scene: Scene) -> int:
    """Cut all connections to the database, several times."""
    return _repeatedly(scene, scene.cloud.proxies.cut_database)


def database_misbehaves(kind: str, share: float, scene: Scene) -> int:
    """Let the proxy of the database misbehave."""
    return _misbehave(scene, scene.cloud.proxies.database, kind, share)


def storage_misbehaves(kind: str, share: float, scene: Scene) -> int:
    """Let the proxy of the storage misbehave."""
    return _misbehave(scene, scene.cloud.proxies.storage, kind, share)


def publish_fails(kind: str, scene: Scene) -> int:
    """Refuse what functions publish, before or after it took effect."""
    return _misbehave(scene, scene.cloud.proxies.pubsub, kind, 0.5)


def messages_misbehave(faults: Mapping[str, float | bool], scene: Scene) -> int:
    """Let Pub/Sub deliver in another way than the usual one."""
    seed = scene.chance.randrange(2**31)
    scene.cloud.inject(Faults(**faults, seed=seed))  # type: ignore[arg-type]  # by their names
    scene.hold()
    scene.cloud.inject(NO_FAULTS)
    return 1


def clock_skewed(scene: Scene) -> int:
    """Let the clock of the functions be wrong, and jump while they work."""
    if not scene.cloud.has_clock:
        return 0
    for _ in range(2):
        scene.cloud.set_clock(scene.chance.choice(SKEWS_S))
        time.sleep(1 + scene.lasts_s / 2)  # it takes effect within a second
    scene.cloud.set_clock(0)
    return 1


def object_overwritten(scene: Scene) -> int:
    """Upload another content to the object of a file that loads."""
    scene.replace()
    return 1


def object_deleted(scene: Scene) -> int:
    """Delete the object of a file that loads."""
    scene.remove()
    return 1


def restored_as_copy(scene: Scene) -> int:
    """Back up a dataset into which files load, restore it as a copy, and compare the copy with the backup."""
    backup = _backup(scene)
    if backup is None or not _restore(scene, str(backup["id"]), {"suffix": "_copy"}):
        return 0
    (found,) = scene.cloud.select(f"SELECT count(*) AS rows FROM {RESTORED}_copy")
    assert found.rows == backup["rows"], f"the copy has {found.rows} of {backup['rows']} rows"
    return 1


def restored_in_place(scene: Scene) -> int:
    """Restore a dataset in place while files load into it."""
    backup = _backup(scene)
    scene.hold()
    return int(backup is not None and _restore(scene, str(backup["id"]), {"in_place": True}))


def _backup(scene: Scene) -> Mapping[str, object] | None:
    body = {"datasets": [RESTORED], "format": scene.chance.choice(("avro", "parquet"))}
    return _post(f"{scene.cloud.cloud.url}/v1/backups", body)


def _restore(scene: Scene, backup: str, how: Mapping[str, object]) -> bool:
    url = f"{scene.cloud.cloud.url}/v1/backups/{backup}/restore"
    return _post(url, {"datasets": [RESTORED], **how}) is not None


def _post(url: str, body: Mapping[str, object]) -> Mapping[str, object] | None:
    """Repeat a request until it is answered, as its caller would; None if that takes too long."""
    deadline = time.monotonic() + _RESTORE_S
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            answer = httpx.post(url, json=body, timeout=_RESTORE_S)
            if answer.is_success:
                document: dict[str, object] = answer.json()
                return document
            assert answer.status_code >= 500, answer.text
        time.sleep(0.3)
    return None


def _kill(pid: int, chance: random.Random) -> int:
    """Kill an instance of which this is the parent process."""
    how = chance.choice(("whole", "whole", "worker", "parent"))
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if how == "whole":
            os.killpg(pid, signal.SIGKILL)
        elif how == "worker":
            for each in psutil.Process(pid).children():
                each.kill()
        else:
            os.kill(pid, signal.SIGKILL)
        return 1
    return 0


def _restart(scene: Scene, number: signal.Signals) -> int:
    scene.cloud.stop_database(number)
    time.sleep(scene.chance.random() * scene.lasts_s / 2)
    scene.cloud.start_database()
    return 1


def _repeatedly(scene: Scene, act: Callable[[], int]) -> int:
    done = 0
    for _ in range(scene.chance.randint(1, 4)):
        with suppress(DBAPIError, OSError):
            done += act()
        time.sleep(scene.chance.random() * scene.lasts_s / 2)
    return done


def _misbehave(
    scene: Scene, proxy: DatabaseProxy | StorageProxy | PubsubProxy, kind: str, share: float
) -> int:
    with misbehaving(proxy, Fault(kind, share, scene.chance)) as fault:
        scene.hold()
    return fault.hits


_READS = ("small", "chunked", "gzip", "output", "undeclared")
FAULTS: Mapping[str, FaultKind] = {
    "functions killed": FaultKind(functions_killed, "functions", 3),
    "every function killed": FaultKind(every_function_killed, "functions", 0.5),
    "functions replaced": FaultKind(functions_replaced, "functions"),
    "new version deployed": FaultKind(new_version_deployed, "functions", 0.3),
    "database restarted": FaultKind(database_restarted, "server"),
    "database stopped immediately": FaultKind(database_stopped_immediately, "server"),
    "database killed": FaultKind(database_killed, "server"),
    "session crashed": FaultKind(session_crashed, "server"),
    "disk full": FaultKind(disk_full, "server", 1.5),
    "sessions ended": FaultKind(sessions_ended, "sessions"),
    "deadlock": FaultKind(deadlock, "sessions", 1.5),
    "connections cut": FaultKind(connections_cut, "database"),
    "connections cut during COPY": FaultKind(
        partial(database_misbehaves, "copy", 0.3), "database", 1.5
    ),
    "answers to COMMIT lost": FaultKind(
        partial(database_misbehaves, "commit", 0.2), "database", 1.5
    ),
    "connections cut at any message": FaultKind(
        partial(database_misbehaves, "message", 0.01), "database"
    ),
    "database silent": FaultKind(partial(database_misbehaves, "stall", 1), "database"),
    "connections refused": FaultKind(partial(database_misbehaves, "refuse", 0.7), "database"),
    "reads fail": FaultKind(partial(storage_misbehaves, "fail", 0.4), "storage"),
    "reads reset": FaultKind(partial(storage_misbehaves, "reset", 0.4), "storage"),
    "reads truncated": FaultKind(partial(storage_misbehaves, "truncate", 0.5), "storage"),
    "reads too short": FaultKind(partial(storage_misbehaves, "short", 0.5), "storage"),
    "reads stalled": FaultKind(partial(storage_misbehaves, "stall", 0.7), "storage"),
    "reads slow": FaultKind(partial(storage_misbehaves, "slow", 0.7), "storage"),
    "writes fail": FaultKind(partial(storage_misbehaves, "write_fails", 0.5), "storage"),
    "writes done and not answered": FaultKind(
        partial(storage_misbehaves, "write_unanswered", 0.5), "storage"
    ),
    "publishes fail before": FaultKind(partial(publish_fails, "before"), "publisher"),
    "publishes fail after": FaultKind(partial(publish_fails, "after"), "publisher"),
    "messages duplicated": FaultKind(partial(messages_misbehave, {"duplicate": 0.5}), "messages"),
    "messages delayed": FaultKind(partial(messages_misbehave, {"delay_s": 1.0}), "messages"),
    "messages reordered": FaultKind(
        partial(messages_misbehave, {"reorder": True, "delay_s": 0.2}), "messages"
    ),
    "messages acknowledged late": FaultKind(
        partial(messages_misbehave, {"drop_acks": 0.3}), "messages", 0.5
    ),
    "clock skewed": FaultKind(clock_skewed, "clock"),
    "object overwritten": FaultKind(object_overwritten, "object", 1.5, (*_READS, "replaced")),
    "object deleted": FaultKind(object_deleted, "object", 1, _READS),
    "restored as a copy": FaultKind(restored_as_copy, "restore", 0.7),
    "restored in place": FaultKind(restored_in_place, "restore", 0.7),
}
