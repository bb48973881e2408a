"""The amounts in docs/cost.md are what the prices and quantities in it come to, and the examples' own."""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

ROOT = Path(__file__).parents[2]
COST = (ROOT / "docs" / "cost.md").read_text("utf-8")
CENT = Decimal("0.01")


def rows(pattern: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = re.findall(pattern, COST, re.MULTILINE)
    assert found
    return found


AMOUNTS = rows(r"^\| (\S.*?) \| ([^*|]+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$")
PRICES = {Decimal(price) for price, _ in rows(r"^\| ([\d.]+) \| ([^|]+?) \| [^|]+ \|$")}


def test_each_amount_is_its_quantity_times_a_price_that_is_listed() -> None:
    for deployment, what, quantity, price, amount in AMOUNTS:
        came_to = (Decimal(quantity) * Decimal(price)).quantize(CENT, ROUND_HALF_UP)
        assert came_to == Decimal(amount), (deployment, what)
        assert Decimal(price) in PRICES, (deployment, what)


def test_sums_are_sums() -> None:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for deployment, *_, amount in AMOUNTS:
        sums[deployment] += Decimal(amount)
    documented = rows(r"^\| (\S.*?) \| \*\*sum\*\* \| \| \| \*\*([\d.]+)\*\* \|$")
    assert {deployment: Decimal(amount) for deployment, amount in documented} == sums


def test_sizes_are_those_of_the_examples() -> None:
    prod = (ROOT / "terraform" / "examples" / "prod.tfvars").read_text("utf-8")
    dev = (ROOT / "terraform" / "examples" / "dev.tfvars").read_text("utf-8")
    variables = (ROOT / "terraform" / "variables.tf").read_text("utf-8")
    assert re.search(r'database_tier += "db-custom-4-15360"', prod)
    assert re.search(r"database_disk_gb += 200\b", prod)
    assert re.search(r"min_api_instances += 1\b", prod)
    assert re.search(r'database_tier += "db-g1-small"', dev)
    assert re.search(r"database_disk_gb += 10\b", dev)
    assert '"db-custom-2-7680"' in variables
