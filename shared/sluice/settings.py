"""The settings: one table, read once from the environment; knows nothing of who uses them."""

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
    """Every setting of every function; a function reads only those it needs.

    The environment variable of a field is its name in capitals behind `SLUICE_`.
    """

    project: str = _setting("local", "Google Cloud project that holds topics and buckets.")
    inbox: str = _setting("inbox", "Bucket into which CSV files are dropped.")
    outbox: str = _setting("outbox", "Bucket of outputs, rejects and backups.")
    database_url: str = _setting(
        "", "SQLAlchemy URL of PostgreSQL; used where no instance is named."
    )
    database_instance: str = _setting(
        "", "Cloud SQL instance as project:region:name; reached through the Cloud SQL connector."
    )
    database_name: str = _setting("sluice", "Database inside the Cloud SQL instance.")
    database_user: str = _setting("", "IAM database user of the function's service account.")
    database_ip_type: str = _setting("private", "private, public or psc: the way to the instance.")
    pool_size: int = _setting(
        4, "Connections that one instance of a function keeps.", "connections"
    )
    # Below 32 MiB the C library gives a chunk memory that it had before, and not each page of it anew.
    chunk_bytes: int = _setting(31 * MIB, "Size at which a file is cut into chunks.", "bytes")
    copy_block_bytes: int = _setting(256 * 1024, "Size of one block of a COPY stream.", "bytes")
    statement_timeout_s: float = _setting(
        30.0, "Time after which a query of a client is ended.", "seconds"
    )
    max_rows: int = _setting(
        1_000_000, "Most rows that one answer of the rows route holds.", "rows"
    )
    cache_s: float = _setting(
        60.0,
        "Time for which an answer is kept in memory; a change of what it read replaces it at once."
        " 0 keeps none.",
        "seconds",
    )
    cache_bytes: int = _setting(
        32 * MIB, "Size of all answers that one instance keeps in memory.", "bytes"
    )
    public_url: str = _setting(
        "http://localhost:8080", "Address under which clients reach the HTTP functions."
    )
    push_service_account: str = _setting(
        "", "Service account whose OIDC token the pushes of client subscriptions carry."
    )
    token: str = _setting("", "Bearer token that clients must present; empty means open.")
    sweep_idle_s: float = _setting(
        900.0,
        "Time without progress after which an ingestion's messages are sent again.",
        "seconds",
    )
    log_level: str = _setting("INFO", "Least severity that is logged.")


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
