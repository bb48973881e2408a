"""Builds build/<name>.zip, what is deployed of each function and of the migration job; owns what ships.

The same sources give the same bytes. Needs nothing but Python, so that it runs before any package is
installed. Which packages a bundle needs is read from the imports of its code; their versions and hashes
come from requirements.lock.

    python functions/bundle.py            build every archive
    python functions/bundle.py --lock     write each requirements.txt (part of `make lock`)
    python functions/bundle.py --report   build, then report sizes and import times
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LOCK = CHECKOUT / "requirements.lock"
BUILD = CHECKOUT / "build"
PACKAGE = CHECKOUT / "shared" / "sluice"
#: Parts of the package that run on a person's machine only.
LOCAL_PARTS = ("cli", "client", "local")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can store
FILE_MODE = 0o644 << 16

#: The package of each module that our code imports; the others are their dependencies.
DISTRIBUTIONS = {
    "backports.zstd": "backports-zstd",
    "duckdb": "duckdb",
    "fastavro": "fastavro",
    "functions_framework": "functions-framework",
    "google.cloud.sql.connector": "cloud-sql-python-connector",
    "google.cloud.storage": "google-cloud-storage",
    "google.pubsub_v1": "google-cloud-pubsub",
    "matplotlib": "matplotlib",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "pg8000": "pg8000",
    "pgpq": "pgpq",
    "pyarrow": "pyarrow",
    "sqlalchemy": "sqlalchemy",
}
#: Modules of newer Pythons, which a package brings to older ones.
NEWER = {"compression"}
#: Modules of packages that the ones above bring.
BROUGHT = {
    "aiohttp": "aiohttp",
    "flask": "flask",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "jinja2": "jinja2",
    "opentelemetry.trace": "opentelemetry-api",
    "requests": "requests",
    "werkzeug": "werkzeug",
}
_PIN = re.compile(r"^([a-z0-9-]+)==")


@dataclass(frozen=True)
class Bundle:
    """What is deployed as one unit.

    Attributes:
        name: the function, or `migrate`.
        folder: of its main.py, requirements.txt and whatever else is its own.
    """

    name: str
    folder: Path

    @property
    def archive(self) -> Path:
        """The archive that `write` makes."""
        return BUILD / f"{self.name}.zip"

    def files(self) -> dict[str, Path]:
        """Return what ships: the source file of each name in the archive."""
        own = {each.name: each for each in _files(self.folder)}
        package = {
            f"sluice/{each.relative_to(PACKAGE)}": each
            for each in _files(PACKAGE)
            if each.relative_to(PACKAGE).parts[0] not in LOCAL_PARTS
        }
        sql = {str(each.relative_to(CHECKOUT)): each for each in _files(CHECKOUT / "sql")}
        return dict(sorted({**own, **package, **sql}.items()))

    def write(self) -> Path:
        """Write the archive."""
        BUILD.mkdir(exist_ok=True)
        # Stored, not deflated: zlib's versions compress differently, and the whole is small.
        with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_STORED) as archive:
            for name, path in self.files().items():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.external_attr = FILE_MODE
                archive.writestr(entry, path.read_bytes())
        return self.archive


def bundles() -> list[Bundle]:
    """Return every function that has code, and the migration job."""
    functions = sorted((CHECKOUT / "functions").glob("*/main.py"))
    job = Bundle("migrate", CHECKOUT / "terraform" / "migrate")
    return [*(Bundle(each.parent.name, each.parent) for each in functions), job]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


# Which packages a bundle needs


def imported_modules(start: Path) -> set[str]:
    """Return every module, not our own, that a file imports by itself or through the package."""
    names = (each for path in reached_files(start) for each in _imports_of(path))
    return {name for name in names if name.partition(".")[0] != "sluice"}


def reached_files(start: Path) -> set[Path]:
    """Return a file and all of the package that it imports, directly or not."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports_of(path):
            if found := _module_file(name):
                if found.relative_to(PACKAGE).parts[0] in LOCAL_PARTS:
                    raise SystemExit(f"{path} imports {name}, which does not ship")
                waiting.append(found)
    return seen


def _imports_of(path: Path) -> Iterator[str]:
    return _imports(ast.parse(path.read_text("utf-8")))


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted names that are imported when the code runs, wherever in the file."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _module_file(name: str) -> Path | None:
    top, *parts = name.split(".")
    if top != "sluice":
        return None
    path = PACKAGE.joinpath(*parts)
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((each for each in found if each.exists()), None)


def distributions(modules: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the packages of modules: those to require, and those that are dependencies of others."""
    wanted, brought, unknown = set(), set(), set()
    for name in modules:
        if name.partition(".")[0] in {*sys.stdlib_module_names, *NEWER}:
            continue
        if found := _behind(name, DISTRIBUTIONS):
            wanted.add(found)
        elif found := _behind(name, BROUGHT):
            brought.add(found)
        elif not any(known.startswith(f"{name}.") for known in (*DISTRIBUTIONS, *BROUGHT)):
            unknown.add(name)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise SystemExit(f"{names}: name the package of this module in {__file__}")
    return wanted, brought


def _behind(module: str, table: dict[str, str]) -> str | None:
    fitting = (known for known in table if f"{module}.".startswith(f"{known}."))
    return next((table[known] for known in fitting), None)


@dataclass(frozen=True)
class Pin:
    """A package of the lock: its lines with version and hashes, and the packages that need it."""

    text: str
    needed_by: frozenset[str]


def read_lock(text: str) -> dict[str, Pin]:
    """Return the packages of a lock that `uv pip compile` wrote, by name."""
    pins: dict[str, Pin] = {}
    for block in re.split(r"\n(?=\S)", text):
        if not (pin := _PIN.match(block)):
            continue
        lines = block.rstrip().splitlines()
        kept = [line for line in lines if not line.lstrip().startswith("#")]
        comments = " ".join(line.lstrip(" #") for line in lines if line.lstrip().startswith("#"))
        needed_by = frozenset(comments.removeprefix("via").split())
        # A package may have a version for older Pythons and one for newer ones.
        before = pins.get(pin[1], Pin("", frozenset()))
        text = "\n".join([*before.text.splitlines(), *kept])
        pins[pin[1]] = Pin(text, before.needed_by | needed_by)
    return pins


def closure(wanted: set[str], pins: dict[str, Pin]) -> list[str]:
    """Return the packages wanted and all that they need, in order."""
    found = set(wanted)
    while more := {name for name, pin in pins.items() if pin.needed_by & found} - found:
        found |= more
    return sorted(found)


def requirements(bundle: Bundle, pins: dict[str, Pin]) -> str:
    """Return the requirements.txt of a bundle: exact versions with hashes."""
    wanted, brought = distributions(imported_modules(bundle.folder / "main.py"))
    if "cloud-sql-python-connector" in wanted:
        wanted.add("pg8000")  # the driver that the connector loads by name
    names = closure(wanted, pins)
    if lacking := (wanted - set(pins)) | (brought - set(names)):
        raise SystemExit(f"{bundle.name}: {', '.join(sorted(lacking))} is not in {LOCK.name}")
    head = (
        f"# What {bundle.name} needs, from its imports and {LOCK.name}; written by `make lock`.\n"
    )
    return head + "".join(f"{pins[name].text}\n" for name in names)


# What the reader of --report sees


def report(bundle: Bundle) -> str:
    """Return a line about a bundle: its own size, that of its packages, the time to import it."""
    pinned = [name for name in map(_name_of, _requirement_lines(bundle)) if name]
    size_bytes = sum(_installed_bytes(name) for name in pinned)
    digest = hashlib.sha256(bundle.archive.read_bytes()).hexdigest()[:12]
    return (
        f"{bundle.name:8}  {digest}  {bundle.archive.stat().st_size / 1024:5.0f} KiB"
        f"  {len(pinned):3} packages  {size_bytes / 2**20:4.0f} MiB  {_import_s(bundle):5.2f} s"
    )


def _requirement_lines(bundle: Bundle) -> list[str]:
    return (bundle.folder / "requirements.txt").read_text("utf-8").splitlines()


def _name_of(line: str) -> str | None:
    pin = _PIN.match(line)
    return pin[1] if pin else None


def _installed_bytes(name: str) -> int:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:  # of another system
        return 0
    paths = (Path(str(each.locate())) for each in files)
    return sum(path.stat().st_size for path in paths if path.exists())


def _import_s(bundle: Bundle) -> float:
    code = "import time; t = time.perf_counter(); import main; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(bundle.archive).extractall(folder)
        environ = {**os.environ, "PYTHONPATH": "", "SLUICE_PROJECT": "local"}
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); {code}"]
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, env=environ, check=True, capture_output=True, text=True
        )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lock", action="store_true", help="write each requirements.txt")
    parser.add_argument("--report", action="store_true", help="sizes and import times")
    parser.add_argument("--pins", nargs="+", metavar="PACKAGE", help="print what these need")
    asked = parser.parse_args()
    pins = read_lock(LOCK.read_text("utf-8"))
    if asked.pins:
        sys.stdout.writelines(f"{pins[each].text}\n" for each in closure(set(asked.pins), pins))
        return
    if asked.lock:
        for bundle in bundles():
            text = requirements(bundle, pins)
            (bundle.folder / "requirements.txt").write_text(text, "utf-8")
        return
    for bundle in bundles():
        path = bundle.write()
        line = report(bundle) if asked.report else str(path.relative_to(CHECKOUT))
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
