"""A round: a plan from a seed, and its execution against a cloud.

The plan says which files are uploaded and which rows are sent, when, and which faults are injected meanwhile.
The same seed and number give the same plan; what the faults hit depends on the timing of the machine.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
from chaos_cloud import ChaosCloud, wait_until
from chaos_datasets import READINGS, STOCK, Dataset, Row
from chaos_faults import FAULTS, RESTORED, Scene
from chaos_files import File, make_files, newer
from chaos_invariants import Checked, Post, Upload, check_round, unfinished
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from chaos_witness import Witness

UPLOADS_S = 1.2
SETTLED_S = 240.0
_POST_S = 120.0
_ANSWER_S = 40.0


@dataclass(frozen=True)
class PlannedFault:
    """A fault that begins at a moment of the round and lasts a while, in seconds."""

    name: str
    at_s: float
    lasts_s: float
    seed: int


@dataclass(frozen=True)
class PlannedPost:
    """Rows that are sent at a moment of the round."""

    dataset: Dataset
    rows: Sequence[Row]
    at_s: float


@dataclass(frozen=True)
class Plan:
    """What happens in a round.

    Attributes:
        files: each with the moment of its upload, in order.
        victim: the number of the file whose object is overwritten or deleted; None without such a fault.
    """

    seed: str
    number: int
    files: Sequence[tuple[float, File]]
    posts: Sequence[PlannedPost]
    faults: Sequence[PlannedFault]
    victim: int | None = None

    def __str__(self) -> str:
        lines = [f"round {self.number} of seed {self.seed}:"]
        lines += [
            f"  {at_s:.2f} s: {each.kind}, {len(each.data)} bytes: {each.name}"
            for at_s, each in self.files
        ]
        lines += [
            f"  {each.at_s:.2f} s: {len(each.rows)} rows to {each.dataset.name}"
            for each in self.posts
        ]
        lines += [
            f"  {each.at_s:.2f} s: {each.name}, for {each.lasts_s:.2f} s" for each in self.faults
        ]
        return "\n".join(lines)


@dataclass
class Outcome:
    """What a round did: the faults that took effect, and what the checks found."""

    checked: Checked
    faults: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0


def plan_round(
    seed: str, number: int, allowed: Mapping[str, object] = FAULTS, names: str | None = None
) -> Plan:
    """Return the plan of a round.

    Args:
        seed: of the run.
        number: of the round.
        allowed: the faults to choose from.
        names: begins the names of the objects, if not the seed: a round may be repeated in a cloud.
    """
    chance = random.Random(f"{seed}/{number}")
    prefix = f"{names or seed}_{number}"
    made = make_files(prefix, chance.randint(3, 6), chance)
    moments = sorted(chance.random() * UPLOADS_S for _ in made)
    files = list(zip(moments, made, strict=True))
    posts = [_post(prefix, n, chance) for n in range(chance.choice((0, 0, 1, 2)))]
    faults: list[PlannedFault] = []
    victim = None
    wanted = chance.randint(1, 3)
    places: set[str] = set()
    for _ in range(20):
        if len(faults) == wanted:
            break
        (name,) = chance.choices(list(FAULTS), [each.weight for each in FAULTS.values()])
        kind = FAULTS[name]
        possible = [n for n, (_, each) in enumerate(files) if each.kind in kind.victim]
        if name not in allowed or kind.place in places or (kind.victim and not possible):
            continue
        places.add(kind.place)
        if kind.victim:
            victim = chance.choice(possible)
        at_s, lasts_s = chance.random() * UPLOADS_S, 0.3 + chance.random() * 1.5
        faults.append(PlannedFault(name, at_s, lasts_s, chance.randrange(2**31)))
    return Plan(seed, number, files, posts, faults, victim)


def _post(prefix: str, number: int, chance: random.Random) -> PlannedPost:
    mark = f"{prefix}_post{number}"
    rows: list[Row]
    if chance.random() < 0.5:
        dataset = READINGS
        rows = [(mark, n, 0, "by HTTP", "air") for n in range(chance.randint(1, 60))]
    else:
        dataset = STOCK
        rows = [(f"{mark}-{n}", n, "by HTTP") for n in range(chance.randint(1, 60))]
    return PlannedPost(dataset, rows, chance.random() * UPLOADS_S)


class Round:
    """One execution of a plan."""

    def __init__(self, cloud: ChaosCloud, witness: Witness, plan: Plan) -> None:
        self._cloud = cloud
        self._witness = witness
        self._plan = plan
        self._uploads: list[Upload] = []
        self._posts: list[Post] = []
        self._victim = threading.Event()
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def run(self) -> Outcome:
        """Do what is planned, wait until everything has ended, and check it."""
        plan, faults = self._plan, Counter[str]()
        with ThreadPoolExecutor(max_workers=16) as threads:
            injected = {each.name: threads.submit(self._inject, each) for each in plan.faults}
            others = [threads.submit(self._upload_all)]
            others += [threads.submit(self._send, each) for each in plan.posts]
            problems = []
            for name, each in injected.items():
                try:
                    faults[name] += each.result()
                except AssertionError as error:
                    problems.append(f"{name}: {error}")
            self._cloud.calm()
            for done in others:
                done.result()
        checked = self._settle()
        checked.problems = problems + checked.problems
        files = Counter(each.kind for _, each in plan.files)
        return Outcome(checked, faults, files, time.monotonic() - self._began)

    def _settle(self) -> Checked:
        left: list[str] = []

        def is_settled() -> bool:
            left[:] = unfinished(self._cloud, self._uploads)
            return not left

        if not wait_until(is_settled, SETTLED_S):
            return Checked([f"not ended after {SETTLED_S:.0f} s: {each}" for each in left])
        return self.check()

    def check(self) -> Checked:
        """Check a round whose files have ended."""
        withdrawn = any(each.name == "restored in place" for each in self._plan.faults)
        return check_round(
            self._cloud,
            self._witness,
            self._uploads,
            self._posts,
            may_be_withdrawn=RESTORED if withdrawn else None,
        )

    def _inject(self, planned: PlannedFault) -> int:
        self._sleep_until(planned.at_s)
        chance = random.Random(planned.seed)
        scene = Scene(
            self._cloud,
            chance,
            planned.lasts_s,
            replace=lambda: self._overwrite(chance, planned.lasts_s),
            remove=lambda: self._remove(chance, planned.lasts_s),
        )
        try:
            return FAULTS[planned.name].inject(scene)
        except (DBAPIError, OSError):  # another fault stopped the server
            return 0

    def _upload_all(self) -> None:
        for number, (at_s, each) in enumerate(self._plan.files):
            self._sleep_until(at_s)
            self._upload(each)
            if number == self._plan.victim:
                self._victim.set()

    def _upload(self, file: File) -> None:
        with self._lock:  # their order is that of their times
            generation = self._cloud.put(file.name, file.data)
            self._uploads.append(Upload(file, generation, len(self._uploads)))

    def _overwrite(self, chance: random.Random, within_s: float) -> None:
        upload = self._wait_for_victim(chance, within_s)
        self._upload(newer(upload.file, chance))

    def _remove(self, chance: random.Random, within_s: float) -> None:
        upload = self._wait_for_victim(chance, within_s)
        self._cloud.delete(upload.file.name)

    def _wait_for_victim(self, chance: random.Random, within_s: float) -> Upload:
        assert self._plan.victim is not None
        self._victim.wait()
        name = self._plan.files[self._plan.victim][1].name
        upload = next(each for each in self._uploads if each.file.name == name)
        upload.is_gone = True
        time.sleep(chance.random() * within_s)
        return upload

    def _send(self, planned: PlannedPost) -> None:
        """Send rows until they are answered, with one key for all attempts."""
        self._sleep_until(planned.at_s)
        url = f"{self._cloud.cloud.url}/v1/datasets/{planned.dataset.name}/rows"
        rows = [dict(zip(planned.dataset.columns, each, strict=True)) for each in planned.rows]
        headers = {"Idempotency-Key": str(planned.rows[0][0])}
        sent = Post(planned.dataset, planned.rows)
        self._posts.append(sent)
        deadline = time.monotonic() + _POST_S
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(url, json=rows, headers=headers, timeout=_ANSWER_S)
            except httpx.TransportError as error:
                sent.answer = repr(error)
            else:
                sent.answer = answer.text
                if answer.status_code < 500:
                    assert answer.is_success, answer.text
                    sent.ingestion = int(answer.json()["ingestion"])
                    return
            time.sleep(0.2)

    def _sleep_until(self, at_s: float) -> None:
        time.sleep(max(0.0, self._began + at_s - time.monotonic()))
