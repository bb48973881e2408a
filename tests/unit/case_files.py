"""Reads small files as loading does, and states all that was understood of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sluice.csv.decompression import Expansion, read_content
from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import RECORD_COLUMN
from sluice.inference.dry_run import Declared, DryRun, Sample, dry_run
from sluice.inference.inferred import infer_declaration, malformed_policies
from sluice.inference.typing.observations import merge_all
from sluice.inference.typing.records import observe_records
from sluice.parsing.layout import header_names, lay_out_names
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from sluice.csv.rejects import Reject

WHOLE = 1 << 20


@dataclass(frozen=True)
class Understood:
    """What was understood of a file.

    Attributes:
        columns: each as `name type key=value`.
        rows: their values as JSON has them; those without a JSON type as text.
        rejects: line, rule and column.
        reasons: of the rejects.
    """

    columns: list[str]
    rows: list[list[object]]
    rejects: list[list[object]]
    reasons: list[str]


def run(data: bytes, declared: Mapping[str, Any] | None = None) -> DryRun:
    """Do what loading a file would do."""
    document = {"name": "box", **(declared or {})}
    known = None if declared is None else Declared(parse_document(document), document)
    sample = Sample(data, "a.csv", is_complete=True, size_bytes=len(data))
    return dry_run(sample, "box", known, {}, max_rejects=10_000)


def understand(data: bytes, ran: DryRun, chunk_bytes: int = WHOLE) -> Understood:
    """Split, observe, decide and parse a file of a known dialect in chunks of a size."""
    content = b"".join(read_content(iter([data]), "a.csv", len(data), Expansion()).blocks)
    splitter = Splitter(ran.dialect, chunk_bytes)
    cuts = [*splitter.feed(content), *splitter.finish()]
    chunks = [(content[each.first_byte : each.end_byte], each) for each in cuts]
    names = None if splitter.header is None else header_names(splitter.header, ran.dialect)
    document = ran.inferred.document if ran.inferred else {}
    if ran.detection and ran.inferred:
        width = ran.detection.width if names is None else len(names)
        observed = [
            observe_records(
                bytes_, ran.dialect, width, cut.first_record, malformed_policies(None), names
            )
            for bytes_, cut in chunks
        ]
        document = infer_declaration("box", ran.detection, names, merge_all(observed)).document
    dataset = parse_document(document)
    layout = lay_out_names(dataset, names, ran.dialect, is_detected=True)
    rows: list[list[object]] = []
    rejects: list[Reject] = []
    for bytes_, cut in chunks:
        place = {"first_line": cut.first_line, "first_record": cut.first_record}
        with parse_chunk(bytes_, dataset, layout, **place, is_numbered=True) as parsed:
            found = parsed.rows.drop_columns([RECORD_COLUMN]).to_pylist()
            numeric = {each.name for each in dataset.fields if each.stored.name == "numeric"}
            rows += [[_value(each, key in numeric) for key, each in row.items()] for row in found]
            rejects += parsed.rejects
    return Understood(
        [shown(each) for each in document["columns"]],
        rows,
        [[each.line, each.rule] for each in rejects],
        [each.reason for each in rejects],
    )


def shown(column: Mapping[str, Any]) -> str:
    """Return a column as `name type key=value`, without its header."""
    keys = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in column.items()
        if key not in ("name", "type", "header")
    ]
    return " ".join((column["name"], column["type"], *keys))


def _value(value: object, is_numeric: bool) -> object:
    if is_numeric and value is not None:
        return f"{Decimal(str(value)):f}"
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def dialect_keys(dialect: Dialect) -> dict[str, object]:
    """Return the keys of a dialect that are not the default."""
    default = Dialect().to_json()
    return {key: value for key, value in dialect.to_json().items() if value != default[key]}
