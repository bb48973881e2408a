"""The documentation is current and complete, and its links resolve."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from sluice.cli.main import sluice as commands
from sluice.datasets.aliases import KINDS, parse_alias
from sluice.datasets.box_counts import KEYS
from sluice.datasets.declarations import _COLUMN_KEYS, _DATASET_KEYS, parse_document, read_folder
from sluice.datasets.sql_headers import parse_query, parse_rollup
from sluice.datasets.types import PARAMETER_TYPES, ColumnType
from sluice.errors import DeclarationError
from sluice.routes import ROUTES
from sluice.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text("utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
DECISIONS = (ROOT / "docs" / "decisions.md").read_text("utf-8")
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
DATASETS = (ROOT / "docs" / "datasets.md").read_text("utf-8")
BOX_COUNTS = DATASETS.split("\n### Box counts\n")[1].split("\n## ", maxsplit=1)[0]
API = (ROOT / "docs" / "api.md").read_text("utf-8")
LINK = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text) if name == language]


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def first_cells(text: str) -> list[str]:
    """Return the names in backticks in the first column of the tables of a text."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_generated_tables_are_current(generate: ModuleType) -> None:
    old = [p.name for p, text in generate.pages().items() if p.read_text("utf-8") != text]
    assert old == [], "run python docs/generate.py"


def test_every_generated_table_is_on_a_page(generate: ModuleType) -> None:
    found = {
        name
        for page in generate.PAGES
        for name in re.findall(r"<!-- generated: (\w+) -->", (ROOT / page).read_text("utf-8"))
    }
    assert found == set(generate.TABLES)


def test_every_setting_is_documented() -> None:
    for each in fields(Settings):
        assert f"| `SLUICE_{each.name.upper()}` |" in SETTINGS


def test_every_command_is_documented() -> None:
    assert [name for name in commands.commands if f"`sluice {name}`" not in CLI] == []


def test_every_route_is_documented() -> None:
    assert [r.path for r in ROUTES if f"`{r.method} {r.path}`" not in API] == []


def test_every_error_code_that_is_raised_is_documented(generate: ModuleType) -> None:
    codes = [each.code for each in generate.errors()]
    assert len(codes) == len(set(codes)) > 30
    assert [code for code in codes if f"| `{code}` |" not in API] == []


def test_no_two_errors_share_a_code(generate: ModuleType) -> None:
    own = [
        each.code
        for each in set(generate._subclasses(generate.SluiceError))
        if "code" in vars(each) and each.__module__ != "sluice.local.pubsub.errors"
    ]
    assert sorted(own) == sorted(set(own))


def test_every_key_of_a_dataset_is_documented() -> None:
    assert set(first_cells(section(DATASETS, "dataset.toml"))) == set(_DATASET_KEYS)


def test_every_key_and_type_of_a_column_is_documented() -> None:
    found = first_cells(section(DATASETS, "A column"))
    assert sorted(found) == sorted([*_COLUMN_KEYS, *ColumnType])


def test_every_key_of_box_counts_is_documented() -> None:
    found = first_cells(BOX_COUNTS)
    assert [each for each in found if not each.startswith("...")] == list(KEYS)


def test_the_error_of_box_counts_in_the_docs_is_raised(tmp_path: Path) -> None:
    folder = tmp_path / "deliveries"
    folder.mkdir()
    (toml,) = blocks(BOX_COUNTS, "toml")
    (folder / "dataset.toml").write_text(toml.replace('time = "at"', 'time = "parcels"'))
    assert blocks(BOX_COUNTS, "text") == [f"{error_of(folder)}\n"]


def test_every_type_of_a_parameter_is_documented() -> None:
    text = section(DATASETS, "queries/*.sql")
    assert [each for each in PARAMETER_TYPES if f"`{each}`" not in text] == []


def test_the_declarations_in_the_docs_are_valid() -> None:
    shown = [tomllib.loads(block) for block in blocks(DATASETS, "toml")]
    assert shown
    for document in shown:
        if "columns" in document:
            assert parse_document({"name": "people", **document}).columns


def test_the_aliases_in_the_docs_are_valid_and_cover_all_kinds() -> None:
    aliases = section(DATASETS, "Aliases")
    (shown,) = [tomllib.loads(block)["aliases"] for block in blocks(aliases, "toml")]
    assert {parse_alias(*each).kind for each in shown.items()} == set(KINDS)
    assert [kind for kind in KINDS if f"| `{kind}` |" not in aliases] == []


def test_the_queries_and_rollups_in_the_docs_are_valid() -> None:
    query = blocks(section(DATASETS, "queries/*.sql"), "sql")[0]
    rollup = blocks(section(DATASETS, "rollups/*.sql"), "sql")[0]
    assert [each.name for each in parse_query("shown", query).parameters] == ["datasource", "limit"]
    assert parse_rollup("shown", rollup).keys == ("region", "week")


def test_the_errors_in_the_docs_are_those_that_are_raised(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    (folder / "queries").mkdir(parents=True)
    toml, query = folder / "dataset.toml", folder / "queries" / "largest.sql"
    raised = []
    for line in ('typ = "date"', 'type = "datum"'):
        toml.write_text(f'[[columns]]\nname = "born"\n{line}\n')
        raised.append(error_of(folder))
    toml.write_text('[[columns]]\nname = "born"\ntype = "date"\n')
    query.write_text("-- The largest.\n-- param limit integer = 5 (1..x): Most.\nSELECT 1\n")
    raised.append(error_of(folder))
    shown = blocks(section(DATASETS, "Errors"), "text")[0].splitlines()
    assert len(shown) == len(raised)
    for line, message in zip(shown, raised, strict=True):
        assert message.startswith(line.removesuffix("..."))


def error_of(folder: Path) -> str:
    with pytest.raises(DeclarationError) as caught:
        read_folder(folder)
    return caught.value.detail


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["local"]]
    names = [re.split(r"[\[><=~!;]", each, maxsplit=1)[0] for each in wanted]
    assert [name for name in names if f"`{name}`" not in DEPENDENCIES] == []


def test_every_decision_has_at_most_six_lines() -> None:
    decisions = [each for each in DECISIONS.split("\n\n") if each.startswith("**")]
    assert len(decisions) > 10
    for each in decisions:
        assert each.count("\n") < 6, each
        assert re.search(r"Context:.*\sChoice:.*\sConsequence:", each, re.DOTALL), each


def test_every_folder_of_the_package_is_described() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    folders = [each.parent for each in (ROOT / "shared" / "sluice").glob("*/__init__.py")]
    assert [
        each.name for each in folders if f"| `shared/sluice/{each.name}/` |" not in architecture
    ] == []


def test_the_readme_is_short() -> None:
    assert README.count("\n") < 200


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text("utf-8"))):
        target, _, anchor = link.partition("#")
        found = (path.parent / target) if target else path
        assert found.exists(), link
        if anchor:
            assert anchor in anchors(found), link


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_paths_that_the_docs_name_exist(path: Path) -> None:
    named = re.findall(r"`((?:sql|docs|tests|shared|functions)/[\w./]+)`", path.read_text("utf-8"))
    assert [each for each in named if not (ROOT / each).exists()] == []
