"""Reads declarations of datasets from files: a dataset.toml, or a folder that has one and SQL files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice.datasets.declarations import SQL_KEYS, folder_document
from sluice.errors import DeclarationError


def read_declaration(path: Path, dataset: str, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON document of a declaration.

    Args:
        path: of a dataset.toml, or of a folder.
        dataset: its name.
        current: the current declaration; a dataset.toml alone keeps its SQL.

    Raises:
        DeclarationError: it is not TOML.
    """
    if path.is_dir():
        return {**folder_document(path), "name": dataset}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: is not TOML: {error}") from None
    kept = {key: current[key] for key in SQL_KEYS if key in current}
    projections = kept.get("projections", {})
    texts = {name: each for name, each in projections.items() if isinstance(each, str)}
    tables = document.get("projections", {})
    if isinstance(tables, dict) and (tables or projections):
        document["projections"] = {**tables, **texts}
    return {**kept, **document, "name": dataset}
