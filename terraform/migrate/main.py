"""The migration job: migrates the database, then grants each function its rights.

Runs before new code takes traffic, as a Cloud Run job. Safe to repeat.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.logs import configure_logging
from sluice.postgres.connection import open_database, run_script, take_role, transaction
from sluice.postgres.migrations import migrate
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

HERE = Path(__file__).resolve().parent
OWNER = "sluice_owner"
#: Functions that create tables: intake declares datasets, backup restores them. They connect with the
#: setting `database_role`.
OWNERS = ("backup", "intake", "migrate")
#: Functions that take the owner's role for a transaction: finish declares what it inferred.
DECLARING = ("finish",)
#: JSON: the database user of each function, by the function's name.
USERS_VARIABLE = "DATABASE_USERS"


def prepare(engine: Engine, users: Mapping[str, str]) -> list[str]:
    """Create the roles, migrate as the owner of everything, grant the rights; return what was done.

    Args:
        engine: connects as a member of cloudsqlsuperuser.
        users: the database user of each function, and of this job.
    """
    with transaction(engine) as connection:
        run_script(connection, (HERE / "roles.sql").read_text("utf-8"))
        for function, user in users.items():
            _grant_role(connection, function, user)
    take_role(engine, OWNER)
    engine.dispose()
    done = migrate(engine)
    with transaction(engine) as connection:
        run_script(connection, (HERE / "grants.sql").read_text("utf-8"))
    return done


def _grant_role(connection: Connection, function: str, user: str) -> None:
    """Grant a database user the role of its function."""
    quoted = user.replace('"', '""')
    role = OWNER if function in OWNERS else f"sluice_{function}"
    connection.exec_driver_sql(f'GRANT {role} TO "{quoted}"')
    if function in DECLARING:
        connection.exec_driver_sql(f'GRANT {OWNER} TO "{quoted}" WITH INHERIT FALSE, SET TRUE')


if __name__ == "__main__":
    settings = read_settings(required=("database_user",))
    logger = configure_logging("migrate", settings.log_level)
    engine = open_database(settings)
    for name in prepare(engine, json.loads(os.environ[USERS_VARIABLE])):
        logger.info("applied %s", name)
    logger.info("the database is up to date")
