"""What declared SQL reads and calls; so what a query depends on, and whether time alone changes its answer.

PostgreSQL resolves the names: a temporary view of the query is created, and the stored parse tree of the
view (`pg_rewrite.ev_action`) lists each relation, function, operator and constant by its number. A query that
reads anything but published views, or calls a function that could do more than compute, is refused. Where the
tree holds anything that is not known to be stable, the query counts as one that time changes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.datasets.model import SLICE_COLUMN, UNCOMPACTED, Dataset, Projection, Query
from sluice.datasets.sql_text import line_of, with_nulls
from sluice.errors import DeclarationError
from sluice.postgres.box_counts_sql import function_names
from sluice.postgres.connection import (
    UNDEFINED_TABLE,
    line_of_error,
    parse_alone,
    refusals,
    run_as_reader,
    run_plain,
    sqlstate,
)
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VIEW = "declared_query_of_sluice"

_NODE = re.compile(r"\{([A-Z]+)")
_RELATION = re.compile(r":relid (\d+)")
_FUNCTION = re.compile(r":(?:funcid|aggfnoid|winfnoid) (\d+)")
_OPERATOR = re.compile(r":(?:opno|eqop|sortop) (\d+)|:opnos \(o ([\d ]+)\)")
_WHOLE_ROW = re.compile(r"\{VAR :varno \d+ :varattno 0 ")
_RESULT_TYPE = re.compile(r":resulttype (\d+)")
_CONSTANT = re.compile(
    r"\{CONST :consttype (\d+) [^{}]*?:constisnull false [^{}]*?:constvalue \d+ \[ ([-\d ]*)\]"
)
#: Nodes of a parse tree whose value follows from rows, constants, functions and operators.
_KNOWN_NODES = frozenset(
    (
        "AGGREF", "ALIAS", "ARRAYCOERCEEXPR", "ARRAYEXPR", "BOOLEANTEST", "BOOLEXPR", "CASEEXPR",
        "CASETESTEXPR", "CASEWHEN", "COALESCEEXPR", "COERCEVIAIO", "COLLATEEXPR", "COMMONTABLEEXPR",
        "CONST", "CTECYCLECLAUSE", "CTESEARCHCLAUSE", "DISTINCTEXPR", "FIELDSELECT", "FROMEXPR",
        "FUNCEXPR", "GROUPINGFUNC", "GROUPINGSET", "JOINEXPR", "MINMAXEXPR", "NAMEDARGEXPR",
        "NULLIFEXPR", "NULLTEST", "OPEXPR", "PARAM", "QUERY", "RANGETBLENTRY", "RANGETBLFUNCTION",
        "RANGETBLREF", "RELABELTYPE", "ROWCOMPAREEXPR", "ROWEXPR", "RTEPERMISSIONINFO",
        "SCALARARRAYOPEXPR", "SETOPERATIONSTMT", "SORTGROUPCLAUSE", "SUBLINK", "SUBSCRIPTINGREF",
        "TARGETENTRY", "VAR", "WINDOWCLAUSE", "WINDOWFUNC",
    )
)  # fmt: skip
_DATE, _TIMESTAMP, _TIMESTAMPTZ = 1082, 1114, 1184
_DAY_US = 86_400_000_000
_ONLY_VIEWS = "declared SQL reads the published views of datasets only"


@dataclass(frozen=True)
class Dependencies:
    """What the answer of a query depends on besides its parameters.

    Attributes:
        datasets: names of the datasets whose published rows it reads, in order.
        is_cacheable: whether the answer stays the same as long as these datasets do.
        columns: the columns that it reads, as `dataset.column`; `dataset.*` where it may read any.
    """

    datasets: tuple[str, ...]
    is_cacheable: bool
    columns: tuple[str, ...] | None = field(default=None, compare=False)

    def reads_any(self, dataset: str, columns: Collection[str]) -> bool:
        """Return whether it may read one of some columns of a dataset."""
        if not columns or dataset not in self.datasets:
            return False
        read = self.columns
        return read is None or any(f"{dataset}.{each}" in read for each in ("*", *columns))


class UndeclaredRelationError(DeclarationError):
    """A query reads a relation that does not exist, at least not yet."""


def dependencies_from_json(document: Mapping[str, Any]) -> dict[str, Dependencies]:
    """Return dependencies by query from the JSON that `dependencies_to_json` made."""
    return {
        query: Dependencies(
            tuple(each["datasets"]),
            each["is_cacheable"],
            tuple(each["columns"]) if each.get("columns") is not None else None,
        )
        for query, each in document.items()
    }


def dependencies_to_json(found: Mapping[str, Dependencies]) -> str:
    """Return dependencies by query as JSON."""
    return json.dumps({query: asdict(each) for query, each in found.items()})


def find_dependencies(
    connection: Connection, query: Query, owners: Mapping[str, str]
) -> Dependencies:
    """Return what a query depends on.

    Args:
        connection: a transaction, of which nothing remains changed.
        query: the query.
        owners: the dataset of each published view, see `published_views`.

    Raises:
        UndeclaredRelationError: it reads a relation that does not exist.
        DeclarationError: PostgreSQL refuses it, or it reads or calls what it may not.
    """
    sql = with_nulls(query.sql, query.parameter_types)
    with located(f"queries/{query.name}.sql", query.line):
        return check_select(connection, sql, owners)


@contextmanager
def located(file: str, first_line: int) -> Iterator[None]:
    """Give an error about a part of a file its place in that file."""
    try:
        yield
    except DeclarationError as error:
        raise error.in_file(file, first_line) from error.__cause__


def check_projection(connection: Connection, dataset: Dataset, projection: Projection) -> None:
    """Check that the query of a projection is one SELECT over `rows`.

    Raises:
        DeclarationError: PostgreSQL refuses it, or it reads or calls what it may not.
    """
    nulls = ", ".join(f"CAST(NULL AS {f.storage_type}) AS {quote(f.name)}" for f in dataset.fields)
    file = f"projections/{projection.name}.sql"
    with connection.begin_nested() as savepoint, located(file, projection.line):
        run_plain(
            connection,
            f"CREATE TEMP VIEW rows AS SELECT {nulls}, CAST(0 AS bigint) AS {SLICE_COLUMN}",
        )
        facts = connection.execute(statement("relation_named"), {"name": "pg_temp.rows"}).one()
        check_select(connection, projection.sql, {facts.name: dataset.name})
        savepoint.rollback()


def check_select(connection: Connection, sql: str, owners: Mapping[str, str]) -> Dependencies:
    """Check that SQL is one SELECT over published views; return what it depends on.

    Args:
        connection: a transaction, of which nothing remains changed.
        sql: without parameters.
        owners: the dataset of each relation that it may read, by quoted name.

    Raises:
        UndeclaredRelationError: it reads a relation that does not exist.
        DeclarationError: PostgreSQL refuses it, or it reads or calls what it may not; with the line of `sql`.
    """
    view = f"CREATE TEMP VIEW {_VIEW} AS SELECT 1 AS one FROM (\n{sql}\n) AS answer"
    with connection.begin_nested() as savepoint:
        with refusals(partial(_refusal, sql, view)):
            run_as_reader(connection, view, ())
        alone = f"\n{sql}"
        with refusals(partial(_refusal, sql, alone)):
            parse_alone(connection, alone)  # it does not leave the parentheses
        found = _Resolver(connection, sql, owners).resolve(_VIEW)
        savepoint.rollback()
    return found


def _refusal(sql: str, sent: str, message: str, error: Exception) -> DeclarationError:
    """Return the error about SQL that was sent from the second line of a statement on."""
    kind = UndeclaredRelationError if sqlstate(error) == UNDEFINED_TABLE else DeclarationError
    last = sql.count("\n") + 1
    return kind(message, line=min(line_of_error(error, sent) - 1, last))


def published_views(datasets: Iterable[Dataset]) -> dict[str, str]:
    """Return the dataset of each view and function that readers use, by its quoted name."""
    views: dict[str, str] = {}
    for dataset in datasets:
        views.update(dict.fromkeys(function_names(dataset), dataset.name))
        parts = ["", UNCOMPACTED, *(each.name for each in dataset.rollups)]
        parts += [each.name for each in dataset.projections]
        views.update({identifiers.view(dataset.name, part): dataset.name for part in parts})
    return views


def refuse_functions(
    connection: Connection, sql: str, tree: str, published: Collection[int] = ()
) -> None:
    """Refuse functions and operators that declared SQL may not call.

    Args:
        connection: a transaction.
        sql: as it was declared.
        tree: its parse tree.
        published: numbers of functions of datasets, which it may call.

    Raises:
        DeclarationError: names one of them, and the line of `sql`.
    """
    called = _called(tree, published)
    for row in connection.execute(statement("refused_functions"), called):
        detail = f"calls {row.name}, which {row.reason}"
        raise DeclarationError(detail, line=line_of(sql, row.name))


class _Resolver:
    """Reads the parse tree of a view of some SQL."""

    def __init__(self, connection: Connection, sql: str, owners: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql
        self._owners = owners

    def resolve(self, view: str) -> Dependencies:
        tree = str(self._connection.scalar(statement("tree_of_view"), {"name": view}))
        if "ROWMARKCLAUSE" in _NODE.findall(tree):
            raise DeclarationError(
                "locks rows (FOR UPDATE, FOR SHARE), which a query may not", line=1
            )
        counting = self._published_functions(tree)
        refuse_functions(self._connection, self._sql, tree, counting)
        datasets = tuple(sorted({*self._datasets(tree), *counting.values()}))
        columns = self._columns(view, tree, datasets, counting.values())
        return Dependencies(datasets, self._is_cacheable(tree, counting), columns)

    def _published_functions(self, tree: str) -> dict[int, str]:
        """Return the dataset of each function of box counts that is called, by its number."""
        rows = self._connection.execute(statement("functions_numbered"), _called(tree))
        return {row.oid: self._owners[row.name] for row in rows if row.name in self._owners}

    def _columns(
        self, view: str, tree: str, datasets: Iterable[str], counting: Iterable[str]
    ) -> tuple[str, ...]:
        """Return the columns that the query of a view reads, as `dataset.column`.

        What a roll-up, a projection or a function of `counting` datasets has may be made of any column, and
        so may a row as a whole.
        """
        any_column = {f"{each}.*" for each in datasets}
        found: set[str] = {f"{each}.*" for each in counting}
        for row in self._connection.execute(statement("columns_of_view"), {"name": view}):
            owner = self._owners.get(row.name)
            is_stored = owner is not None and row.name in (
                identifiers.view(owner),
                identifiers.view(owner, UNCOMPACTED),
            )
            found |= {f"{owner}.{row.column}"} if is_stored else any_column
        if _WHOLE_ROW.search(tree):
            found |= any_column
        return tuple(sorted(found))

    def _datasets(self, tree: str) -> tuple[str, ...]:
        oids = sorted(set(map(int, _RELATION.findall(tree))))
        found = self._connection.execute(statement("relations_numbered"), {"oids": oids}).all()
        for row in found:
            if row.name not in self._owners:
                detail = f"reads {row.schema}.{row.relation}; {_ONLY_VIEWS}"
                raise DeclarationError(detail, line=line_of(self._sql, row.relation))
        return tuple(sorted({self._owners[row.name] for row in found}))

    def _is_cacheable(self, tree: str, published: Collection[int]) -> bool:
        nodes = set(_NODE.findall(tree))
        if not nodes <= _KNOWN_NODES or self._calls_unknown(tree, published):
            return False
        constants = [(int(kind), value) for kind, value in _CONSTANT.findall(tree)]
        results = {int(each) for each in _RESULT_TYPE.findall(tree)}
        types = sorted(results | {kind for kind, _ in constants})
        facts = self._connection.execute(statement("datetime_types"), {"types": types}).all()
        datetimes = {row.oid for row in facts}
        # Text that is cast as the query runs may be the word `today`.
        if "COERCEVIAIO" in nodes and results & datetimes:
            return False
        return not any(self._is_near_now(k, v) for k, v in constants if k in datetimes)

    def _calls_unknown(self, tree: str, published: Collection[int]) -> bool:
        called = _called(tree, published)
        return bool(self._connection.scalar(statement("calls_unknown_functions"), called))

    def _is_near_now(self, kind: int, value: str) -> bool:
        """Whether a constant may have been the word `now`, `today`, `yesterday` or `tomorrow`."""
        data = bytes(int(each) & 255 for each in value.split())
        now_us = int(self._connection.execute(statement("microseconds_now")).scalar_one())
        if kind == _DATE:
            days: int = struct.unpack_from("<i", data)[0]
            return abs(days - now_us // _DAY_US) <= 2
        if kind in (_TIMESTAMP, _TIMESTAMPTZ):
            since_us: int = struct.unpack_from("<q", data)[0]
            return abs(since_us - now_us) <= 2 * _DAY_US
        return True


def _called(tree: str, published: Collection[int] = ()) -> dict[str, list[int]]:
    """Return the numbers of the functions, without published ones, and of the operators of a parse tree."""
    operators = {each for pair in _OPERATOR.findall(tree) for each in " ".join(pair).split()}
    return {
        "functions": sorted({int(each) for each in _FUNCTION.findall(tree)} - {*published}),
        "operators": sorted(map(int, operators)),
    }
