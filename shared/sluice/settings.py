"""The settings of the functions: one table, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from sluice.errors import SettingError

PREFIX = "SLUICE_"
MIB = 1024 * 1024
#: Values of the setting `authentication`.
REQUIRED, NO_AUTHENTICATION = "required", "none"
#: Values of the setting `token_signatures`.
VERIFY, CLOUD_RUN = "verify", "cloud-run"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _setting(default: object, sentence: str, unit: str = "") -> Any:
    return field(default=default, metadata={"sentence": sentence, "unit": unit})


@dataclass(frozen=True)
class Settings:
    """All settings; each function reads those it needs.

    The environment variable of a field is `SLUICE_` and its name in capitals.
    """

    project: str = _setting("local", "Google Cloud project of the topics and buckets.")
    name_prefix: str = _setting(
        "",
        "What the names of topics and subscriptions begin with, before a dash, where deployments share a"
        " project.",
    )
    inbox: str = _setting("inbox", "Bucket to which CSV files are uploaded.")
    outbox: str = _setting("outbox", "Bucket of outputs, rejects and backups.")
    database_url: str = _setting("", "SQLAlchemy URL of PostgreSQL; used if no instance is set.")
    database_instance: str = _setting(
        "", "Cloud SQL instance as project:region:name; connected to with the Cloud SQL connector."
    )
    database_name: str = _setting("sluice", "Database of the Cloud SQL instance.")
    database_user: str = _setting(
        "", "User that logs in to PostgreSQL; in Cloud SQL, that of the function's service account."
    )
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
    max_content_bytes: int = _setting(
        64 * 1024 * MIB, "Maximum size of the content of a compressed file or workbook.", "bytes"
    )
    max_expansion: int = _setting(
        250,
        "Maximum ratio of the content of a compressed file or workbook to its size; content of 64 MiB is"
        " always allowed.",
    )
    max_rejects: int = _setting(
        100_000,
        "Maximum number of rejects of a chunk, and of a file less than ten times as many of whose rows are"
        " read, those of keys and references included; a file with more fails.",
        "rejects",
    )
    files_at_once: int = _setting(
        8,
        "Number of files of one dataset that are split, loaded and published at the same time; others wait."
        " Those that are loaded by group commit do not count.",
        "files",
    )
    copy_block_bytes: int = _setting(256 * 1024, "Size of one block of a COPY stream.", "bytes")
    publish_step_rows: int = _setting(
        250_000,
        "Rows with a key, or of a roll-up, that finish handles in one step before it publishes a large file.",
        "rows",
    )
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
        64 * MIB, "Maximum size of the response cache of one instance.", "bytes"
    )
    public_url: str = _setting(
        "http://localhost:8080", "Address at which clients reach the HTTP functions."
    )
    push_service_account: str = _setting(
        "", "Service account of the OIDC token in pushes of client subscriptions."
    )
    authentication: str = _setting(
        "required",
        "`required`: every request needs a key or a Google identity. `none`: any request may do anything; for"
        " the local cloud on the loopback interface only.",
    )
    token: str = _setting(
        "", "Key of a first administrator, who makes the others; empty: there is none."
    )
    audiences: str = _setting(
        "",
        "Audiences of Google identity tokens that are accepted besides the public URL, separated by commas.",
    )
    token_signatures: str = _setting(
        VERIFY,
        "`verify`: the function verifies signatures of Google identity tokens. `cloud-run`: Cloud Run's IAM"
        " does, and passes tokens on without; for functions that nobody may call without it.",
    )
    push_audience: str = _setting(
        "",
        "Audience of the OIDC tokens with which Pub/Sub and Cloud Scheduler call split, load and finish;"
        " empty refuses all.",
    )
    push_callers: str = _setting(
        "",
        "Service accounts of these tokens, separated by commas; empty refuses all.",
    )
    administrators: str = _setting(
        "", "Google identities with the role admin, as e-mails separated by commas."
    )
    requests_per_minute: int = _setting(
        1200,
        "Maximum number of requests of one key or identity, over all functions, unless the key has its own."
        " 0: no limit.",
        "requests per minute",
    )
    requests_at_once: int = _setting(
        8,
        "Maximum number of requests of one key or identity that an instance handles at the same time, streams"
        " of events included; half of its threads where it is deployed. 0: no limit.",
        "requests",
    )
    failures_per_minute: int = _setting(
        60,
        "Maximum number of requests without valid credentials from one address. 0: no limit.",
        "requests per minute",
    )
    forwarded_hops: int = _setting(
        1,
        "How many addresses the platform appends to the header `X-Forwarded-For`, of which the first is the"
        " client's: 2 behind the load balancer, else 1.",
        "addresses",
    )
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
    traces_endpoint: str = _setting(
        "",
        "Where sampled spans are sent, as OTLP over HTTP, such as http://localhost:4318/v1/traces.",
    )


def prefixed(name_prefix: str, name: str) -> str:
    """Return the name that a topic or subscription has in a deployment with this setting `name_prefix`."""
    return f"{name_prefix}-{name}" if name_prefix else name


def listed(text: str) -> list[str]:
    """Return the values of a setting that has several, separated by commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


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
    _check_authentication(settings)
    return settings


def _check_authentication(given: Settings) -> None:
    """Check that nothing but a local cloud goes without authentication."""
    name = f"{PREFIX}AUTHENTICATION"
    if given.authentication not in (REQUIRED, NO_AUTHENTICATION):
        raise SettingError(
            f"{name}: {given.authentication!r} is neither {REQUIRED} nor {NO_AUTHENTICATION}"
        )
    if given.token_signatures not in (VERIFY, CLOUD_RUN):
        raise SettingError(
            f"{PREFIX}TOKEN_SIGNATURES: {given.token_signatures!r} is neither {VERIFY} nor {CLOUD_RUN}"
        )
    is_local = urlsplit(given.public_url).hostname in LOOPBACK and not given.database_instance
    if given.authentication == NO_AUTHENTICATION and not is_local:
        raise SettingError(
            f"{name}: {NO_AUTHENTICATION} is for a local cloud, whose {PREFIX}PUBLIC_URL is on the loopback"
            f" interface and which has no {PREFIX}DATABASE_INSTANCE"
        )
