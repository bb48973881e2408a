"""Inference as a dry run: what loading a file would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.bodies import MAX_DATA_BYTES
from sluice.api.operations import Argument, Call, operation
from sluice.api.responses import json_response
from sluice.api.text_schemas import NAME_TEXT
from sluice.csv.dialects import KEYS, Dialect, options_of
from sluice.datasets.identifiers import NAME
from sluice.documents import inference as documents
from sluice.errors import BodyError, NotFoundError, ParameterError
from sluice.inference.declaration import document_toml
from sluice.inference.names import dataset_name
from sluice.postgres.catalog import dataset_version
from sluice.querying.parameters import read_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from werkzeug.wrappers import Response

    from sluice.csv.rejects import Reject
    from sluice.datasets.model import Column, Dataset
    from sluice.inference.dry_run import Declared, DryRun

_SHOWN_CHARACTERS = 200
_OPTION_SCHEMAS: Mapping[type, Mapping[str, object]] = {
    bool: {"type": "string", "enum": ["true", "false"]},
    int: {"type": "integer", "minimum": 0},
}


def _option(key: str) -> Mapping[str, object]:
    return _OPTION_SCHEMAS.get(type(getattr(Dialect(), key)), {"type": "string", "minLength": 1})


_ARGUMENTS = (
    Argument("name", "Name of the file, for messages and for the name of the dataset."),
    Argument(
        "dataset", "Dataset; a declared one is not inferred, its rules are checked.", NAME_TEXT
    ),
    Argument(
        "size_bytes",
        "Size of the complete file, if the body is only its beginning.",
        {"type": "integer", "minimum": 1},
    ),
    Argument("sheet", "Sheet of a workbook; the first one with a value by default."),
    *(Argument(key, "How the file is written; not detected then.", _option(key)) for key in KEYS),
)


@operation(
    "infer",
    "Datasets",
    answer=documents.Inference,
    arguments=_ARGUMENTS,
    body={"type": "string", "format": "binary", "minLength": 1},
    body_type="application/octet-stream",
    max_body_bytes=MAX_DATA_BYTES,
)
def infer(call: Call) -> Response:
    """Infer what loading a file would do: dialect, types, the first rejects. Nothing is loaded.

    The body is the file, or its first megabytes, as it is: compressed, in any encoding.
    """
    from sluice.inference.dry_run import Sample, dry_run  # noqa: PLC0415  # Arrow and DuckDB, paid here

    given = dict(call.arguments)
    data = _data(call)
    file_name = given.pop("name", "") or "file.csv"
    name = given.pop("dataset", "") or dataset_name(file_name.rpartition("/")[2].split(".", 1)[0])
    if not NAME.fullmatch(name):
        raise ParameterError(f"dataset: {name!r} is not a name", parameter="dataset")
    call.caller.check_dataset(name)
    size_bytes = _size(given.pop("size_bytes", ""), data)
    sheet = given.pop("sheet", "")
    sample = Sample(data, file_name, size_bytes == len(data), size_bytes, sheet)
    declared = _declared(call, name)
    found = dry_run(sample, name, declared, options_of(given))
    return json_response(_document(name, found, declared))


def _data(call: Call) -> bytes:
    data = call.request.get_data()
    if not data:
        raise BodyError("the body is empty; send the file, or its first bytes")
    return data


def _size(text: str, data: bytes) -> int:
    if not text:
        return len(data)
    number = read_count(text)
    if number is None or number < len(data):
        raise ParameterError(
            f"size_bytes: {text!r} is not a number from {len(data)}, the size of the body, on",
            parameter="size_bytes",
        )
    return number


def _declared(call: Call, name: str) -> Declared | None:
    from sluice.inference.dry_run import Declared  # noqa: PLC0415  # Arrow and DuckDB, paid here

    try:
        with call.snapshot() as connection:
            found = dataset_version(connection, name)
    except NotFoundError:
        return None
    return Declared(found.dataset, {"name": name, **found.document})


def _document(name: str, found: DryRun, declared: Declared | None) -> documents.Inference:
    inferred = found.inferred
    evidence = found.detection.evidence if found.detection else ()
    notes = {each.document["name"]: each.evidence for each in inferred.columns} if inferred else {}
    if declared is not None:
        notes = _changes(declared.dataset, found.dataset)
    return documents.Inference(
        dataset=name,
        is_declared=declared is not None,
        is_complete=found.is_complete,
        dialect=found.dialect.to_json(),
        evidence=[documents.Evidence(each.key, each.value, each.reason) for each in evidence],
        warnings=list(found.detection.warnings) if found.detection else [],
        columns=[_column(each, notes.get(each.name, ())) for each in found.dataset.columns],
        records=found.records,
        rows=found.rows,
        rejected=found.rejected,
        rejects=[_finding(each) for each in found.rejects],
        seconds=round(found.seconds, 3),
        declaration=dict(found.document),
        toml=inferred.toml if inferred else document_toml(found.document),
    )


def _changes(before: Dataset, after: Dataset) -> dict[str, tuple[str, ...]]:
    """Return what a file changes about the columns of a dataset, by their names."""
    types = {each.name: each.type for each in before.columns}
    changes: dict[str, tuple[str, ...]] = {}
    for each in after.columns:
        if each.name not in types:
            changes[each.name] = ("new: the file adds it",)
        elif types[each.name] is not each.type:
            changes[each.name] = (f"changed: {types[each.name]} does not take all cells",)
    return changes


def _column(column: Column, evidence: Sequence[str]) -> documents.InferredColumn:
    return documents.InferredColumn(
        column.name, str(column.type), list(column.headers), list(evidence)
    )


def _finding(reject: Reject) -> documents.Finding:
    value = None if reject.value is None else reject.value[:_SHOWN_CHARACTERS]
    return documents.Finding(
        reject.line, reject.record, reject.column, reject.rule, value, reject.reason
    )


OPERATIONS = (infer,)
