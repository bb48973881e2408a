"""Loads the named SQL statements of `sql/statements/`.

A file of `sql/statements/` holds statements, each after `-- name: <name>` and a line of prose.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import sluice
from sluice.escaping import escape_all

if TYPE_CHECKING:
    from sqlalchemy import TextClause

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MAY_BE_REFUSED = re.compile(r"\\u(?:0000|d[89a-f])")


@functools.cache
def sql_folder() -> Path:
    """Return the folder `sql/`: next to the package in a bundle, next to `shared/` in a checkout."""
    package = Path(sluice.__file__).resolve().parent
    for folder in (package.parent / "sql", package.parents[1] / "sql"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no sql/ folder next to {package} or {package.parent}")


@functools.cache
def _texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted((sql_folder() / "statements").glob("*.sql")):
        parts = _NAME.split(path.read_text("utf-8"))[1:]
        texts.update(zip(parts[::2], (each.strip() for each in parts[1::2]), strict=True))
    return texts


@functools.cache
def statement(name: str) -> TextClause:
    """Return the statement of that name, ready to execute with its `:parameters`.

    Comment lines are removed first, because SQLAlchemy binds `:word` inside them too.
    """
    lines = _texts()[name].splitlines()
    return composed("\n".join(line for line in lines if not line.lstrip().startswith("--")))


def jsonb(value: object) -> str:
    """Return a JSON value as the text of a `jsonb` parameter; that type refuses NUL and lone surrogates."""
    text = json.dumps(value, default=dict)
    # Most values have neither, and to escape each text of an event costs more than to write them.
    return json.dumps(escape_all(value)) if _MAY_BE_REFUSED.search(text) else text


def composed(sql: str) -> TextClause:
    """Return a statement composed from a declaration, with its `:parameters`."""
    from sqlalchemy import text  # noqa: PLC0415  # 0.2 s, paid where first used

    return text(sql)
