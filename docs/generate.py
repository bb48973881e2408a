"""Generates the tables of the documentation from the code: `python docs/generate.py`.

Replaces the text between `<!-- generated: NAME -->` and `<!-- end: NAME -->`, and nothing else. The page
`docs/cli.md` is generated completely, by `sluice.cli.reference`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "shared"))

import sluice  # noqa: E402
from sluice.api.routes.documentation import operations  # noqa: E402
from sluice.cli.reference import render as cli_reference  # noqa: E402
from sluice.datasets.declarations import read_folders  # noqa: E402
from sluice.datasets.model import Dangling, Dataset, Parameter, Query  # noqa: E402
from sluice.datasets.types import TYPES  # noqa: E402
from sluice.documents.roles import Role  # noqa: E402
from sluice.errors import FileError, SluiceError, TransientError  # noqa: E402
from sluice.routes import ROUTES  # noqa: E402
from sluice.settings import PREFIX, Settings  # noqa: E402

PAGES = ("docs/api.md", "docs/datasets.md", "docs/security.md", "docs/settings.md")
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)

_GRANT = re.compile(
    r"^GRANT ([A-Z, ]+) ON\s+((?:sluice\.|ALL TABLES)[^;]+?)\s+TO ([^;]+);", re.MULTILINE
)
_ALL_TABLES = re.compile(r"ALL TABLES IN SCHEMA (\w+)")
ROLES = tuple(f"sluice_{each}" for each in ("split", "load", "finish", "query", "status", "reader"))


def settings_table() -> str:
    """Return all settings with their defaults."""
    rows = [
        (f"`{PREFIX}{each.name.upper()}`", _default(each.default), each.metadata["unit"],
         each.metadata["sentence"])
        for each in fields(Settings)
    ]  # fmt: skip
    return _table(("Variable", "Default", "Unit", "Meaning"), rows)


def types_table() -> str:
    """Return the grammar of each column type, with cells inside and outside it."""
    rows = [
        (f"`{each.name}`", " ".join(f"`{each.stored.name}`" for _ in each.suffixes[:1]),
         _cells(each.accepted), _cells(each.refused), each.note)
        for each in TYPES.values()
    ]  # fmt: skip
    table = _table(("Type", "Stored as", "Accepted", "Rejected", "Notes"), rows)
    grammars = "".join(
        f"{each.name:<10} {each.grammar or 'RFC 8259, which is no regular language'}\n"
        for each in TYPES.values()
    )
    return f"{table}\nThe same as regular expressions:\n\n```text\n{grammars}```\n"


def _cells(cells: Iterable[str]) -> str:
    shown = [each.replace("|", "\\|").replace("\n", "\u23ce") for each in cells if each.strip()]
    return ", ".join(f"`{each}`" for each in shown)


def routes_table() -> str:
    """Return every route."""
    rows = [
        (
            f"`{each.route.method} {each.route.path}`",
            f"`{each.route.function}`",
            f"`{each.route.role}`",
            each.summary,
        )
        for each in operations()
    ]
    return _table(("Route", "Function", "Role", "What it does"), rows)


def rights_table() -> str:
    """Return which role may call which route."""
    rows = [
        (
            f"`{each.method} {each.path}`",
            *("yes" if role.includes(each.role) else "" for role in Role),
        )
        for each in ROUTES
    ]
    return _table(("Route", *map(str, Role)), rows)


def grants_table() -> str:
    """Return what the role of each function may do with which tables."""
    granted = grants()
    tables = sorted({table for table, _ in granted})
    rows = [
        (f"`{table}`", *(", ".join(sorted(granted.get((table, role), ()))) for role in ROLES))
        for table in tables
    ]
    return _table(("Tables", *(role.removeprefix("sluice_") for role in ROLES)), rows)


def grants() -> dict[tuple[str, str], set[str]]:
    """Return the rights that `grants.sql` grants, by table, or schema and asterisk, and role."""
    found: dict[tuple[str, str], set[str]] = {}
    script = (ROOT / "terraform" / "migrate" / "grants.sql").read_text("utf-8")
    for rights, tables, roles in _GRANT.findall(script):
        for table in _names_in(_ALL_TABLES.sub(r"\1.*", tables)):
            for role in _names_in(roles):
                found.setdefault((table, role), set()).update(_names_in(rights.lower()))
    return found


def _names_in(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]


def errors_table() -> str:
    """Return all error codes that are raised."""
    rows = [
        (f"`{each.code}`", str(each.status), each.title, "yes" if _is_transient(each) else "",
         _first_sentence(each.__doc__) + _remedy(each))
        for each in errors()
    ]  # fmt: skip
    return _table(("Code", "HTTP", "Title", "Retryable", "When"), rows)


def _remedy(error: type[SluiceError]) -> str:
    """Return the sentence of what to do about a file that fails."""
    if not issubclass(error, FileError):
        return ""
    remedy = error.remedy.format(ingestion="N")
    return f" {remedy[0].upper()}{remedy[1:]}."


def datasets_table() -> str:
    """Return all datasets with their queries and the legacy routes that they serve."""
    rows = [
        (f"`{each.name}`", each.description, _names(query.name for query in each.queries),
         _names(f"{alias.method} {alias.path}" for alias in each.aliases))
        for each in _datasets()
    ]  # fmt: skip
    return _table(("Dataset", "Content", "Queries", "Legacy routes"), rows)


def files_table() -> str:
    """Return the file format of each dataset, and its policies for keys and references."""
    rows = [
        (f"`{each.name}`", "yes" if each.dialect.header else "no",
         ", ".join(f"`{column.headers[0]}`" + "!" * column.required for column in each.columns),
         _names(each.key), each.duplicates.value if each.key else "each counts", _references(each))
        for each in _datasets()
    ]  # fmt: skip
    head = ("Dataset", "Header", "Columns (! is required)", "Key", "Duplicates", "Refers to")
    return _table(head, rows)


def queries_table() -> str:
    """Return all named queries with their parameters, drawing and verb."""
    rows = [
        (f"`{dataset.name}`", f"`{query.name}`", query.summary, _parameters(query),
         query.drawing.kind if query.drawing else "", f"`sluice {query.verb}`" if query.verb else "")
        for dataset in _datasets()
        for query in dataset.queries
    ]  # fmt: skip
    return _table(("Dataset", "Query", "Answers", "Parameters", "Drawn as", "Command"), rows)


def errors() -> list[type[SluiceError]]:
    """Return the error classes that are raised, in order of their codes.

    Base classes that only name a group are not included.
    """
    text = "\n".join(path.read_text("utf-8") for path in ROOT.glob("shared/sluice/**/*.py"))
    _import_all()
    found: dict[str, type[SluiceError]] = {}
    for each in sorted(
        set(_subclasses(SluiceError)) - {SluiceError}, key=lambda kind: len(kind.__mro__)
    ):
        if re.search(rf"(?<!class )\b{each.__name__}\(", text):
            found.setdefault(each.code, each)
    return [found[code] for code in sorted(found)]


def render(text: str) -> str:
    """Return a page with its tables regenerated."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def pages() -> dict[Path, str]:
    """Return all generated pages."""
    found = {ROOT / name: render((ROOT / name).read_text("utf-8")) for name in PAGES}
    return {**found, ROOT / "docs" / "cli.md": cli_reference()}


def main() -> None:
    """Write the pages that changed."""
    for path, text in pages().items():
        if path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


#: The effect of a dangling reference.
DANGLING = {Dangling.REJECT: "else rejected", Dangling.WARN: "else a warning"}

TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "rights": rights_table,
    "grants": grants_table,
    "routes": routes_table,
    "types": types_table,
    "errors": errors_table,
    "datasets": datasets_table,
    "files": files_table,
    "queries": queries_table,
}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(map(_cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(value: object) -> str:
    return "" if value == "" else f"`{value}`"


def _datasets() -> list[Dataset]:
    return read_folders(ROOT / "sql" / "datasets")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def _references(dataset: Dataset) -> str:
    found = [each for each in dataset.columns if each.references]
    return ", ".join(f"`{each.references}`: {DANGLING[each.dangling]}" for each in found)


def _parameters(query: Query) -> str:
    return ", ".join(_parameter(each) for each in query.parameters)


def _parameter(each: Parameter) -> str:
    mark = " (required)" if each.required else "" if each.default is None else f"={each.default}"
    return f"`{each.name}`{mark}" if each.required else f"`{each.name}{mark}`"


def _first_sentence(text: str | None) -> str:
    return re.split(r"(?<=\.)\s", (text or "").strip(), maxsplit=1)[0]


def _is_transient(each: type[SluiceError]) -> bool:
    return issubclass(each, TransientError)


def _subclasses(kind: type[SluiceError]) -> Iterator[type[SluiceError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__.startswith("sluice."):
            yield from _subclasses(each)


def _import_all() -> None:
    for each in pkgutil.walk_packages(sluice.__path__, "sluice."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)


if __name__ == "__main__":
    main()
