"""Which datasets a query may read, and whether its answer may change by itself; reads its text alone.

An answer may be kept for as long as none of these datasets changes. So too many names cost a little,
and one too few would be a stale answer: every word of the text counts, in strings and comments too.
"""

from __future__ import annotations

import functools
import re

_WORD = re.compile(r"[a-z_][a-z0-9_]*")
#: The function, which counts up to today; an age is a usual column too.
_AGE = re.compile(r"\bage\s*\(", re.IGNORECASE)
#: What gives another value at another time. A word such as `now` in a string costs only the cache.
_CHANGING = frozenset(
    (
        "now", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
        "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday",
        "today", "yesterday", "tomorrow", "random", "random_normal", "gen_random_uuid", "uuidv4",
        "uuidv7", "tablesample", "nextval",
    )
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def words_of(sql: str) -> frozenset[str]:
    """Return every word of a statement, in small letters."""
    return frozenset(_WORD.findall(sql.lower()))


@functools.lru_cache(maxsize=4096)
def names_read(sql: str) -> tuple[str, ...]:
    """Return every name that a dataset read by a statement may have.

    A view bears the dataset's name, or the dataset's and the roll-up's with `_` between them.
    """
    found = set()
    for word in words_of(sql):
        parts = word.split("_")
        found |= {"_".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return tuple(sorted(found - {""}))


def is_lasting(sql: str) -> bool:
    """Tell whether a statement gives the same answer as long as its datasets stay as they are."""
    return not words_of(sql) & _CHANGING and not _AGE.search(sql)
