"""A request that an alias serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.api.operations import Call
    from sluice.datasets.aliases import Alias
    from sluice.datasets.model import Dataset


@dataclass(frozen=True)
class Hit:
    """A request that an alias serves.

    Attributes:
        variables: the texts of the path's variable segments, by name.
    """

    call: Call
    dataset: Dataset
    alias: Alias
    variables: Mapping[str, str]
