"""What must be true after a round, and after a run: the files, read independently, against the database.

Each check returns what is wrong, as sentences; none looks at the product's code. What is only true a moment
later, such as the end of a session, is waited for within a bound.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chaos_cloud import ChaosCloud, wait_until
from chaos_datasets import EXTRACTS, READINGS, Dataset, Row
from chaos_files import Contents, File, read

if TYPE_CHECKING:
    from chaos_witness import Witness

#: Events whose handler was killed between commit and publication are published by recovery after a minute.
EVENTS_S = 100.0
QUIET_S = 20.0
COLLECTED_S = 90.0
#: Sessions of the functions: the connections of their pools, of the locks on splits, of streams of events.
MAX_SESSIONS = 80
_GONE = "CSV105"
_FINAL = ("done", "failed", "skipped", "undone")


@dataclass
class Upload:
    """A generation of an object that was uploaded.

    Attributes:
        order: of the upload, within the round.
        is_gone: whether it was overwritten or deleted while it may have been loading.
    """

    file: File
    generation: int
    order: int
    is_gone: bool = False


@dataclass
class Post:
    """Rows that were sent in a request, which was repeated until it was answered.

    Attributes:
        ingestion: the one that has the rows; 0 if no request was answered in time.
        answer: the last one.
    """

    dataset: Dataset
    rows: Sequence[Row]
    ingestion: int = 0
    answer: str = ""


@dataclass
class Checked:
    """What the checks of a round found.

    Attributes:
        problems: what is wrong; empty if all is well.
        ends: number of files by their state.
        rows, events: how many were compared.
    """

    problems: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    events: int = 0


def unfinished(cloud: ChaosCloud, uploads: Sequence[Upload]) -> list[str]:
    """Return the uploads that have no ingestion in a final state."""
    found = _ingestions(cloud, uploads)
    return [
        f"{each.file.name}#{each.generation}: {row.state if row else 'no ingestion'}"
        for each in uploads
        if (row := found.get((each.file.name, each.generation))) is None or row.state not in _FINAL
    ]


def check_round(
    cloud: ChaosCloud,
    witness: Witness,
    uploads: Sequence[Upload],
    posts: Sequence[Post],
    *,
    may_be_withdrawn: str | None,
) -> Checked:
    """Check a round whose files have ended.

    Args:
        cloud: without faults.
        witness: received the events.
        uploads: every generation, in the order of upload.
        posts: the requests.
        may_be_withdrawn: the dataset that was restored in place meanwhile, if one was.
    """
    checked = Checked()
    found = _ingestions(cloud, uploads)
    ended: list[tuple[Upload, Any]] = []
    for each in uploads:
        row = found[each.file.name, each.generation]
        checked.ends[row.state] += 1
        ended.append((each, row))
        checked.problems += _wrong_end(each, row, uploads, may_be_withdrawn)
    rows = cloud.select(
        "SELECT * FROM sluice.ingestions WHERE id = ANY (:ids)",
        ids=[each.ingestion for each in posts],
    )
    posted = {row.id: row for row in rows}
    for each in ended:
        _check_account(checked, each[1])
        if each[1].state == "done":
            _check_file(cloud, checked, *each)
        else:
            _check_invisible(cloud, checked, *each)
    for post in posts:
        _check_post(cloud, checked, post, posted)
    _check_twins(checked, ended)
    _check_replaced(checked, ended, may_be_withdrawn)
    _check_keys(cloud, checked, ended)
    ingestions = [*(row for _, row in ended), *posted.values()]
    _check_events(cloud, checked, witness, ingestions)
    checked.problems += witness.take_problems()
    checked.problems += _orphans(cloud, [row.id for row in ingestions])
    return checked


def check_run(cloud: ChaosCloud) -> list[str]:
    """Check what all rounds left behind, after recovery had time to collect garbage."""
    problems: list[str] = []
    if not wait_until(lambda: not _hidden_rows(cloud), COLLECTED_S):
        problems.append(f"rows of ingestions that are not published: {_hidden_rows(cloud)}")
    if not wait_until(lambda: not _staged_rows(cloud), COLLECTED_S):
        problems.append(f"staged rows are left: {_staged_rows(cloud)}")
    if not wait_until(lambda: not cloud.outbox("chunks/"), COLLECTED_S):
        problems.append(f"chunks are left in the outbox: {cloud.outbox('chunks/')[:5]}")
    if not wait_until(lambda: not _busy(cloud), COLLECTED_S):
        problems.append(f"messages are left: {_busy(cloud)}")
    for name in _datasets(cloud):
        problems += [
            f"{name}: ingestion {row.id} loaded {row.rows_loaded} rows and has {row.stored}"
            for row in cloud.select(
                "SELECT id, rows_loaded, stored FROM sluice.ingestions LEFT JOIN ("
                f' SELECT ingestion, count(*) AS stored FROM store."{name}" GROUP BY ingestion'
                ") AS found ON ingestion = id"
                " WHERE dataset = :name AND state = 'done' AND source <> 'restore'"
                " AND NOT EXISTS (SELECT FROM sluice.datasets WHERE name = :name"
                " AND declaration -> 'key' <> '[]')"
                " AND rows_loaded <> coalesce(stored, 0)",
                name=name,
            )
        ]
    return problems


def _staged_rows(cloud: ChaosCloud) -> list[str]:
    """Return the tables with staged rows."""
    return [
        name
        for name in _tables(cloud, "%\\_\\_staging")
        if cloud.select(f"SELECT 1 FROM {name} LIMIT 1")
    ]


def _ingestions(cloud: ChaosCloud, uploads: Sequence[Upload]) -> Mapping[tuple[str, int], Any]:
    names = [each.file.name for each in uploads]
    sql = "SELECT * FROM sluice.ingestions WHERE object = ANY (:names)"
    return {(row.object, row.generation): row for row in cloud.select(sql, names=names)}


def _wrong_end(
    upload: Upload, row: Any, uploads: Sequence[Upload], may_be_withdrawn: str | None
) -> list[str]:
    """Return how the end of a file is not what its content and the faults explain."""
    file = upload.file
    code = row.problem["code"] if row.problem else None
    allowed: set[str] = set()
    if file.codes:
        allowed |= {f"failed {each}" for each in file.codes}
    else:
        allowed.add("done")
    if upload.is_gone:
        allowed.add(f"failed {_GONE}")
    if file.may_skip:
        allowed.add("skipped")
    is_replaced = file.dataset.is_replaced and any(
        each.file.name == file.name and each.order > upload.order for each in uploads
    )
    if is_replaced:
        allowed |= {"undone", "skipped"}
    if may_be_withdrawn == file.dataset.name:
        allowed |= {"undone"}
    end = f"failed {code}" if row.state == "failed" else row.state
    if end in allowed:
        return []
    detail = row.problem["detail"] if row.problem else ""
    return [f"{file.name} ({file.kind}, {row.id}) ended {end}, not {sorted(allowed)}: {detail}"]


def _check_account(checked: Checked, row: Any) -> None:
    if row.state not in ("done", "undone"):
        return
    if row.records_read != row.rows_loaded + row.rows_rejected + row.duplicates:
        checked.problems.append(f"the account of {row.object} ({row.id}) does not balance")
    if row.records_read != row.records_total:
        checked.problems.append(
            f"{row.object} ({row.id}) has {row.records_total} records, of which {row.records_read}"
            " are in its account"
        )


def _check_file(cloud: ChaosCloud, checked: Checked, upload: Upload, row: Any) -> None:
    file = upload.file
    contents = read(file)
    name = f"{file.name} ({file.kind}, {row.id})"
    if row.records_read != contents.records:
        checked.problems.append(
            f"{name}: the account has {row.records_read} records, the file {contents.records}"
        )
    if file.dataset.key is not None:
        return
    _check_rows(cloud, checked, name, file.dataset, row, [each for _, each in contents.rows])
    sql = "SELECT record FROM sluice.rejects WHERE ingestion = :id"
    rejects = sorted(each.record for each in cloud.select(sql, id=row.id))
    if rejects != list(contents.rejects) or row.rows_rejected != len(contents.rejects):
        checked.problems.append(f"{name}: rejects {rejects}, not {contents.rejects}")
    if file.dataset is EXTRACTS:
        _check_output(cloud, checked, name, row, contents)


def _check_rows(
    cloud: ChaosCloud, checked: Checked, name: str, dataset: Dataset, row: Any, rows: Sequence[Row]
) -> None:
    """Compare the rows that readers see of an ingestion, and its roll-up, with those of its file."""
    columns = ", ".join(f'"{each}"' for each in dataset.columns)
    sql = f'SELECT {columns} FROM "{dataset.name}" WHERE ingestion = :id'
    seen = Counter(tuple(map(_plain, each)) for each in cloud.select(sql, id=row.id))
    expected = Counter(rows)
    checked.rows += len(rows)
    if seen != expected:
        checked.problems.append(
            f"{name}: missing {_few(expected - seen)}, surplus {_few(seen - expected)}"
        )
    if row.rows_loaded != len(rows):
        checked.problems.append(f"{name}: the account has {row.rows_loaded} of {len(rows)} rows")
    if dataset is READINGS:
        _check_rollup(cloud, checked, name, row.id, rows)


def _check_rollup(
    cloud: ChaosCloud, checked: Checked, name: str, ingestion: int, rows: Sequence[Row]
) -> None:
    """Compare a roll-up, of which each group has one row once its parts are merged."""
    groups: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for each in rows:
        groups[each[0], each[4]].append(int(str(each[1])))
    expected = Counter((*group, len(all_n), sum(all_n)) for group, all_n in groups.items())
    sql = "SELECT file, kind, readings, total FROM readings_kinds WHERE ingestion = :id"
    seen = Counter(tuple(map(_plain, each)) for each in cloud.select(sql, id=ingestion))
    if seen != expected:
        checked.problems.append(
            f"{name}: the roll-up has {_few(seen - expected)} instead of {_few(expected - seen)}"
        )


def _check_output(
    cloud: ChaosCloud, checked: Checked, name: str, row: Any, contents: Contents
) -> None:
    expected = sorted(
        (int(str(each[1])), str(each[0])) for _, each in contents.rows if int(str(each[1])) % 2 == 0
    )
    if row.output is None:
        checked.problems.append(f"{name}: it has no output")
        return
    data = cloud.fetch(row.output["object"]).decode("utf-8-sig")
    records = list(csv.reader(io.StringIO(data, newline="")))
    if [(int(each[1]), each[0]) for each in records[1:]] != expected:
        checked.problems.append(f"{name}: its output has other rows than the file")


def _check_invisible(cloud: ChaosCloud, checked: Checked, upload: Upload, row: Any) -> None:
    """Check that readers see nothing of what is not published."""
    dataset = upload.file.dataset
    if dataset.document is None and not cloud.select(
        "SELECT name FROM sluice.datasets WHERE name = :name", name=dataset.name
    ):
        return
    sql = f'SELECT count(*) AS seen FROM "{dataset.name}" WHERE ingestion = :id'
    seen = cloud.select(sql, id=row.id)[0].seen
    if seen:
        checked.problems.append(f"{upload.file.name} ({row.id}) is {row.state}: {seen} rows seen")


def _check_post(cloud: ChaosCloud, checked: Checked, post: Post, posted: Mapping[int, Any]) -> None:
    """Check that the rows of a request are there once, whatever ingestion they have."""
    name = f"rows sent to {post.dataset.name} ({post.ingestion})"
    row = posted.get(post.ingestion)
    if row is None or row.state != "done":
        checked.problems.append(f"{name}: {row.state if row else post.answer}")
        return
    _check_account(checked, row)
    column = post.dataset.columns[0]
    columns = ", ".join(post.dataset.columns)
    values = sorted({str(each[0]) for each in post.rows})
    sql = f"SELECT {columns} FROM {post.dataset.name} WHERE {column} = ANY (:values)"
    seen = Counter(tuple(map(_plain, each)) for each in cloud.select(sql, values=values))
    expected = Counter(post.rows)
    checked.rows += len(post.rows)
    if seen != expected:
        checked.problems.append(
            f"{name}: missing {_few(expected - seen)}, surplus {_few(seen - expected)}"
        )


def _check_twins(checked: Checked, ended: Sequence[tuple[Upload, Any]]) -> None:
    """Check that of two files of the same content one was loaded and the other refers to it."""
    twins: dict[bytes, list[Any]] = defaultdict(list)
    for upload, row in ended:
        if upload.file.may_skip:
            twins[upload.file.data].append(row)
    for rows in twins.values():
        states = sorted(each.state for each in rows)
        if states != ["done", "skipped"]:
            checked.problems.append(f"files of the same content are {states}: {rows[0].object}")


def _check_replaced(
    checked: Checked, ended: Sequence[tuple[Upload, Any]], may_be_withdrawn: str | None
) -> None:
    """Check that of the generations of an object the newest is published, and no other."""
    versions: dict[str, list[tuple[Upload, Any]]] = defaultdict(list)
    for upload, row in ended:
        if upload.file.dataset.is_replaced:
            versions[upload.file.name].append((upload, row))
    for name, found in versions.items():
        done = [upload.order for upload, row in found if row.state == "done"]
        newest = max(upload.order for upload, _ in found)
        if done != [newest] and not (may_be_withdrawn and not done):
            checked.problems.append(f"{name}: generations {done} of {newest} are published")


def _check_keys(cloud: ChaosCloud, checked: Checked, ended: Sequence[tuple[Upload, Any]]) -> None:
    """Compare the rows of each key with those of the files that have it."""
    by_dataset: dict[str, list[tuple[Upload, Any]]] = defaultdict(list)
    for upload, row in ended:
        if upload.file.dataset.key is not None and row.state == "done":
            by_dataset[upload.file.dataset.name].append((upload, row))
    for found in by_dataset.values():
        _check_keyed(cloud, checked, found[0][0].file.dataset, found)


def _check_keyed(
    cloud: ChaosCloud,
    checked: Checked,
    dataset: Dataset,
    ended: Sequence[tuple[Upload, Any]],
) -> None:
    kept: dict[
        int, dict[Any, Row]
    ] = {}  # by ingestion: the row of each key that counts in its file
    for upload, row in ended:
        rows = [each for _, each in read(upload.file).rows]
        ordered = rows if dataset.duplicates == "update" else reversed(rows)
        kept[row.id] = {each[0]: each for each in ordered}
    keys = sorted({key for rows in kept.values() for key in rows})
    columns = ", ".join(dataset.columns)
    sql = f"SELECT ingestion, {columns} FROM {dataset.name} WHERE key = ANY (:keys)"
    seen = cloud.select(sql, keys=keys)
    checked.rows += len(keys)
    if sorted(each.key for each in seen) != keys:
        checked.problems.append(f"{dataset.name}: {len(seen)} rows for {len(keys)} keys")
    order = {row.id: upload.order for upload, row in ended}
    for each in seen:
        candidates = [number for number, rows in kept.items() if each.key in rows]
        if dataset.duplicates == "update":
            candidates = [max(candidates, key=lambda number: order[number])]
        if each.ingestion not in candidates:
            checked.problems.append(
                f"{dataset.name}, key {each.key}: of ingestion {each.ingestion}, not {candidates}"
            )
        elif tuple(each)[1:] != kept[each.ingestion][each.key]:
            checked.problems.append(
                f"{dataset.name}, key {each.key}: {tuple(each)[1:]}, not"
                f" {kept[each.ingestion][each.key]}"
            )
    _check_keyed_accounts(checked, dataset, ended, seen)


def _check_keyed_accounts(
    checked: Checked, dataset: Dataset, ended: Sequence[tuple[Upload, Any]], seen: Iterable[Any]
) -> None:
    visible = Counter(each.ingestion for each in seen)
    for upload, row in ended:
        contents = read(upload.file)
        distinct = len({each[0] for _, each in contents.rows})
        repeated = len(contents.rows) - distinct
        name = f"{upload.file.name} ({upload.file.kind}, {row.id})"
        # With `update`, rows that a later file replaced were loaded, too.
        loaded = distinct if dataset.duplicates == "update" else visible[row.id]
        not_loaded = len(contents.rows) - loaded
        rejected = len(contents.rejects) + (not_loaded if dataset.duplicates == "error" else 0)
        duplicates = repeated if dataset.duplicates == "update" else not_loaded
        duplicates = 0 if dataset.duplicates == "error" else duplicates
        account = (row.rows_loaded, row.rows_rejected, row.duplicates)
        if account != (loaded, rejected, duplicates):
            checked.problems.append(
                f"{name}: account {account}, not {(loaded, rejected, duplicates)}"
            )


def _check_events(
    cloud: ChaosCloud, checked: Checked, witness: Witness, ingestions: Sequence[Any]
) -> None:
    """Check that each event arrived, none before an earlier one, and that the last has the final state."""
    sql = "SELECT ingestion, sequence, state FROM sluice.events WHERE ingestion = ANY (:ids)"
    written: dict[int, dict[int, str]] = defaultdict(dict)
    for each in cloud.select(sql, ids=[row.id for row in ingestions]):
        written[each.ingestion][each.sequence] = each.state
    for row in ingestions:
        expected = list(range(1, row.sequence + 1))
        checked.events += len(expected)
        if sorted(written[row.id]) != expected or written[row.id][row.sequence] != row.state:
            checked.problems.append(
                f"ingestion {row.id} is {row.state} at {row.sequence} and has {written[row.id]}"
            )
        wait_until(lambda row=row: len(witness.arrived(row.id)) >= row.sequence, EVENTS_S)
        arrived = witness.arrived(row.id)
        if arrived != expected:
            checked.problems.append(
                f"events of ingestion {row.id} ({row.object}) arrived as {arrived}, not to"
                f" {row.sequence}"
            )


def _orphans(cloud: ChaosCloud, ingestions: Sequence[int]) -> list[str]:
    """Return what the round left behind: staged rows, steps, locks, sessions, half a restore, events."""
    problems: list[str] = []
    for what, sql in _LEFT_BEHIND.items():
        if not wait_until(lambda sql=sql: not _left(cloud, sql, ingestions), QUIET_S):
            problems.append(f"{what}: {_left(cloud, sql, ingestions)[:5]}")
    for name in _tables(cloud, "%\\_\\_staging"):
        # Those that were prepared are staged until garbage collection.
        staged = (
            f"SELECT DISTINCT ingestion FROM {name} AS staged WHERE abs(ingestion) = ANY (:ids)"
            " AND NOT EXISTS (SELECT FROM sluice.prepared WHERE prepared.ingestion = abs(staged.ingestion))"
        )
        if found := cloud.select(staged, ids=list(ingestions)):
            problems.append(f"{name} has rows of ended ingestions: {found}")
    return problems


def _left(cloud: ChaosCloud, sql: str, ingestions: Sequence[int]) -> list[Any]:
    return cloud.select(sql, ids=list(ingestions))


#: Queries that find nothing once all is quiet.
_LEFT_BEHIND = {
    "events are not published": (
        "SELECT ingestion, sequence FROM sluice.events"
        " WHERE published_at IS NULL AND ingestion = ANY (:ids)"
    ),
    "steps of a publication": (
        "SELECT publish_steps.ingestion FROM sluice.publish_steps JOIN sluice.ingestions"
        " ON ingestions.id = publish_steps.ingestion"
        " WHERE state = 'done' AND ingestions.id = ANY (:ids)"
    ),
    "locks that outlive their work": (
        "SELECT usename, locktype, objid FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND (CAST(:ids AS integer[]) IS NOT NULL)"
    ),
    "sessions that hold a transaction open": (
        "SELECT usename, state, query FROM pg_stat_activity"
        " WHERE xact_start < clock_timestamp() - interval '10 seconds' AND backend_type = 'client backend'"
        " AND (CAST(:ids AS integer[]) IS NOT NULL)"
    ),
    "too many sessions": (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        f" AND (CAST(:ids AS integer[]) IS NOT NULL) HAVING count(*) > {MAX_SESSIONS}"
    ),
    "tables of half a restore": (
        "SELECT relname FROM pg_class WHERE relnamespace = CAST('restoring' AS regnamespace)"
        " AND (CAST(:ids AS integer[]) IS NOT NULL)"
    ),
    "parts of uploads": (
        "SELECT upload FROM sluice.upload_parts WHERE (CAST(:ids AS integer[]) IS NOT NULL)"
    ),
}


def _hidden_rows(cloud: ChaosCloud) -> list[str]:
    """Return the tables with rows of ingestions that failed, were skipped or withdrawn."""
    found = []
    for table in _tables(cloud, "%"):
        sql = (
            f"SELECT DISTINCT ended.id FROM {table} AS stored"
            " JOIN sluice.ingestions AS ended ON ended.id = stored.ingestion"
            " WHERE state <> 'done'"
        )
        found += [f"{table} of {each.id}" for each in cloud.select(sql)]
    return found


def _tables(cloud: ChaosCloud, pattern: str) -> list[str]:
    """Return the stored tables with a column `ingestion`, quoted."""
    sql = (
        "SELECT CAST(CAST(pg_class.oid AS regclass) AS text) AS name FROM pg_class"
        " JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'ingestion'"
        " WHERE relnamespace = CAST('store' AS regnamespace) AND relkind = 'r' AND relname LIKE :pattern"
    )
    return [each.name for each in cloud.select(sql, pattern=pattern)]


def _datasets(cloud: ChaosCloud) -> list[str]:
    return [each.name for each in cloud.select("SELECT name FROM sluice.datasets")]


def _busy(cloud: ChaosCloud) -> list[str]:
    return [
        name
        for name, counts in cloud.control.backlogs().items()
        if (counts.undelivered or counts.outstanding) and not name.endswith("/dead-letters")
    ]


def _plain(value: Any) -> Any:
    """Return a value of the database as the independent reading has it."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value) if value.as_tuple().exponent == 0 else value
    return value


def _few(found: Counter[Any]) -> str:
    return f"{sum(found.values())}: {list(found)[:3]}"
