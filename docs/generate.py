"""Writes the tables of the documentation from the code: `python docs/generate.py`.

A table stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; what lies between is
replaced, everything else is left alone. `docs/cli.md` is made whole by `sluice.cli.reference`.
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
from sluice.cli.main import sluice as commands  # noqa: E402
from sluice.cli.reference import render as cli_reference  # noqa: E402
from sluice.datasets.declarations import read_folders  # noqa: E402
from sluice.datasets.model import Dangling, Dataset, Parameter, Query  # noqa: E402
from sluice.errors import SluiceError, TransientError  # noqa: E402
from sluice.routes import ROUTES  # noqa: E402
from sluice.settings import PREFIX, Settings  # noqa: E402

PAGES = ("README.md", "docs/api.md", "docs/datasets.md")
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def settings_table() -> str:
    """Return every setting with its default."""
    rows = [
        (f"`{PREFIX}{each.name.upper()}`", _default(each.default), each.metadata["unit"],
         each.metadata["sentence"])
        for each in fields(Settings)
    ]  # fmt: skip
    return _table(("Variable", "Default", "Unit", "Meaning"), rows)


def commands_table() -> str:
    """Return every command of the command line with its sentence."""
    rows = [
        (f"`sluice {name}`", command.get_short_help_str(200))
        for name, command in commands.commands.items()
    ]
    return _table(("Command", "What it does"), rows)


def routes_table() -> str:
    """Return every route that is served, and those that only have their place in the table."""
    functions = {(each.method, each.path): each.function for each in ROUTES}
    served = [(each.method, each.path) for each in operations()]
    rows = [
        (f"`{each.method} {each.path}`", f"`{functions[each.method, each.path]}`", each.summary)
        for each in operations()
    ]
    table = _table(("Route", "Function", "What it does"), rows)
    reserved = [f"`{method} {path}`" for method, path in functions if (method, path) not in served]
    if not reserved:
        return table
    return f"{table}\nReserved, and answered with 404 for now: {', '.join(reserved)}.\n"


def errors_table() -> str:
    """Return every error code that the code raises."""
    rows = [
        (f"`{each.code}`", str(each.status), each.title, "yes" if _is_transient(each) else "",
         _first_sentence(each.__doc__))
        for each in errors()
    ]  # fmt: skip
    return _table(("Code", "HTTP", "Title", "Worth a retry", "When"), rows)


def datasets_table() -> str:
    """Return every dataset with what it answers and the routes of an older system that it serves."""
    rows = [
        (f"`{each.name}`", each.description, _names(query.name for query in each.queries),
         _names(f"{alias.method} {alias.path}" for alias in each.aliases))
        for each in _datasets()
    ]  # fmt: skip
    return _table(("Dataset", "What it holds", "Queries", "Routes of an older system"), rows)


def files_table() -> str:
    """Return what a file of each dataset looks like, and what becomes of its rows."""
    rows = [
        (f"`{each.name}`", "yes" if each.dialect.header else "no",
         ", ".join(f"`{column.headers[0]}`" + "!" * column.required for column in each.columns),
         _names(each.key), each.duplicates.value if each.key else "each counts", _references(each))
        for each in _datasets()
    ]  # fmt: skip
    head = ("Dataset", "Header", "Columns (! is required)", "Key", "Duplicates", "Refers to")
    return _table(head, rows)


def queries_table() -> str:
    """Return every named query with its parameters, its picture and its command."""
    rows = [
        (f"`{dataset.name}`", f"`{query.name}`", query.summary, _parameters(query),
         query.drawing.kind if query.drawing else "", f"`sluice {query.verb}`" if query.verb else "")
        for dataset in _datasets()
        for query in dataset.queries
    ]  # fmt: skip
    return _table(("Dataset", "Query", "Answers", "Parameters", "Drawn as", "Command"), rows)


def errors() -> list[type[SluiceError]]:
    """Return the class of each error code that something raises, in order of the codes.

    Classes that only give a group its name, or are kept for a part to come, are not among them.
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
    """Return a page with its tables made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def pages() -> dict[Path, str]:
    """Return every page as it should be."""
    found = {ROOT / name: render((ROOT / name).read_text("utf-8")) for name in PAGES}
    return {**found, ROOT / "docs" / "cli.md": cli_reference()}


def main() -> None:
    """Write the pages that are not current."""
    for path, text in pages().items():
        if path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


#: What becomes of a row whose reference dangles.
DANGLING = {Dangling.REJECT: "else rejected", Dangling.WARN: "else a warning"}

TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "commands": commands_table,
    "routes": routes_table,
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
