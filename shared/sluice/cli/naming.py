"""Which dataset a file belongs to, when nobody says: the one its folder or its name names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def guess_dataset(path: Path, datasets: Collection[str]) -> str:
    """Return the dataset named by the file's folder, else by its name without suffixes.

    Raises:
        click.UsageError: neither names a dataset.
    """
    folder, stem = path.resolve().parent.name, path.name.split(".", 1)[0]
    for text in (folder, stem):
        name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
        if name in datasets:
            return name
    known = ", ".join(sorted(datasets)) or "none"
    raise click.UsageError(
        f"{path}: neither its folder {folder!r} nor its name {stem!r} is a dataset;"
        f" say which with --dataset (declared: {known})"
    )
