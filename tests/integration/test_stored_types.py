"""The definitions of stored types against PostgreSQL's catalog."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from sluice.datasets.types import STORED_TYPES


@pytest.mark.parametrize("name", sorted({each.name for each in STORED_TYPES.values()}))
def test_postgresql_knows_a_stored_type_by_its_names_and_number(
    name: str, engine: sa.Engine
) -> None:
    stored = STORED_TYPES[name]
    sql = sa.text("SELECT CAST(to_regtype(:name) AS oid), format_type(to_regtype(:name), NULL)")
    with engine.connect() as connection:
        oid, full_name = connection.execute(sql, {"name": name}).one()
    assert (oid, full_name) == (stored.oid, stored.full_name or stored.name)
