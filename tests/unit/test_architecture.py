"""Who may import whom, where an SDK enters, and what no file may be called or name.

functions/*/main.py -> use cases, adapters -> pure modules -> errors
outside the local cloud, an SDK is imported only where ENTRANCES lists it
api, client, cli and local are on top; nothing below imports them
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "shared" / "sluice"
FUNCTIONS = sorted(
    path for path in ROOT.glob("functions/*/main.py") if not path.parent.name.startswith("_")
)

#: Modules that know no SDK, no file and no network: values in, values out.
PURE = {
    "datasets.aliases",
    "backups.avro",
    "backups.column_copy",
    "backups.type_mapping",
    "backups.manifest",
    "backups.column_buffers",
    "parsing.json_rows",
    "parsing.plan",
    "compaction.box_trees",
    "datasets.box_counts",
    "datasets.cells",
    "datasets.declarations",
    "datasets.sql_headers",
    "datasets.grammars",
    "datasets.identifiers",
    "datasets.json_grammar",
    "postgres.box_counts_sql",
    "postgres.merge_sql",
    "postgres.prepare_sql",
    "postgres.rollup_sql",
    "postgres.storage_sql",
    "datasets.model",
    "datasets.types",
    "access.secrets",
    "documents",
    "documents.access",
    "documents.backups",
    "documents.datasets",
    "documents.document",
    "documents.ingestions",
    "documents.roles",
    "errors",
    "escaping",
    "tracing",
    "ingestion.notifications",
    "csv.canonical",
    "csv.contents",
    "csv.counting",
    "csv.cuts",
    "csv.decompression",
    "csv.dialects",
    "csv.encodings",
    "csv.field_counts",
    "csv.masking",
    "csv.preambles",
    "parsing.layout",
    "parsing.mismatches",
    "csv.records",
    "csv.rejects",
    "csv.scanning",
    "csv.splitting",
    "csv.surroundings",
    "csv.writing",
    "parsing.small_file",
    "inference.detection.candidates",
    "inference.detection.cell_kinds",
    "inference.detection.comments",
    "inference.detection.dialects",
    "inference.detection.file_parts",
    "inference.detection.footer",
    "inference.detection.forms",
    "inference.detection.header",
    "inference.detection.plausibility",
    "inference.detection.reading",
    "inference.detection.reasons",
    "inference.detection.sampling",
    "inference.detection.scoring",
    "inference.detection.table",
    "ingestion.chunks",
    "ingestion.events",
    "ingestion.model",
    "inference.names",
    "inference.typing.runs",
    "inference.toml",
    "ports",
    "querying.filters",
    "querying.keysets",
    "querying.measures",
    "querying.parameters",
    "charts.chart",
    "querying.rows",
    "routes",
    "settings",
    "workbooks.archive",
    "workbooks.compound_file",
    "workbooks.fields",
    "workbooks.markup",
    "workbooks.notation",
    "workbooks.number_formats",
    "workbooks.sheet_rows",
    "workbooks.sheet_text",
    "workbooks.values",
    "workbooks.workbook",
}
#: What they may use besides: libraries that compute and reach nowhere.
PURE_LIBRARIES = {"backports", "compression", "fastavro", "msgspec", "numpy"}
#: Use cases that are given what reaches the cloud, through `sluice.ports`.
GIVEN_PORTS = {
    "backups.backup",
    "backups.compare",
    "backups.restore",
    "backups.repository",
    "ingestion.insert_rows",
    "ingestion.garbage_collection",
    "ingestion.uploads",
    "ingestion.commands",
    "ingestion.failures",
    "ingestion.finish",
    "ingestion.ingestions",
    "ingestion.load",
    "ingestion.merge",
    "ingestion.outbox",
    "ingestion.output",
    "ingestion.dispatch",
    "ingestion.split",
    "ingestion.recovery",
    "ingestion.group_commit",
    "ingestion.group_transaction",
    "ingestion.row_commit",
    "ingestion.small_files",
}
TOP = ("api", "client", "cli", "local")

#: Where each third-party package enters, outside the local cloud, which has parts of its own.
#: A place that ends in a dot is a whole package.
ENTRANCES = {
    "duckdb": {"parsing.duckdb_session"},
    "fastavro": {"backups.avro"},
    "flask": {"api.app"},
    "opentelemetry": {"span_export"},
    "pgpq": {"parsing.copy_stream", "backups.parquet"},
    "pyarrow": {
        "parsing.",
        "inference.",
        "backups.parquet",
        "api.formats",
    },
    "google.cloud.storage": {"gcloud.storage"},
    "google.auth": {"gcloud.storage", "gcloud.identities"},
    "google.oauth2": {"gcloud.identities"},
    "requests": {"gcloud.storage"},
    "google.pubsub_v1": {"gcloud.pubsub", "gcloud.subscriber"},
    "grpc": {"gcloud.pubsub", "gcloud.subscriber"},
    "google.api_core": {
        "gcloud.storage",
        "gcloud.pubsub",
        "gcloud.push_subscriptions",
        "gcloud.dead_letters",
    },
    "google.cloud.sql": {"postgres.connection"},
    "pg8000": {"postgres.connection"},
    "aiohttp": {"postgres.connection"},
    "sqlalchemy": {
        "postgres.connection",
        "backups.shadow_tables",
        "postgres.named_sql",
        "querying.reading",
        "ingestion.constraint_errors",
    },
    "numpy": {
        "backups.parquet",
        "backups.",
        "compaction.box_trees",
        "csv.canonical",
        "csv.field_counts",
        "csv.masking",
        "csv.records",
        "csv.scanning",
        "csv.splitting",
        "inference.",
        "parsing.",
    },
    "matplotlib": {"charts.svg"},
    "backports.zstd": {"csv.decompression"},
    "compression.zstd": {"csv.decompression"},
    "httpx": {"client.transport"},
    "msgspec": {"documents."},
    "werkzeug": {"api."},
    "jinja2": {"api.routes.documentation", "api.pages"},
    "click": {"cli."},
    "rich": {"cli."},
}

FORBIDDEN_NAMES = ("utils", "helpers", "common", "manager", "base", "misc")


@dataclass(frozen=True)
class Import:
    """An import of a module: what it names, and whether only the type checker sees it."""

    name: str
    is_typing: bool
    is_lazy: bool


def imports_of(path: Path) -> list[Import]:
    found: list[Import] = []
    _collect(ast.parse(path.read_text("utf-8")), found, is_typing=False, is_lazy=False)
    return found


def _collect(node: ast.AST, found: list[Import], *, is_typing: bool, is_lazy: bool) -> None:
    for child in ast.iter_child_nodes(node):
        inside_typing = is_typing or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        )
        inside = is_lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.Import):
            found.extend(Import(each.name, is_typing, is_lazy) for each in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            found.extend(
                Import(f"{child.module}.{each.name}", is_typing, is_lazy) for each in child.names
            )
        _collect(child, found, is_typing=inside_typing, is_lazy=inside)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if name_of(path)}
IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def sluice_imports(name: str, *, typing: bool = False) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for each in IMPORTS[name]:
        if each.name.startswith("sluice.") and (typing or not each.is_typing):
            target = each.name.removeprefix("sluice.")
            found.add(target if target in MODULES else target.rpartition(".")[0])
    return found - {""}


def third_parties(name: str) -> set[str]:
    """Return what a module imports that is neither ours nor Python's."""
    return {
        each.name
        for each in IMPORTS[name]
        if not each.is_typing
        and each.name.split(".")[0] not in (*sys.stdlib_module_names, "sluice", "__future__")
    }


def is_of(imported: str, package: str) -> bool:
    return imported == package or imported.startswith(f"{package}.")


def is_inside(module: str, places: set[str]) -> bool:
    return any(
        module == each or (each.endswith(".") and module.startswith(each)) for each in places
    )


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_pure_modules_and_no_sdk(name: str) -> None:
    assert sluice_imports(name, typing=True) <= PURE
    found = {each.split(".")[0] for each in third_parties(name)}
    assert found <= PURE_LIBRARIES


def test_errors_import_nothing_of_ours() -> None:
    assert sluice_imports("errors", typing=True) == set()


@pytest.mark.parametrize("name", sorted(GIVEN_PORTS))
def test_a_use_case_is_given_storage_and_pubsub(name: str) -> None:
    assert not sluice_imports(name) & {"gcloud.storage", "gcloud.pubsub"}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.split(".")[0] not in TOP))
def test_what_lies_below_knows_nothing_of_what_sits_on_top(name: str) -> None:
    assert [each for each in sluice_imports(name, typing=True) if each.split(".")[0] in TOP] == []


@pytest.mark.parametrize(
    ("layer", "others"),
    [
        ("api", ("client", "cli", "local")),
        ("client", ("api", "cli", "local")),
        ("local", ("api", "cli")),
    ],
)
def test_layers_on_top_keep_apart(layer: str, others: tuple[str, ...]) -> None:
    wrong = [
        (name, each)
        for name in MODULES
        if name.split(".")[0] == layer
        for each in sluice_imports(name, typing=True)
        if each.split(".")[0] in others
    ]
    assert wrong == []


#: What the client shares with the server to read files, and to find the function of a route: pure modules.
READING = {
    "csv.contents",
    "csv.decompression",
    "csv.encodings",
    "csv.splitting",
    "datasets.declarations",
    "datasets.grammars",
    "inference.names",
    "parsing.json_rows",
    "parsing.layout",
    "parsing.mismatches",
    "parsing.well_formed",
    "routes",
    "workbooks.sheet_text",
}


def test_the_client_imports_documents_and_errors_and_no_server_code() -> None:
    used = {each for name in MODULES if name.startswith("client") for each in sluice_imports(name)}
    others = {each for each in used if each.split(".")[0] not in ("client", "documents", "errors")}
    assert others == READING


def test_documents_import_only_each_other() -> None:
    used = {
        each for name in MODULES if name.startswith("documents") for each in sluice_imports(name)
    }
    assert {each.split(".")[0] for each in used} == {"documents"}


def test_the_command_line_asks_through_the_client() -> None:
    used = {each for name in MODULES if name.startswith("cli.") for each in sluice_imports(name)}
    outside = {each for each in used if each.split(".")[0] not in ("cli", "client", "local")}
    assert outside <= {"errors"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("local")))
def test_an_sdk_enters_where_it_is_said(name: str) -> None:
    wrong = []
    for imported in third_parties(name):
        places = [places for package, places in ENTRANCES.items() if is_of(imported, package)]
        if not places:
            wrong.append(f"{imported} is not in ENTRANCES")
        elif not any(is_inside(name, each) for each in places):
            wrong.append(f"{imported} enters elsewhere")
    assert wrong == []


def test_every_entrance_is_used() -> None:
    unused = [
        (package, place)
        for package, places in ENTRANCES.items()
        for place in places
        if not any(
            is_of(imported, package)
            for name in MODULES
            if is_inside(name, {place})
            for imported in third_parties(name)
        )
        # pg8000 is reached through SQLAlchemy and the connector.
        and package != "pg8000"
    ]
    assert unused == []


def test_engines_are_made_by_the_database_adapter_alone() -> None:
    makers = {
        name
        for name, found in IMPORTS.items()
        if any(each.name == "sqlalchemy.create_engine" for each in found)
    }
    assert {name for name in makers if not name.startswith("local.")} == {"postgres.connection"}


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.parent.name)
def test_an_entry_point_is_short_and_knows_no_other(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 60
    others = {each.parent.name for each in FUNCTIONS} - {path.parent.name}
    for each in imports_of(path):
        assert each.name.split(".")[0] not in {"functions", *others}


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.parent.name)
def test_an_entry_point_bears_the_name_of_its_folder(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    names = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
    assert path.parent.name in names


def test_no_python_names_a_dataset() -> None:
    datasets = [each.name for each in (ROOT / "sql" / "datasets").iterdir() if each.is_dir()]
    allowed = {"local.sample", "local.demo"}
    wrong = []
    for name, path in MODULES.items():
        if name in allowed:
            continue
        for node in _strings(ast.parse(path.read_text("utf-8"))):
            wrong += [f"{name}: {node!r}" for each in datasets if node == each]
    assert wrong == []


def _strings(tree: ast.Module) -> list[str]:
    """Return the texts of a module that are no docstrings."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_no_file_is_called_after_nothing() -> None:
    folders = [PACKAGE, ROOT / "functions", ROOT / "benchmarks"]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    assert [path.name for path in paths if path.stem.split("_")[-1] in FORBIDDEN_NAMES] == []


def test_no_two_test_files_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if "toys" not in path.parts]
    twice = {name for name in names if names.count(name) > 1}
    assert twice <= {"conftest.py"}


def test_every_module_says_what_it_owns() -> None:
    silent = [
        name
        for name, path in MODULES.items()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


LISTENING_IN = """
import importlib, os, sys

modules, parties = sys.argv[1].split(), sys.argv[2].split()
for each in parties:
    try:
        importlib.import_module(each)
    except ImportError:  # a name inside a module
        importlib.import_module(each.rpartition(".")[0])
suspects = []

def hook(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen",
                 "os.system", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename"):
        suspects.append((current, event, str(arguments)[:100]))
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path = os.fsdecode(arguments[0])
        is_python = path.endswith((".py", ".pyc", ".so", ".pyi"))
        if not is_python and not path.startswith((sys.prefix, sys.base_prefix, "/usr/lib", "/proc")):
            suspects.append((current, event, path))

current = ""
sys.addaudithook(hook)
for each in modules:
    current = each
    importlib.import_module(each)
for each in suspects:
    print(*each)
"""


def test_nothing_is_read_sent_or_started_at_import() -> None:
    names = [f"sluice.{name}" for name in MODULES if not name.endswith("__main__")]
    eager = {
        each.name
        for found in IMPORTS.values()
        for each in found
        if not (each.is_typing or each.is_lazy)
        and each.name.split(".")[0] not in (*sys.stdlib_module_names, "sluice", "__future__")
    }
    done = subprocess.run(
        [sys.executable, "-c", LISTENING_IN, " ".join(names), " ".join(sorted(eager))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
