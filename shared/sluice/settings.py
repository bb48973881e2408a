"""The settings of the functions: one table, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sluice.errors import SettingError

PREFIX = "SLUICE_"
MIB = 1024 * 1024


def _setting(default: object, sentence: str, unit: str = "") -> Any:
    return field(default=default, metadata={"sentence": sentence, "unit": unit})


@dataclass(frozen=True)
class Settings:
    """All settings; each function reads those it needs.

    The environment variable of a field is `SLUICE_` and its name in capitals.
    """

    project: str = _setting("local", "Google Cloud project of the topics and buckets.")
    inbox: str = _setting("inbox", "Bucket to which CSV files are uploaded.")
    outbox: str = _setting("outbox", "Bucket of outputs, rejects and backups.")
    database_url: str = _setting("", "SQLAlchemy URL of PostgreSQL; used if no instance is set.")
    database_instance: str = _setting(
        "", "Cloud SQL instance as project:region:name; connected to with the Cloud SQL connector."
    )
    database_name: str = _setting("sluice", "Database of the Cloud SQL instance.")
    database_user: str = _setting("", "IAM database user of the function's service account.")
    database_role: str = _setting(
        "",
        "Role whose rights every connection takes, such as sluice_owner; empty keeps the user's.",
    )
    database_ip_type: str = _setting(
        "private", "Address of the instance to use: private, public or psc."
    )
    pool_size: int = _setting(4, "Connections kept by one instance of a function.", "connections")
    # Below 32 MiB the C library reuses memory for a chunk instead of mapping new pages.
    chunk_bytes: int = _setting(31 * MIB, "Size at which a file is cut into chunks.", "bytes")
    copy_block_bytes: int = _setting(256 * 1024, "Size of one block of a COPY stream.", "bytes")
    statement_timeout_s: float = _setting(30.0, "Timeout of a client's query.", "seconds")
    max_rows: int = _setting(
        1_000_000, "Maximum number of rows in a response of the rows route.", "rows"
    )
    cache_s: float = _setting(
        60.0,
        "Time for which a response is cached; a change of the data it reads invalidates it immediately."
        " 0 disables the cache.",
        "seconds",
    )
    cache_bytes: int = _setting(
        32 * MIB, "Maximum size of the response cache of one instance.", "bytes"
    )
    public_url: str = _setting(
        "http://localhost:8080", "Address at which clients reach the HTTP functions."
    )
    push_service_account: str = _setting(
        "", "Service account of the OIDC token in pushes of client subscriptions."
    )
    token: str = _setting("", "Bearer token that clients must send; empty disables authentication.")
    recovery_idle_s: float = _setting(
        900.0,
        "Time without progress after which recovery resends an ingestion's messages.",
        "seconds",
    )
    max_attempts: int = _setting(
        10, "Failed attempts of a step after which its ingestion fails.", "attempts"
    )
    give_up_after_s: float = _setting(
        1800.0,
        "Time for which attempts must have failed before a temporary error, such as an outage, fails an"
        " ingestion.",
        "seconds",
    )
    max_resends: int = _setting(
        5,
        "How often recovery resends the messages of an ingestion without progress before the ingestion"
        " fails; the wait doubles each time.",
        "resends",
    )
    log_level: str = _setting("INFO", "Lowest severity that is logged.")


def _parse(name: str, text: str, kind: object) -> object:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise SettingError(f"{PREFIX}{name.upper()}: {text!r} is not a number") from None
    return text


def read_settings(
    environ: Mapping[str, str] = os.environ, *, required: tuple[str, ...] = ()
) -> Settings:
    """Read the settings from the environment.

    Args:
        environ: variables by name.
        required: names of fields that must not be empty.

    Raises:
        SettingError: a required setting is missing, or a number is malformed.
    """
    values = {
        each.name: _parse(each.name, environ[key], each.type)
        for each in fields(Settings)
        if (key := PREFIX + each.name.upper()) in environ
    }
    settings = Settings(**values)  # type: ignore[arg-type]  # parsed by the fields' own types
    missing = [PREFIX + name.upper() for name in required if not getattr(settings, name)]
    if missing:
        raise SettingError(f"{', '.join(missing)}: not set; the function needs it to start")
    return settings
