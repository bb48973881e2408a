"""Writes what was inferred as a declaration: the text of a `dataset.toml`, and the JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from sluice.csv.dialects import Dialect
from sluice.datasets.declarations import NOT_TOML
from sluice.inference.toml import toml_comment, toml_line, toml_table, toml_value
from sluice.inference.typing.columns import InferredColumn


class Finding(Protocol):
    """Why a key of the dialect has its value."""

    @property
    def key(self) -> str:
        """The key."""

    @property
    def reason(self) -> str:
        """The reason, as a sentence without a point."""


class Detected(Protocol):
    """The dialect of a file, as `sluice.inference.detection.dialects` detects it."""

    @property
    def dialect(self) -> Dialect:
        """The dialect."""

    @property
    def evidence(self) -> Sequence[Finding]:
        """Why it is this one."""

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should look at."""


def dataset_document(
    name: str,
    detection: Detected,
    columns: Sequence[InferredColumn],
    policies: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON document of an inferred dataset, as `PUT /v1/datasets/{dataset}` takes it.

    Args:
        name: of the dataset.
        detection: the dialect.
        columns: the columns.
        policies: further keys, such as `ragged`.
    """
    given = {} if _is_detected_again(policies) else _dialect_keys(detection.dialect)
    return {
        "name": name,
        **given,
        **(policies or {}),
        "columns": [dict(each.document) for each in columns],
    }


def dataset_toml(
    name: str,
    detection: Detected,
    columns: Sequence[InferredColumn],
    policies: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a `dataset.toml` that declares the same, with the evidence as comments."""
    mark = "# " if _is_detected_again(policies) else ""
    lines = [*toml_comment((f"Dataset {name}, inferred from a file", *detection.warnings))]
    for key, value in _dialect_keys(detection.dialect).items():
        reasons = [each.reason for each in detection.evidence if each.key == key]
        lines += [*toml_comment(reasons), f"{mark}{toml_line(key, value)}"]
    lines += [toml_line(key, value) for key, value in (policies or {}).items()]
    lines += _proposed_key(columns)
    for column in columns:
        lines += ["", "[[columns]]", *toml_comment(column.evidence)]
        lines += [toml_line(key, value) for key, value in column.document.items()]
        lines += [f"# {each}" for each in column.proposals]
    return "\n".join(lines) + "\n"


def _is_detected_again(policies: Mapping[str, Any] | None) -> bool:
    """Whether each file's dialect is detected, so that the declaration states none."""
    return (policies or {}).get("dialect") == "detect"


def document_toml(document: Mapping[str, Any]) -> str:
    """Return the `dataset.toml` of a document, without its SQL texts."""
    tables = ("columns", "aliases")
    keys = {k: v for k, v in document.items() if k not in (*NOT_TOML, *tables)}
    lines = [toml_line(key, value) for key, value in keys.items()]
    for column in document.get("columns", ()):
        lines += toml_table("[[columns]]", column)
    for route, alias in document.get("aliases", {}).items():
        lines += toml_table(f"[aliases.{toml_value(route)}]", alias)
    for name, projection in document.get("projections", {}).items():
        if isinstance(projection, dict):
            lines += toml_table(f"[projections.{name}]", projection)
    return "\n".join(lines) + "\n"


def _dialect_keys(dialect: Dialect) -> dict[str, Any]:
    """Return the keys that differ from what a dataset without them has."""
    given = {each.name: getattr(dialect, each.name) for each in fields(Dialect)}
    return {
        each.name: given[each.name] for each in fields(Dialect) if given[each.name] != each.default
    }


def _proposed_key(columns: Sequence[InferredColumn]) -> list[str]:
    """Return the first column whose values are unique as a key, which a person may want."""
    unique = next((each.document["name"] for each in columns if each.is_unique), None)
    if unique is None:
        return []
    reason = f"Each row has its own {unique}; a key, with required = true, keeps it unique"
    return [*toml_comment([reason]), f"# {toml_line('key', [unique])}"]
