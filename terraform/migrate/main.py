"""The migration job: migrates the database, then grants each function its rights.

Runs before new code takes traffic, as a Cloud Run job. Safe to repeat.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sluice.logs import configure_logging
from sluice.postgres.connection import open_database
from sluice.postgres.roles import everyone, prepare
from sluice.settings import read_settings

HERE = Path(__file__).resolve().parent
#: JSON: the database user of each function, and of this job, by the function's name. Without it, all have the
#: user of the URL.
USERS_VARIABLE = "DATABASE_USERS"
#: JSON: the database users of people and groups that read published rows.
READERS_VARIABLE = "DATABASE_READERS"

if __name__ == "__main__":
    settings = read_settings()
    logger = configure_logging("migrate", settings.log_level)
    engine = open_database(settings)
    users = json.loads(os.environ.get(USERS_VARIABLE, "{}")) or everyone(engine)
    readers = json.loads(os.environ.get(READERS_VARIABLE, "[]"))
    for name in prepare(engine, users, HERE, readers):
        logger.info("applied %s", name)
    logger.info("the database is up to date")
