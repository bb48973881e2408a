"""Validates the DuckDB SQL of declarations: the queries of roll-ups, the conditions of checks, cluster keys.

DuckDB parses it, and its syntax tree shows the statements, relations and functions. `duckdb_session` has no
access to files or settings in any case: what is refused here is refused with its place, when it is declared.
A declaration that was stored before this rule fails its files with the same error.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, NamedTuple

from sluice.errors import DeclarationError
from sluice.parsing.duckdb_session import duckdb_error, open_cursor

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset, Rollup

_Node = Mapping[str, Any]

#: The relation of a roll-up.
_ROWS = "rows"
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")
#: Functions that report settings, sessions or the catalog, or take SQL.
_REFUSED_FUNCTIONS = re.compile(
    r"pg_.*|has_.*_privilege|inet_.*|current_(setting|database|schemas?|catalog|role|user)|session_user|user"
    r"|getenv|getvariable|in_search_path|txid_current|(col|obj|shobj)_description|get_block_size|version"
    r"|json_(de)?serialize_(sql|plan)|json_execute_serialized_sql"
)
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)
#: Location of nodes that the parser made up.
_NOWHERE = 2**64 - 1


class Problem(NamedTuple):
    """Why SQL is refused, and the line of it, from 1."""

    detail: str
    line: int


def refuse_unsafe_sql(dataset: Dataset) -> None:
    """Refuse SQL of a declaration that is not one SELECT, or one expression, over the rows it is given.

    Raises:
        DeclarationError: names the file and line, or the key.
    """
    for rollup in dataset.rollups:
        if problem := _query_problem(rollup.sql):
            raise rollup_error(rollup, problem)
    for number, column in enumerate(dataset.columns):
        for check in column.checks:
            if problem := _expression_problem(check.sql):
                raise DeclarationError(problem.detail, key=f"columns[{number}].checks")
    for key in dataset.cluster:
        if problem := _key_problem(key):
            raise DeclarationError(f"{key}: {problem.detail}", key="cluster")


def rollup_error(rollup: Rollup, problem: Problem) -> DeclarationError:
    """Return the error about a roll-up's query, with its file and line."""
    file = f"rollups/{rollup.name}.sql"
    return DeclarationError(problem.detail, file=file, line=rollup.line + problem.line - 1)


def problem_of(error: Exception, lines_before: int = 0) -> Problem:
    """Return what DuckDB's error says, and the line.

    Args:
        error: of DuckDB.
        lines_before: lines of the statement before the declared SQL.
    """
    text = str(error)
    line = _LINE.search(text)
    return Problem(text.partition("\n")[0], max(1, int(line[1]) - lines_before) if line else 1)


@functools.lru_cache(maxsize=1024)
def _query_problem(sql: str) -> Problem | None:
    parsed = _parse(sql)
    if isinstance(parsed, Problem):
        return parsed
    names = {_ROWS, *(each["key"] for node in _nodes(parsed) for each in _ctes(node))}
    return next((p for node in _nodes(parsed) if (p := _node_problem(sql, node, names))), None)


@functools.lru_cache(maxsize=1024)
def _expression_problem(sql: str) -> Problem | None:
    """Return why SQL is not one expression without a subquery."""
    return _part_problem(f"SELECT (\n{sql}\n)", lambda select: select["select_list"])


@functools.lru_cache(maxsize=1024)
def _key_problem(sql: str) -> Problem | None:
    """Return why SQL is not one key of an ORDER BY."""
    return _part_problem(f"SELECT 1 ORDER BY\n{sql}\n", _orders)


def _orders(select: _Node) -> list[_Node]:
    """Return the keys of a SELECT that is only sorted; none where it is also limited or made distinct."""
    match select["modifiers"]:
        case [{"type": "ORDER_MODIFIER", "orders": orders}]:
            return list(orders)
    return []


def _part_problem(sql: str, parts_of: Callable[[_Node], Sized]) -> Problem | None:
    parsed = _parse(sql)
    if isinstance(parsed, Problem):
        return parsed
    clauses = ("where_clause", "having", "qualify", "sample", "group_expressions")
    is_alone = parsed["type"] == "SELECT_NODE" and len(parts_of(parsed)) == 1
    if not is_alone or parsed["from_table"]["type"] != "EMPTY" or any(map(parsed.get, clauses)):
        return Problem("is not one expression", 1)
    if any(each.get("class") == "SUBQUERY" for each in _nodes(parsed)):
        return Problem("has a subquery; an expression reads the row only", 1)
    return next((p for node in _nodes(parsed) if (p := _node_problem(sql, node, ()))), None)


def _parse(sql: str) -> _Node | Problem:
    """Return the syntax tree of one SELECT."""
    with open_cursor() as cursor:
        try:
            if not cursor.is_one_select(sql):
                return Problem("is not one SELECT, and nothing else", 1)
        except duckdb_error() as error:
            return problem_of(error)
        ((text,),) = cursor.rows("SELECT json_serialize_sql(?)", [sql])
    try:
        document = json.loads(text)
    except RecursionError:
        return Problem("is nested too deep", 1)
    if document["error"]:
        return Problem(f"is not a SELECT: {document['error_message']}", 1)
    node: _Node = document["statements"][0]["node"]
    return node


def _nodes(tree: _Node) -> Iterator[_Node]:
    """Yield every node of a syntax tree."""
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _ctes(node: _Node) -> list[_Node]:
    ctes = node.get("cte_map")
    return ctes["map"] if isinstance(ctes, dict) else []


def _node_problem(sql: str, node: _Node, relations: Collection[str]) -> Problem | None:
    what = ""
    if node.get("type") == "BASE_TABLE":
        path = node["qualified_name"]["path"]
        if len(path) > 1 or path[0] not in relations:
            what = f"reads {'.'.join(path)}; a roll-up reads the relation rows only"
    elif node.get("type") == "SHOW_REF":
        what = "describes a relation; a roll-up reads rows only"
    elif node.get("type") == "TABLE_FUNCTION":
        name = node["function"]["function_name"]
        if name not in _TABLE_FUNCTIONS:
            what = f"calls {name}, which is not allowed"
    elif "function_name" in node:
        name = node["function_name"].lower()
        if _REFUSED_FUNCTIONS.fullmatch(name) or name in _volatile_functions():
            what = f"calls {name}, which is not allowed"
    return Problem(what, _line(sql, node)) if what else None


def _line(sql: str, node: _Node) -> int:
    place = node.get("query_location", _NOWHERE)
    return 1 if place == _NOWHERE else sql.encode()[:place].count(b"\n") + 1


@functools.cache
def _volatile_functions() -> frozenset[str]:
    """Return the functions whose result may differ each time, as DuckDB reports them."""
    listed = "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
    with open_cursor() as cursor:
        return frozenset(name for (name,) in cursor.rows(listed))
