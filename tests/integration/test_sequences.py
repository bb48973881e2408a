"""Sequences of uploads, undos, retries, requests and restores end as a plain model predicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from outbox import Store

from sluice.backups.backup import Backup
from sluice.backups.manifest import Format
from sluice.backups.restore import Restore
from sluice.errors import IllegalTransitionError
from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import cached_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flow import Flow

    from sluice.backups.manifest import Manifest
    from sluice.ports import StoredObject

Row = tuple[int, str]

HEADER = b"id,name\n"
THINGS: dict[str, Any] = {
    "name": "things",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
    ],
}
#: Each dataset has its own tables, so that one database serves all examples.
DATASETS: dict[str, dict[str, Any]] = {
    "append": {},
    "replace": {"reupload": "replace"},
    "ignore": {"key": ["id"], "duplicates": "ignore"},
    "update": {"key": ["id"], "duplicates": "update"},
    "error": {"key": ["id"], "duplicates": "error"},
    "update-replace": {"key": ["id"], "duplicates": "update", "reupload": "replace"},
}
_MAX_EXAMPLES = 5
#: Attempts after which a small file is split on its own.
ALONE = 9
STATE = (
    "sluice.ingestions, sluice.chunks, sluice.receipts, sluice.rejects, sluice.events,"
    " sluice.publications, sluice.freshness, store.things"
)

contents = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("xy")), min_size=1, max_size=3
).map(tuple)
objects = st.sampled_from(["things/a.csv", "things/b.csv"])


@dataclass(eq=False)
class Upload:
    """A file, the rows of a request or those of a restore, as the model knows it.

    Attributes:
        place: in the order of uploads.
        kept: its rows that the dataset has, if it ignores or rejects later ones.
    """

    place: int
    name: str
    content: tuple[Row, ...]
    file: StoredObject | None = None
    ingestion: int = 0
    state: str = "loading"
    kept: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """A backup: its manifest, and the visible rows of each upload."""

    manifest: Manifest
    rows: Mapping[Upload, tuple[Row, ...]]


class Model:
    """What readers see after each step, from the rules in `docs/datasets.md`."""

    def __init__(self, policies: dict[str, Any]) -> None:
        self.uploads: list[Upload] = []
        self._replaces = policies.get("reupload") == "replace"
        self._duplicates = policies.get("duplicates")

    def in_state(self, *states: str) -> list[Upload]:
        return [each for each in self.uploads if each.state in states]

    def visible(self) -> Counter[Row]:
        return Counter(row for rows in self.rows_by_upload().values() for row in rows)

    def rows_by_upload(self) -> dict[Upload, tuple[Row, ...]]:
        """The visible rows of each published upload."""
        done = sorted(self.in_state("done"), key=lambda each: each.place)
        if self._duplicates is None:
            return {each: each.content for each in done}
        if self._duplicates != "update":
            return {each: tuple(each.kept.items()) for each in done}
        newest = {key: each for each in done for key, _ in each.content}
        return {
            each: tuple(row for row in dict(each.content).items() if newest[row[0]] is each)
            for each in done
        }

    def restore(self, saved: Saved) -> tuple[Row, ...]:
        """Withdraw what was published after a backup; return the rows that the restore has itself."""
        for each in self.in_state("done"):
            if each not in saved.rows:
                each.state = "undone"
        gone = [each for each in saved.rows if each.state != "done"]
        return tuple(row for each in gone for row in saved.rows[each])

    def states_after(self, upload: Upload) -> set[str]:
        """The states in which the publication of an upload may end."""
        others = [each for each in self.in_state("done") if each is not upload]
        if self._replaces:
            newer = [each for each in others if self._is_older(upload, each)]
            return {"skipped"} if newer else {"done"}
        same = upload.file and any(each.file and each.content == upload.content for each in others)
        if self._duplicates is None:
            return {"skipped"} if same else {"done"}
        if self._duplicates == "update" or self._new_rows(upload):
            return {"done"}
        final = "failed" if upload.file and self._duplicates == "error" else "done"
        return {final, "skipped"} if same else {final}

    def publish(self, upload: Upload, state: str) -> None:
        upload.state = state
        if state != "done":
            return
        if self._replaces:
            for each in self.in_state("done"):
                if self._is_older(each, upload):
                    each.state = "undone"
        upload.kept = self._new_rows(upload)

    def redo(self, upload: Upload) -> None:
        """Publish an undone upload with the rows that it had, without keys that are taken now."""
        known = {key for each in self.in_state("done") for key in each.kept}
        kept = {key: name for key, name in upload.kept.items() if key not in known}
        self.publish(upload, "done")
        upload.kept = kept

    def may_refuse_redo(self, upload: Upload) -> bool:
        """Whether its rows would be there twice, or are replaced by a newer version."""
        others = [each for each in self.in_state("done") if each is not upload]
        if self._replaces:
            return any(self._is_older(upload, each) for each in others)
        known = {key for each in others for key in each.kept}
        conflicts = self._duplicates == "error" and bool(known & set(upload.kept))
        same = upload.file and any(each.file and each.content == upload.content for each in others)
        return conflicts or (bool(same) and self._duplicates != "update")

    def _new_rows(self, upload: Upload) -> dict[int, str]:
        known = {key for each in self.in_state("done") if each is not upload for key in each.kept}
        return {key: name for key, name in reversed(upload.content) if key not in known}

    @staticmethod
    def _is_older(one: Upload, other: Upload) -> bool:
        return bool(one.file) and one.name == other.name and one.place < other.place


class Sequences(RuleBasedStateMachine):
    """Steps of users and functions on one dataset."""

    def __init__(self, flow: Flow, policies: dict[str, Any]) -> None:
        super().__init__()
        self._flow = flow
        self._model = Model(policies)
        keyed = ", store.things__staging, store.things__replaced" if "key" in policies else ""
        flow.run_sql(f"TRUNCATE {STATE}{keyed} CASCADE")
        store = Store()
        self._back_up = Backup(flow.settings, flow.engine, store)
        self._restore = Restore(flow.settings, flow.engine, store, flow.topics)
        self._saved: list[Saved] = []
        self._has_restored = False
        flow.topics.sent.clear()

    @initialize(content=contents)
    def begin(self, content: tuple[Row, ...]) -> None:
        self.upload("things/a.csv", content)

    @rule(name=objects, content=contents)
    def upload(self, name: str, content: tuple[Row, ...]) -> None:
        self._publish(self._start(name, content))

    @rule(name=objects, content=contents)
    def start(self, name: str, content: tuple[Row, ...]) -> None:
        """Load all chunks of a file whose publication is late."""
        self._start(name, content)

    @rule(data=st.data())
    def upload_again(self, data: st.DataObject) -> None:
        """Upload the content of an earlier file, to the same object or another one."""
        earlier = data.draw(st.sampled_from(self._model.uploads))
        self._publish(self._start(data.draw(objects), earlier.content))

    @rule(content=contents)
    def post(self, content: tuple[Row, ...]) -> None:
        upload = self._add("", content)
        dataset = cached_dataset(self._flow.engine, "things")
        assert dataset is not None
        rows = [{"id": str(key), "name": name} for key, name in content]
        (group,) = insert_rows(self._flow.env("intake"), [RowGroup(dataset, rows)]).groups
        upload.ingestion = group.ingestion
        self._check_published(upload)

    @precondition(lambda self: self._model.in_state("loading"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self._publish(self._one(data, "loading"))

    @precondition(lambda self: self._model.in_state("loading"))
    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        """Do the steps of a publication that is late."""
        self._flow.prepare(self._one(data, "loading").ingestion)

    @precondition(lambda self: self._model.in_state("loading"))
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        self._load(self._one(data, "loading"))

    @precondition(lambda self: self._model.in_state("done"))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        upload = self._one(data, "done")
        self._flow.undo(upload.ingestion)
        upload.state = "undone"

    @precondition(lambda self: self._model.in_state("undone"))
    @rule(data=st.data())
    def redo(self, data: st.DataObject) -> None:
        upload = self._one(data, "undone")
        refusal = self._refusal(upload)
        if refusal is None:
            self._model.redo(upload)
        else:
            is_restored = "was restored meanwhile" in refusal and self._has_restored
            assert is_restored or self._model.may_refuse_redo(upload), refusal

    def _refusal(self, upload: Upload) -> str | None:
        """Redo an upload; return why that is refused."""
        try:
            self._flow.redo(upload.ingestion)
        except IllegalTransitionError as error:
            return error.detail
        return None

    @precondition(lambda self: self._retryable())
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        upload = data.draw(st.sampled_from(self._retryable()))
        self._flow.retry(upload.ingestion)
        upload.state = "loading"
        self._load(upload)
        if self._flow.state(upload.ingestion) == "skipped":
            self._check_published(upload)
        else:
            self._publish(upload)

    @rule()
    def back_up(self) -> None:
        manifest = self._back_up(["things"], Format.AVRO)
        self._saved.append(Saved(manifest, self._model.rows_by_upload()))

    @precondition(lambda self: self._saved)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        saved = data.draw(st.sampled_from(self._saved))
        upload = self._add("", self._model.restore(saved))
        self._has_restored = True
        upload.kept, upload.state = dict(upload.content), "done"
        (restored,) = self._restore(saved.manifest, None, "")
        upload.ingestion = restored.ingestion

    @invariant()
    def readers_see_what_the_model_predicts(self) -> None:
        found = self._flow.all("SELECT id, name FROM things")
        assert Counter((row.id, row.name) for row in found) == self._model.visible()

    @invariant()
    def every_state_is_as_predicted(self) -> None:
        rows = self._flow.all("SELECT id, CAST(state AS text) FROM sluice.ingestions")
        states = {row.id: "loading" if row.state == "publishing" else row.state for row in rows}
        assert states == {each.ingestion: each.state for each in self._model.uploads}

    def _retryable(self) -> list[Upload]:
        return [each for each in self._model.in_state("skipped", "failed") if each.file]

    def _one(self, data: st.DataObject, state: str) -> Upload:
        chosen: Upload = data.draw(st.sampled_from(self._model.in_state(state)))
        return chosen

    def _add(self, name: str, content: tuple[Row, ...]) -> Upload:
        upload = Upload(len(self._model.uploads), name, content)
        self._model.uploads.append(upload)
        return upload

    def _start(self, name: str, content: tuple[Row, ...]) -> Upload:
        upload = self._add(name, content)
        upload.file = self._flow.put(HEADER + b"".join(_lines(content)), name)
        self._load(upload)
        return upload

    def _load(self, upload: Upload) -> None:
        assert upload.file is not None
        upload.ingestion = self._flow.split(upload.file, ALONE)
        for chunk in self._flow.chunks(upload.ingestion):
            self._flow.load(chunk)
        if self._flow.state(upload.ingestion) == "skipped":
            self._check_published(upload)

    def _publish(self, upload: Upload) -> None:
        if upload.state == "loading":
            self._flow.finish(upload.ingestion)
            self._check_published(upload)

    def _check_published(self, upload: Upload) -> None:
        state = self._flow.state(upload.ingestion)
        assert state in self._model.states_after(upload)
        self._model.publish(upload, state)


def _lines(content: Sequence[Row]) -> list[bytes]:
    return [f"{key},{name}\n".encode() for key, name in content]


@pytest.mark.flow(chunk_bytes=8, declared=None, publish_step_rows=1)
@pytest.mark.parametrize("policies", DATASETS.values(), ids=DATASETS)
def test_sequences_end_as_the_model_predicts(flow: Flow, policies: dict[str, Any]) -> None:
    flow.declare(THINGS, **policies)
    run_state_machine_as_test(
        lambda: Sequences(flow, policies),
        settings=settings(
            max_examples=_MAX_EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.generate],  # a failure is reported as found: to shrink it takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
