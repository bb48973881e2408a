"""The API answers as its OpenAPI document says: schemathesis with all its checks, as callers of each role.

`make test` runs a part of the operations and few random requests; `make fuzz` runs all, with thousands.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from conformance import Gateway, Known, examine, served
from serving import GUESTS, publish

from sluice.api.legacy import uploads
from sluice.documents.roles import Role
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance import Tally
    from keyring import Keyring
    from serving import Serve
    from sqlalchemy import Engine

    from sluice.local.pubsub import PubsubServer
    from sluice.local.storage import Server

#: Random requests of each operation, and random sequences, of the long form; 0 is the short form.
EXAMPLES = int(os.environ.get("SLUICE_FUZZ_EXAMPLES", "0"))
#: The short form leaves out what takes long (copies of tables, declarations, dead letters), and what datasets
#: have alike: the operations of guests stand for them.
_SHORT = (
    r"^(?!alias_post_|backUpTables$|restore|declareDataset$|(drop|replay)DeadLetters$"
    r"|.*_(departments|hired_employees|jobs|people|plays|titles|trips)(_|$))"
)
#: What a role may not do is refused before anything of the request is looked at.
_OF_LOADERS = r"^(postRows_guests|infer|openUpload|showIngestion|undoIngestion|listKeys)$"
_OF_READERS = r"^(listRows_guests|ask_guests_named|listDatasets|postRows_guests|listAudit)$"
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
FUNCTIONS = ("intake", "query", "status", "backup")
LIMITS = {"failures_per_minute": "0", "requests_per_minute": "0"}


@pytest.fixture
def known(engine: Engine) -> Known:
    """A dataset with eight rows, as one ingestion."""
    declare(engine, {**GUESTS, "queries": {"named": GUESTS["queries"]["named"]}}, origin="api")
    guest = {"name": "Ada", "born": "1999-01-02", "wage": "1.10", "active": True}
    ingestion = publish(engine, "guests", [{"id": number, **guest} for number in range(1, 9)])
    ids = {"ingestion": [str(ingestion)], "dataset": ["guests"], "key": ["1"]}
    made = {"id": ["none"], "backup": ["none"], "subscription": ["none"], "job_id": ["none"]}
    return Known({**ids, **made})


@pytest.fixture
def address(
    serve: Serve, topics: PubsubServer, storage: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """All functions of the API, with keys required; nothing loads the files that arrive."""
    monkeypatch.setattr(uploads, "WAIT_S", 0.0)
    functions = {
        each: serve(each, token="first", inbox="inbox", outbox="outbox", **LIMITS)
        for each in FUNCTIONS
    }
    with served(Gateway(functions)) as found:
        yield found


@pytest.mark.parametrize("phase", ["coverage", "fuzzing", "stateful"])
def test_the_api_answers_an_administrator_as_its_openapi_document_says(
    address: str, known: Known, callers: Keyring, phase: str
) -> None:
    key = callers.key(Role.ADMIN, pii=True)
    phases = ("examples", phase) if phase == "coverage" else (phase,)
    _assert_clean(
        examine(
            address,
            key,
            known,
            examples=EXAMPLES or 1,
            phases=phases,
            operations="" if EXAMPLES else _SHORT,
        )
    )


@pytest.mark.parametrize(
    ("role", "operations"), [(Role.LOADER, _OF_LOADERS), (Role.READER, _OF_READERS)]
)
def test_the_api_answers_other_callers_as_its_openapi_document_says(
    address: str, known: Known, callers: Keyring, role: Role, operations: str
) -> None:
    key = callers.key(role, ["guests"])
    found = examine(
        address,
        key,
        known,
        examples=EXAMPLES or 2,
        phases=("fuzzing",),
        operations="" if EXAMPLES else operations,
    )
    _assert_clean(found)


def _assert_clean(found: Tally) -> None:
    sys.stdout.write(f"{found}\n")
    assert found.cases.total(), "schemathesis sent nothing"
    assert not found.failures, "\n\n".join(
        f"{each}\n{text}" for each, text in found.failures.items()
    )
