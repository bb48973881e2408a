"""Pages for readers: the answer of a query with picture, form and table; the rows of a dataset."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sluice.charts.chart import MAX_ROWS, Caption, make_picture, words
from sluice.escaping import printable

if TYPE_CHECKING:
    from jinja2 import Template

    from sluice.datasets.model import Query
    from sluice.errors import RequestError
    from sluice.postgres.catalog import DatasetVersion
    from sluice.querying.rows import RowsRequest

Row = Mapping[str, Any]

#: Rows in the table of a page; the other formats have all rows.
TABLE_ROWS = 1000
#: Rows of a page of rows where the client sets no limit.
PAGE_ROWS = 100
_MAX_CELL = 2000
_NUMBERS = ("smallint", "integer", "bigint", "double precision", "numeric")
#: How cells of a PostgreSQL type are shown.
_KINDS = {"text": "text", **dict.fromkeys(_NUMBERS, "number")}
_INPUTS = {"integer": "number", "number": "number", "date": "date", "timestamp": "datetime-local"}


def shortened(row: Sequence[object]) -> list[object]:
    """Return a row with texts that are hardly longer than a page shows them."""
    return [each[: _MAX_CELL + 1] if isinstance(each, str) else each for each in row]


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
    return _render(
        "answer.html",
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
    return _render("answer.html", **_shared(found, query, given), problem=error.detail)


def rows_page(
    found: DatasetVersion,
    wanted: RowsRequest,
    arguments: Iterable[tuple[str, str]],
    rows: Sequence[Sequence[object]],
    cursor: str | None,
) -> str:
    """Return a page of the rows of a dataset.

    Args:
        found: the dataset.
        wanted: the request.
        arguments: the pairs of its query string.
        rows: the rows of this page.
        cursor: that of the following page, if there is one.
    """
    base = f"/v1/datasets/{found.dataset.name}/rows"
    kept = [pair for pair in arguments if pair[0] not in ("cursor", "format")]
    links = {
        "first": _rows_url(base, kept) if wanted.after else None,
        "next": _rows_url(base, [*kept, ("cursor", cursor)]) if cursor else None,
        "formats": {
            kind: _rows_url(base, [p for p in kept if p[0] != "limit"], kind)
            for kind in ("spreadsheet", "ndjson", "parquet")
        },
    }
    return _render(
        "rows.html",
        dataset=found.dataset,
        freshness=found,
        summary=_summary(len(rows), is_first=not wanted.after, has_more=cursor is not None),
        columns=_row_columns(wanted, base, kept),
        rows=[[_short(_cell(value)) for value in row] for row in rows],
        links=links,
    )


def _rows_url(base: str, arguments: Sequence[tuple[str, str]], kind: str = "html") -> str:
    return f"{base}?{urlencode([*arguments, ('format', kind)])}"


def _summary(count: int, *, is_first: bool, has_more: bool) -> str:
    if count == 0:
        return "No rows" if is_first else "No further rows"
    rows = f"{count:,} row" + ("" if count == 1 else "s")
    if is_first:
        return f"The first {rows}" if has_more else rows
    return f"The next {rows}" if has_more else f"The last {rows}"


def _row_columns(
    wanted: RowsRequest, base: str, kept: Sequence[tuple[str, str]]
) -> list[dict[str, object]]:
    """Return the columns with their types, and the link that orders the rows by each."""
    declared = {f.name: str(c.type) for c in wanted.dataset.columns for f in c.fields}
    first = wanted.order.terms[0] if wanted.has_order else None
    others = [pair for pair in kept if pair[0] != "order"]
    columns: list[dict[str, object]] = []
    for each in wanted.fields:
        is_first = first is not None and first.column.name == each.name
        is_descending = is_first and first is not None and first.is_descending
        order = f"{each.name}.desc" if is_first and not is_descending else each.name
        columns.append(
            {
                "name": each.name,
                "type": declared.get(each.name, each.postgres_type),
                "kind": _KINDS.get(each.postgres_type, "other"),
                "sorted": ("descending" if is_descending else "ascending") if is_first else "",
                "link": _rows_url(base, [*others, ("order", order)]),
            }
        )
    return columns


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CELL else f"{text[:_MAX_CELL]}…"


def _shared(found: DatasetVersion, query: Query, given: Mapping[str, str]) -> dict[str, object]:
    url = f"/v1/datasets/{found.dataset.name}/queries/{query.name}"
    kinds = ("json", "spreadsheet", "parquet", *(("svg",) if query.drawing else ()))
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
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) for e in value)


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


def _render(template: str, **values: object) -> str:
    return printable(_template(template).render(**values))


@functools.cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader  # noqa: PLC0415  # paid where first used

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(name)
