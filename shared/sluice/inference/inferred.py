"""A declaration that was inferred: from the dialect and from what all cells of a file admit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sluice.datasets.model import MAX_COLUMNS
from sluice.errors import NotCsvError
from sluice.inference.declaration import dataset_document, dataset_toml
from sluice.inference.names import name_columns, number_columns
from sluice.inference.typing.columns import InferredColumn, decide

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset
    from sluice.inference.declaration import Detected
    from sluice.inference.typing.observations import Observations

#: An inferred dataset takes further files as they are: each has its own dialect, may have further columns,
#: values that widen a type, and quotes inside fields that are not quoted, such as 6'2".
POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "dialect": "detect",
        "stray_quotes": "literal",
        "new_columns": "add",
        "unfitting": "widen",
    }
)


_AS_TEXT = "export the data as CSV in UTF-8, and upload that"


def malformed_policies(dataset: Dataset | None) -> dict[str, str]:
    """Return what happens to malformed records: the keys of the dataset, or those that are inferred."""
    if dataset is None:
        return {"stray_quotes": POLICIES["stray_quotes"]}
    return {"stray_quotes": dataset.stray_quotes, "ragged": dataset.ragged}


def check_inferable(names: Sequence[str] | None, width: int) -> None:
    """Refuse columns that cannot be declared.

    Args:
        names: the header; None where there is none.
        width: the number of columns.

    Raises:
        NotCsvError: a name contains a NUL byte, or there are too many columns.
    """
    if width > MAX_COLUMNS:
        raise NotCsvError(
            f"the file has more than {MAX_COLUMNS:,} columns, the most of a table: upload a file with a row"
            " for each value, or declare the columns that you need, with new_columns = ignore"
        )
    if any("\0" in each for each in names or ()):
        raise NotCsvError(f"the header contains a NUL byte, which text cannot: {_AS_TEXT}")


@dataclass(frozen=True)
class Inferred:
    """An inferred declaration.

    Attributes:
        document: as `PUT /v1/datasets/{dataset}` takes it.
        toml: the same as a `dataset.toml`, with the evidence in comments.
        columns: the columns with their evidence.
    """

    document: dict[str, Any]
    toml: str
    columns: tuple[InferredColumn, ...]


def infer_declaration(
    name: str, detection: Detected, names: Sequence[str] | None, observations: Observations
) -> Inferred:
    """Return the declaration of the dataset of a file.

    Args:
        name: of the dataset.
        detection: the dialect of the file.
        names: its header; None where it has none.
        observations: what its cells admit.

    Raises:
        NotCsvError: there is no record that can be read.
    """
    if names is None and not observations.columns:
        dialect = detection.dialect
        raise NotCsvError(
            f"no record of the file can be read with delimiter {dialect.delimiter!r} and quote"
            f" {dialect.quote!r}: quotes inside fields are not doubled, or bytes are not text; say how the"
            f" file is written (--dialect quote=), or {_AS_TEXT}"
        )
    named = number_columns(len(observations.columns)) if names is None else name_columns(names)
    columns = decide(observations, named)
    return Inferred(
        document=dataset_document(name, detection, columns, POLICIES),
        toml=dataset_toml(name, detection, columns, POLICIES),
        columns=columns,
    )
