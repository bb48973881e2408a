"""A declaration that was inferred: from the dialect and from what all cells of a file admit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sluice.inference.columns import InferredColumn, decide
from sluice.inference.declaration import dataset_document, dataset_toml
from sluice.inference.names import name_columns, number_columns

if TYPE_CHECKING:
    from sluice.inference.declaration import Detected
    from sluice.inference.observations import Observations

#: An inferred dataset takes further files as they are: each has its own dialect, may have further columns,
#: and values that widen a type.
POLICIES: Mapping[str, str] = MappingProxyType(
    {"dialect": "detect", "new_columns": "add", "unfitting": "widen"}
)


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
    """
    named = number_columns(len(observations.columns)) if names is None else name_columns(names)
    columns = decide(observations, named)
    return Inferred(
        document=dataset_document(name, detection, columns, POLICIES),
        toml=dataset_toml(name, detection, columns, POLICIES),
        columns=columns,
    )
