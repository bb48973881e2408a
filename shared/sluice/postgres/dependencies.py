"""What a named query depends on: the datasets that it reads, and whether time alone changes its answer.

PostgreSQL resolves the names: a temporary view of the query is created, and the stored parse tree of the
view (`pg_rewrite.ev_action`) lists each relation, function, operator and constant by its number. Where
the tree holds anything that is not known to be safe, the query counts as one that time changes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.datasets import identifiers
from sluice.datasets.model import UNCOMPACTED, Dataset, Query
from sluice.errors import DeclarationError
from sluice.postgres.connection import UNDEFINED_TABLE, message_of, refusals, run_script, sqlstate
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VIEW = "declared_query_of_sluice"
#: What SQLAlchemy takes for a parameter.
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")

_NODE = re.compile(r"\{([A-Z]+)")
_RELATION = re.compile(r":relid (\d+)")
_FUNCTION = re.compile(r":(?:funcid|aggfnoid|winfnoid) (\d+)")
_OPERATOR = re.compile(r":(?:opno|eqop|sortop) (\d+)|:opnos \(o ([\d ]+)\)")
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


@dataclass(frozen=True)
class Dependencies:
    """What the answer of a query depends on besides its parameters.

    Attributes:
        datasets: names of the datasets whose published rows it reads, in order.
        is_cacheable: whether the answer stays the same as long as these datasets do.
    """

    datasets: tuple[str, ...]
    is_cacheable: bool


class UndeclaredRelationError(DeclarationError):
    """A query reads a relation that does not exist, at least not yet."""


def dependencies_from_json(document: Mapping[str, Any]) -> dict[str, Dependencies]:
    """Return dependencies by query from the JSON that `dependencies_to_json` made."""
    return {
        query: Dependencies(tuple(each["datasets"]), each["is_cacheable"])
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
        DeclarationError: PostgreSQL refuses it for another reason.
    """
    types = query.parameter_types
    sql = _PARAMETER.sub(
        lambda found: f"CAST(NULL AS {types[found[1]]})" if found[1] in types else found[0],
        query.sql,
    )
    view = f"CREATE TEMP VIEW {_VIEW} AS SELECT 1 AS one FROM (\n{sql}\n) AS answer"
    file = f"queries/{query.name}.sql"
    try:
        with refusals(partial(DeclarationError, file=file)), connection.begin_nested() as savepoint:
            run_script(connection, view)
            found = _Resolver(connection, owners).resolve(_VIEW)
            savepoint.rollback()
    except DeclarationError as error:
        if error.__cause__ and sqlstate(error.__cause__) == UNDEFINED_TABLE:
            raise UndeclaredRelationError(message_of(error.__cause__), file=file) from error
        raise
    return found


def published_views(datasets: Iterable[Dataset]) -> dict[str, str]:
    """Return the dataset of each view that readers use, by the view's quoted name."""
    views: dict[str, str] = {}
    for dataset in datasets:
        parts = ["", UNCOMPACTED, *(each.name for each in dataset.rollups)]
        parts += [each.name for each in dataset.projections]
        views.update({identifiers.view(dataset.name, part): dataset.name for part in parts})
    return views


class _Resolver:
    """Follows a view to published views, through any other views."""

    def __init__(self, connection: Connection, owners: Mapping[str, str]) -> None:
        self._connection = connection
        self._owners = owners
        self._seen: set[int] = set()
        self._trees: list[str] = []
        self._datasets: set[str] = set()
        self._reads_others = False

    def resolve(self, view: str) -> Dependencies:
        (root,) = self._connection.execute(statement("relation_number"), {"name": view}).scalars()
        self._follow([root])
        is_cacheable = not self._reads_others and all(
            self._is_cacheable(each) for each in self._trees
        )
        return Dependencies(tuple(sorted(self._datasets)), is_cacheable)

    def _follow(self, relations: Iterable[int]) -> None:
        oids = sorted(set(relations) - self._seen)
        self._seen.update(oids)
        for row in self._connection.execute(statement("relations_numbered"), {"oids": oids}):
            if row.name in self._owners:
                self._datasets.add(self._owners[row.name])
            elif row.tree is None:
                self._reads_others = True
            else:
                self._trees.append(row.tree)
                self._follow(map(int, _RELATION.findall(row.tree)))

    def _is_cacheable(self, tree: str) -> bool:
        nodes = set(_NODE.findall(tree))
        if not nodes <= _KNOWN_NODES or self._calls_unknown(tree):
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

    def _calls_unknown(self, tree: str) -> bool:
        operators = [each for pair in _OPERATOR.findall(tree) for each in " ".join(pair).split()]
        called = {
            "functions": sorted({int(each) for each in _FUNCTION.findall(tree)}),
            "operators": sorted({int(each) for each in operators}),
        }
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
