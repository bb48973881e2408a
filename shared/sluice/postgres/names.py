"""Keeps apart the names of what is made for datasets: tables in `store`, views and functions in `public`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import UNCOMPACTED, Dataset
from sluice.errors import DeclarationError
from sluice.postgres.box_counts_sql import function_names
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: What follows the name of a dataset in the names of the engine.
_RESERVED = ("staging", "replaced", UNCOMPACTED)
#: Names that PostgreSQL and the engine use in `public`.
_PREFIXES = ("pg_", "sluice_")
#: PostgreSQL cuts longer names.
_MAX_BYTES = 63


def _check_new_name(name: str) -> None:
    """Refuse a name that something of the engine, or of another dataset, has or may get."""
    if "__" in name:
        detail = (
            f"{name!r} contains __, which separates the name of a dataset from those of its parts"
        )
        raise DeclarationError(f"{detail}; choose another name", key="name")
    if name.startswith(_PREFIXES):
        used = " and ".join(_PREFIXES)
        raise DeclarationError(f"{name!r} is reserved: names with {used} are", key="name")


def check_names(
    connection: Connection, dataset: Dataset, before: Dataset | None, others: Iterable[Dataset]
) -> None:
    """Refuse a dataset of which a table or view has a name that is taken, reserved or too long.

    Args:
        connection: a transaction that no other declaration runs beside.
        dataset: as it will be.
        before: as it is; None for one whose tables do not exist yet.
        others: the other datasets.

    Raises:
        DeclarationError: names what has the name.
    """
    if before is None:
        _check_new_name(dataset.name)
    names = list(_names(dataset))
    _check_parts(dataset, names)
    taken = {name: other.name for other in others for name in _names(other)}
    for name in names:
        if name in taken:
            what = "view" if name.startswith("public.") else "table"
            raise DeclarationError(f"dataset {taken[name]} has the {what} {name}", key="name")
    known = set() if before is None else set(_names(before))
    new = [each for each in names if each not in known]
    in_use = set(connection.scalars(statement("names_in_use"), {"names": new}))
    if in_use and before is not None:
        in_use -= _earlier_names(connection, dataset.name)
    for found in sorted(in_use):
        raise DeclarationError(
            f"the database has a relation or type {found} already; choose another name", key="name"
        )


def _check_parts(dataset: Dataset, names: Iterable[str]) -> None:
    """Refuse names that are reserved, too long, or needed twice."""
    for part in _parts(dataset):
        if part in _RESERVED:
            raise DeclarationError(f"{part!r} is reserved for the engine", key=part)
    for name, times in Counter(names).items():
        if times > 1:
            raise DeclarationError(f"two parts of the dataset need the name {name}", key="name")
        if len(name.partition(".")[2].strip('"').encode()) > _MAX_BYTES:
            detail = f"{name} is longer than {_MAX_BYTES} bytes; choose a shorter name"
            raise DeclarationError(detail, key="name")


def _earlier_names(connection: Connection, name: str) -> set[str]:
    """Return the names of all versions of a dataset: what is not declared any more stays."""
    versions = connection.scalars(statement("every_version"), {"dataset": name})
    return {each for document in versions for each in _names(parse_document(document))}


def _parts(dataset: Dataset) -> list[str]:
    parts = (dataset.dictionaries, dataset.rollups, dataset.projections)
    return [each.name for kind in parts for each in kind]


def _names(dataset: Dataset) -> Iterator[str]:
    """Yield the quoted names of the tables and views of a dataset."""
    yield identifiers.store_table(dataset.name)
    if dataset.is_staged:
        yield identifiers.staging_table(dataset.name)
    if dataset.key:
        yield identifiers.replaced_table(dataset.name)
    for part in _parts(dataset):
        yield identifiers.rollup_table(dataset.name, part)
    yield identifiers.view(dataset.name)
    for rollup in dataset.rollups:
        yield identifiers.view(dataset.name, rollup.name)
    for projection in dataset.projections:
        yield identifiers.view(dataset.name, projection.name)
    if dataset.projections:
        yield identifiers.view(dataset.name, UNCOMPACTED)
    yield from function_names(dataset)
