"""The datasets into which the hostile files are loaded: one for each policy that costs memory or time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Columns of the types whose grammars are the most expensive.
_MIXED = [
    {"name": "id", "type": "integer"},
    {"name": "name", "type": "text"},
    {"name": "amount", "type": "numeric"},
    {"name": "ratio", "type": "float"},
    {"name": "day", "type": "date"},
    {"name": "doc", "type": "json"},
]
#: As many columns as PostgreSQL has, less those of the engine.
WIDTH = 1500
_NUMBER = [{"name": "n", "type": "integer"}]
_TEXT = [{"name": "t", "type": "text"}]
_PAIR = [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]
_KEYED = [{"name": "id", "type": "integer", "required": True}, {"name": "v", "type": "text"}]

DATASETS: tuple[Mapping[str, Any], ...] = (
    {"name": "mixed", "columns": _MIXED},
    {"name": "numbers", "columns": _NUMBER},
    {"name": "texts", "columns": _TEXT},
    {"name": "pairs", "columns": _PAIR},
    {"name": "bare", "columns": _NUMBER, "header": False},
    {"name": "first", "columns": _KEYED, "key": ["id"]},
    {"name": "last", "columns": _KEYED, "key": ["id"], "duplicates": "update"},
    {"name": "unique", "columns": _KEYED, "key": ["id"], "duplicates": "error"},
    {"name": "coded", "columns": [{"name": "t", "type": "text", "dictionary": True}]},
    {"name": "padded", "columns": _PAIR, "ragged": "pad"},
    {"name": "literal", "columns": _PAIR, "stray_quotes": "literal"},
    {"name": "rescued", "columns": _PAIR, "ragged": "rescue", "rescue": True},
    {"name": "commented", "columns": _PAIR, "comment": "#"},
    {"name": "escaped", "columns": _PAIR, "escape": "\\", "comment": "#"},
    {"name": "spaced", "columns": _PAIR, "spaces_around_quotes": True},
    {"name": "long_delimiter", "columns": _PAIR, "delimiter": "||"},
    {"name": "trailing", "columns": _PAIR, "trailing_delimiter": True},
    {"name": "unquoted", "columns": _PAIR, "quote": "", "delimiter": "\t"},
    {"name": "western", "columns": _PAIR, "encoding": "cp1252"},
    {"name": "unicode", "columns": _PAIR, "encoding": "utf-8"},
    {"name": "japanese", "columns": _PAIR, "encoding": "cp932"},
    {"name": "framed", "columns": _PAIR, "skip_lines": 3, "footer_lines": 3},
    {"name": "all_or_nothing", "columns": _NUMBER, "load": "all_or_nothing"},
    {"name": "widened", "columns": _NUMBER, "unfitting": "widen", "new_columns": "add"},
    {"name": "detected", "columns": _PAIR, "dialect": "detect"},
    {
        "name": "patterned",
        "columns": [{"name": "t", "type": "text", "pattern": "(a+)+b", "max_length": 1_000_000}],
    },
    {
        "name": "wide",
        "columns": [{"name": f"c{number}", "type": "text"} for number in range(WIDTH)],
    },
    {
        "name": "wide_padded",
        "columns": [{"name": f"c{number}", "type": "integer"} for number in range(WIDTH)],
        "ragged": "pad",
    },
    {
        "name": "summed",
        "columns": _PAIR,
        "rollups": {
            "each": "-- Rows of each pair.\n-- key: a, b\n-- measure n: sum\n"
            "SELECT a, b, count(*) AS n FROM rows GROUP BY ALL"
        },
    },
)

#: The dataset of the hostile requests.
SERVED: Mapping[str, Any] = {
    "name": "served",
    "description": "Hostile.",
    "key": ["id"],
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
        {"name": "amount", "type": "numeric"},
        {"name": "doc", "type": "json"},
    ],
    "queries": {
        "named": "-- The rows of a name.\n-- param name text!: The name.\n"
        "SELECT id FROM served WHERE name = :name",
        "long": "-- A long answer.\n-- param size integer!: Its size.\n"
        "SELECT repeat('x', :size) AS t FROM served WHERE id = 1",
        "endless": "-- Never ends.\nWITH RECURSIVE steps AS (SELECT 1 AS step UNION ALL"
        " SELECT step FROM steps) SELECT count(*) AS n FROM steps",
        "many": "-- Very many rows.\nSELECT generate_series(1, 100000000) AS n",
        "wide_rows": "-- Rows of a megabyte.\n"
        "SELECT repeat('x', 1000000) AS t FROM generate_series(1, 2000)",
    },
    "aliases": {
        "POST /hostile/upload": {"kind": "upload"},
        "POST /hostile/parts": {"kind": "chunked_upload"},
    },
}
