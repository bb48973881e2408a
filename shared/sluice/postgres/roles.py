"""The roles of the database, and the preparation of a database: roles, migrations, rights.

`terraform/migrate/` has the scripts. The migration job of the cloud, the local cloud and the tests prepare
databases with them, so a function has the same rights everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets.identifiers import quote
from sluice.postgres.connection import READER, run_script, take_role, transaction
from sluice.postgres.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

OWNER = "sluice_owner"
#: The functions with a database user, and the migration job.
FUNCTIONS = ("split", "load", "finish", "query", "intake", "status", "backup")
MIGRATE = "migrate"
#: Those that create tables: intake declares datasets, backup restores them.
_OWNERS = ("intake", "backup", MIGRATE)
#: Functions that take the owner's role for a transaction: finish declares what it inferred.
_DECLARING = ("finish",)


def role_of(function: str) -> str:
    """Return the role whose rights a function's connections take."""
    return OWNER if function in _OWNERS else f"sluice_{function}"


def user_of(function: str, project: str) -> str:
    """Return the database user of a function: its service account, without the domain that all end in."""
    return f"sluice-{function}@{project}.iam"


def everyone(engine: Engine) -> dict[str, str]:
    """Return the user of an engine as that of all functions, for a database where they share one login."""
    return dict.fromkeys((*FUNCTIONS, MIGRATE), engine.url.username or "")


def prepare(
    engine: Engine, users: Mapping[str, str], scripts: Path, readers: Sequence[str] = ()
) -> list[str]:
    """Create the roles, migrate as the owner of everything, grant the rights; return what was done.

    Args:
        engine: connects as a superuser, or as a member of cloudsqlsuperuser; has no connections yet.
        users: the database user of each function, and of the migration job if it is not a superuser.
        scripts: the folder of `roles.sql` and `grants.sql`.
        readers: the database users of people and groups that read published rows.
    """
    create_roles(engine, users, scripts)
    with transaction(engine) as connection:
        for each in readers:
            connection.exec_driver_sql(f"GRANT {READER} TO {quote(each)}")
    take_role(engine, OWNER)
    engine.dispose()
    done = migrate(engine)
    with transaction(engine) as connection:
        run_script(connection, (scripts / "grants.sql").read_text("utf-8"))
    return done


def create_roles(engine: Engine, users: Mapping[str, str], scripts: Path) -> None:
    """Create the roles that are missing, with what they need in this database, and give users theirs."""
    with transaction(engine) as connection:
        run_script(connection, (scripts / "roles.sql").read_text("utf-8"))
        for function, user in users.items():
            for statement in _memberships(function, user):
                connection.exec_driver_sql(statement)


def _memberships(function: str, user: str) -> Iterator[str]:
    yield f"GRANT {role_of(function)} TO {quote(user)}"
    if function in _DECLARING:
        yield f"GRANT {OWNER} TO {quote(user)} WITH INHERIT FALSE, SET TRUE"
