"""The answer of a query as a picture, and as a page with picture, form and table."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sluice.charts.chart import MAX_ROWS, Caption, make_picture, words

if TYPE_CHECKING:
    from jinja2 import Template

    from sluice.datasets.model import Query
    from sluice.errors import RequestError
    from sluice.postgres.catalog import DatasetVersion

Row = Mapping[str, Any]

#: Rows in the table of a page; the other formats have all rows.
TABLE_ROWS = 1000
#: A page loads nothing from elsewhere and runs no script.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_INPUTS = {"integer": "number", "number": "number", "date": "date", "timestamp": "datetime-local"}


def picture(
    found: DatasetVersion, query: Query, values: Mapping[str, object], rows: Sequence[Row]
) -> str:
    """Return the picture that a query declares, as the text of an SVG file."""
    from sluice.charts.svg import draw  # noqa: PLC0415  # 0.7 s, paid where first used

    return draw(make_picture(query, _caption(found, query, values, rows), rows, values))


def page(
    found: DatasetVersion,
    query: Query,
    given: Mapping[str, str],
    values: Mapping[str, object],
    rows: Sequence[Row],
    *,
    has_more: bool,
) -> str:
    """Return the page of an answer.

    Args:
        found: the dataset.
        query: the query.
        given: the parameters as given.
        values: a value for every parameter.
        rows: the answer, or its first rows.
        has_more: whether the answer has more rows than these.
    """
    caption = _caption(found, query, values, rows)
    pictures, notes = _pictures(query, caption, rows, values) if query.drawing else ((), ())
    return _template().render(
        **_shared(found, query, given),
        caption=caption,
        pictures=pictures,
        notes=notes,
        tables=_tables(query, rows),
        count=len(rows),
        has_more=has_more,
        table_rows=TABLE_ROWS,
    )


def refusal(
    found: DatasetVersion, query: Query, given: Mapping[str, str], error: RequestError
) -> str:
    """Return the page of an invalid request: the error and the form."""
    return _template().render(**_shared(found, query, given), problem=error.detail)


def _shared(found: DatasetVersion, query: Query, given: Mapping[str, str]) -> dict[str, object]:
    url = f"/v1/datasets/{found.dataset.name}/queries/{query.name}"
    kinds = ("json", "csv", "parquet", *(("svg",) if query.drawing else ()))
    return {
        "dataset": found.dataset,
        "query": query,
        "given": given,
        "inputs": _INPUTS,
        "url": url,
        "links": {kind: f"{url}?{urlencode({**given, 'format': kind})}" for kind in kinds},
        "freshness": found,
    }


def _caption(
    found: DatasetVersion, query: Query, values: Mapping[str, object], rows: Sequence[Row]
) -> Caption:
    shown = [f"{name} = {_shown(each)}" for name, each in values.items() if each is not None]
    notes = (f"of the first {MAX_ROWS:,} rows",) if len(rows) >= MAX_ROWS else ()
    title = query.summary.rstrip(".")
    return Caption(title, " · ".join([found.dataset.name, *shown]), notes)


def _shown(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else _cell(value)


def _pictures(
    query: Query, caption: Caption, rows: Sequence[Row], values: Mapping[str, object]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a picture for wide and one for narrow pages, in the page's colours, and its notes."""
    from sluice.charts import svg as plotting  # noqa: PLC0415  # 0.7 s, paid where first used

    made = make_picture(query, caption, rows, values)
    drawn = {}
    for name, width_in in (("wide", plotting.WIDE_IN), ("narrow", plotting.NARROW_IN)):
        text = plotting.draw(made, width_in, has_caption=False)
        for colour in ("INK", "SOFT", "LINE", "PAPER"):
            text = text.replace(getattr(plotting, colour), f"var(--{colour.lower()})")
        drawn[name] = text[text.index("<svg") :]
    return drawn, made.caption.notes


def _tables(query: Query, rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return the tables: the rows, or of a single object its values and then its lists."""
    if query.returns != "one" or len(rows) != 1:
        return [_table("", rows[:TABLE_ROWS])]
    lists = {name: each for name, each in rows[0].items() if _is_rows(each)}
    plain = [{"": words(n), "value": each} for n, each in rows[0].items() if n not in lists]
    return [_table("", plain), *(_table(words(n), each[:TABLE_ROWS]) for n, each in lists.items())]


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(e, Mapping) for e in value)


def _table(name: str, rows: Sequence[Row]) -> dict[str, object]:
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [
        all(isinstance(row.get(c), int | float | None) or _is_decimal(row.get(c)) for row in rows)
        for c in columns
    ]
    return {"name": name, "columns": [words(c) for c in columns], "numeric": numeric, "rows": cells}


def _is_decimal(value: object) -> bool:
    return type(value).__name__ == "Decimal"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat(sep=" ")
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # noqa: PLC0415  # paid where first used

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("answer.html")
