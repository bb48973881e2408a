"""Some rounds of random faults, always the same; `make chaos` runs any number of others.

The checks are tested, too: each finds what is made wrong on purpose.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from chaos_cloud import ChaosCloud
from chaos_faults import FAULTS
from chaos_files import make_files, read
from chaos_rounds import Plan, Round, plan_round
from chaos_witness import Witness
from sqlalchemy import text

from sluice.local.state import CHECKOUT

SEED = "test"
#: Connections cut during COPY, sessions ended and a function killed; the database stopped while reads fail.
ROUNDS = (18, 33)


@pytest.fixture(scope="module")
def cloud() -> Iterator[ChaosCloud]:
    with ChaosCloud() as made:
        yield made


@pytest.fixture(scope="module")
def witness(cloud: ChaosCloud) -> Iterator[Witness]:
    with Witness(cloud.cloud.pubsub_address) as made:
        yield made


def possible(cloud: ChaosCloud) -> dict[str, object]:
    """The faults that can be injected here."""
    left_out = {"disk full": cloud.has_disk, "clock skewed": cloud.has_clock}
    return {name: each for name, each in FAULTS.items() if left_out.get(name, True)}


def test_a_plan_follows_from_its_seed() -> None:
    assert str(plan_round("a", 7)) == str(plan_round("a", 7))
    assert str(plan_round("a", 7)) != str(plan_round("b", 7))


def test_every_fault_is_described() -> None:
    page = (CHECKOUT / "docs/reliability.md").read_text("utf-8")
    described = re.findall(r"^\| ([^|]+?) \|", page.partition("## Faults")[2], re.MULTILINE)
    assert [each for each in described if each in FAULTS] == sorted(FAULTS, key=described.index)


@pytest.mark.parametrize("number", ROUNDS)
def test_every_row_is_there_once_after_a_round_of_faults(
    cloud: ChaosCloud, witness: Witness, number: int
) -> None:
    plan = plan_round(SEED, number, possible(cloud))
    outcome = Round(cloud, witness, plan).run()
    assert not outcome.checked.problems, f"{outcome.checked.problems}\n{plan}"


def without_faults(number: int) -> Plan:
    """A plan with a file of which rows, rejects and a roll-up are checked."""
    plans = (plan_round("quiet", each, {}) for each in range(number * 100, 10_000))
    return next(plan for plan in plans if "chunked" in {each.kind for _, each in plan.files})


TAMPERING = {
    "missing 1": "DELETE FROM store.readings WHERE ctid = ({row})",
    "surplus 1": "INSERT INTO store.readings SELECT * FROM store.readings WHERE ctid = ({row})",
    "the roll-up has": "UPDATE store.readings__kinds SET readings = readings + 1 WHERE ingestion = {id}",
    "rejects": "DELETE FROM sluice.rejects WHERE ingestion = {id}",
    "does not balance": "UPDATE sluice.ingestions SET state = 'undone', records_read = 0 WHERE id = {id}",
    "events of ingestion": "UPDATE sluice.ingestions SET sequence = sequence + 1 WHERE id = {id}",
}


def test_the_checks_notice_what_is_wrong(
    cloud: ChaosCloud, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos_invariants.EVENTS_S", 0.5)
    plan = without_faults(1)
    played = Round(cloud, witness, plan)
    assert not played.run().checked.problems
    name = next(each.name for _, each in plan.files if each.kind == "chunked")
    (found,) = cloud.select("SELECT id FROM sluice.ingestions WHERE object = :name", name=name)
    row = f"SELECT ctid FROM store.readings WHERE ingestion = {found.id} LIMIT 1"
    for words, sql in TAMPERING.items():
        with cloud.engine.connect() as connection:
            connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
            connection.execute(text(sql.format(row=row, id=found.id)))
            connection.commit()
        problems = played.check().problems
        assert any(words in each for each in problems), (words, problems)


def test_the_independent_reading_has_every_kind_of_record() -> None:
    files = make_files("kinds", 60, random.Random(1))
    contents = [read(each) for each in files if not each.codes]
    assert sum(len(each.rows) for each in contents) > 1000
    assert sum(len(each.rejects) for each in contents) > 10
    assert any("two\nlines" in row for each in contents for _, row in each.rows)
