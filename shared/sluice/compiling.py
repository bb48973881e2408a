"""Compiles a dataset's declaration into the DuckDB statements that type, check and refuse its rows.

The same expressions serve twice: over a whole chunk they give the typed rows and one flag, and over
the few records that failed they name the first rule each breaks. Knows no SDK and runs nothing.

A raw cell is `c<n>` (text or null), n its column in the declaration; a stored column has its own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluice.datasets import Column, ColumnType, Dataset
from sluice.identifiers import literal, quote

#: White space that a trim takes off: Unicode's, no-break space and byte order mark included.
WHITE_SPACE = " \t\r\n\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\ufeff"

#: A text that begins and ends with visible ASCII needs no trim.
VISIBLE_ENDS = r"(?s)^[!-~](.*[!-~])?$"

_DUCKDB_TYPES = {
    ColumnType.INTEGER: "INTEGER",
    ColumnType.BIGINT: "BIGINT",
    ColumnType.FLOAT: "DOUBLE",
    ColumnType.NUMERIC: "DECIMAL(38, 9)",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP",
    ColumnType.INSTANT: "TIMESTAMPTZ",
    ColumnType.TIME: "TIME",
    ColumnType.UUID: "UUID",
}
_MEANINGS = {
    ColumnType.INTEGER: "a whole number",
    ColumnType.BIGINT: "a whole number",
    ColumnType.FLOAT: "a number",
    ColumnType.NUMERIC: "a number",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.DATE: "a date",
    ColumnType.TIMESTAMP: "a date and time",
    ColumnType.INSTANT: "a date and time",
    ColumnType.TIME: "a time of day",
    ColumnType.UUID: "a UUID",
    ColumnType.POINT: "a point, written POINT (longitude latitude) in degrees",
}
_NUMBERS = (ColumnType.INTEGER, ColumnType.BIGINT, ColumnType.FLOAT, ColumnType.NUMERIC)
_TIMES = (ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.INSTANT, ColumnType.TIME)


@dataclass(frozen=True)
class Rule:
    """A condition that a row breaks.

    Attributes:
        column: name of the column as declared.
        name: `required`, `type`, `minimum`, `check`, ...
        broken: DuckDB condition, true for a row that breaks the rule, never null.
        reason: what to tell; `{value}` stands for the cell as it was written.
    """

    column: str
    name: str
    broken: str
    reason: str
    cell: str


@dataclass(frozen=True)
class Plan:
    """The statements of one dataset for files with one order of columns.

    Attributes:
        stored: names of the typed columns, in the order of the declaration.
        typed: select list of the typed columns over the raw cells.
        rules: the rules in the order in which they are tried.
    """

    stored: tuple[str, ...]
    typed: tuple[str, ...]
    rules: tuple[Rule, ...]

    def typing(self, source: str) -> str:
        """Return the query of typed rows in the order of the file, each with a flag `ok`."""
        lists = ", ".join(
            f"{sql} AS {quote(name)}" for name, sql in zip(self.stored, self.typed, strict=True)
        )
        broken = " OR ".join(f"({rule.broken})" for rule in self.rules) or "false"
        names = ", ".join(quote(name) for name in self.stored)
        return f"SELECT {names}, NOT ({broken}) AS ok FROM (SELECT *, {lists} FROM {source})"

    def explaining(self, source: str) -> str:
        """Return the query of (number of the first broken rule, its cell) of every row in order."""
        lists = ", ".join(
            f"{sql} AS {quote(name)}" for name, sql in zip(self.stored, self.typed, strict=True)
        )
        rules = list(enumerate(self.rules))
        which = " ".join(f"WHEN {rule.broken} THEN {number}" for number, rule in rules)
        cell = " ".join(f"WHEN {rule.broken} THEN {rule.cell}" for _, rule in rules)
        return (
            f"SELECT CASE {which} END, CASE {cell} END FROM (SELECT *, {lists} FROM {source})"
            if rules
            else f"SELECT NULL, NULL FROM {source}"
        )


def compile_dataset(dataset: Dataset) -> Plan:
    """Return the plan of a dataset."""
    compiled = [_Cell(number, column) for number, column in enumerate(dataset.columns)]
    return Plan(
        stored=tuple(each.name for each in dataset.fields),
        typed=tuple(sql for cell in compiled for sql in cell.typed()),
        rules=tuple(rule for cell in compiled for rule in cell.rules()),
    )


class _Cell:
    """One column: how its cell becomes values, and which rules hold."""

    def __init__(self, number: int, column: Column) -> None:
        self.raw = f"c{number}"
        self.column = column
        self.names = tuple(quote(each.name) for each in column.fields)

    def clean(self) -> str:
        """The text without white space around it; null where it is empty or means null."""
        text = (
            f"nullif(trim({self.raw}, {literal(WHITE_SPACE)}), '')"
            if self.column.trim
            else f"nullif({self.raw}, '')"
        )
        if self.column.nulls:
            nulls = ", ".join(literal(each) for each in self.column.nulls)
            text = f"CASE WHEN {text} IN ({nulls}) THEN NULL ELSE {text} END"
        return f"coalesce({text}, {literal(self.column.default)})" if self.column.default else text

    def _text(self) -> str:
        """The cleaned text; the slow trim is left out where both ends are visible ASCII."""
        if self.column.nulls or not self.column.trim:
            return self.clean()
        usual = f"regexp_matches({self.raw}, {literal(VISIBLE_ENDS)})"
        return f"CASE WHEN {usual} THEN {self.raw} ELSE {self.clean()} END"

    def typed(self) -> tuple[str, ...]:
        kind = self.column.type
        if kind is ColumnType.TEXT:
            return (self._text(),)
        if kind is ColumnType.POINT:
            return tuple(self._coordinate(position) for position in (1, 2))
        if kind in _TIMES and self.column.formats:
            return (self._parsed_time(),)
        if kind in _NUMBERS and self._is_localized():
            return (f"try_cast({self._plain_number()} AS {_DUCKDB_TYPES[kind]})",)
        return (self._cast(),)

    def _cast(self) -> str:
        text, kind = self._text(), _DUCKDB_TYPES[self.column.type]
        if self.column.type in (ColumnType.INTEGER, ColumnType.BIGINT):
            # A cast from text rounds "2.5" to a whole number and reads "1e3".
            whole = f"regexp_full_match({text}, '[+-]?[0-9]+')"
            return f"CASE WHEN {whole} THEN try_cast({text} AS {kind}) END"
        return f"try_cast({text} AS {kind})"

    def _coordinate(self, position: int) -> str:
        usual = f"substr({self.raw}, 8, length({self.raw}) - 8)"
        pattern = literal(r"^POINT\s*\(\s*(\S+)\s+(\S+)\s*\)$")
        other = f"regexp_extract(upper({self.clean()}), {pattern}, {position})"
        return (
            f"CASE WHEN starts_with({self.raw}, 'POINT (') AND ends_with({self.raw}, ')')"
            f" AND split_part({usual}, ' ', 3) = ''"
            f" THEN try_cast(split_part({usual}, ' ', {position}) AS DOUBLE)"
            f" ELSE try_cast({other} AS DOUBLE) END"
        )

    def _parsed_time(self) -> str:
        formats = "[" + ", ".join(literal(each) for each in self.column.formats) + "]"
        parsed = f"try_strptime({self.clean()}, {formats})"
        kind = _DUCKDB_TYPES[self.column.type]
        if self.column.two_digit_years == "past":
            parsed = (
                f"CASE WHEN {parsed} > current_localtimestamp()"
                f" THEN {parsed} - INTERVAL 100 YEAR ELSE {parsed} END"
            )
        return f"CAST({parsed} AS {kind})"

    def _is_localized(self) -> bool:
        column = self.column
        return bool(column.thousands_separator or column.symbols or column.decimal_separator != ".")

    def _plain_number(self) -> str:
        text = self.clean()
        for symbol in (*self.column.symbols, self.column.thousands_separator):
            text = f"replace({text}, {literal(symbol)}, '')" if symbol else text
        separator = self.column.decimal_separator
        text = f"replace({text}, {literal(separator)}, '.')" if separator != "." else text
        return f"trim({text}, {literal(WHITE_SPACE)})"

    def rules(self) -> Iterator[Rule]:
        """The rules of the column: its type first, because a wrong value is not a missing one."""
        column = self.column
        first = self.names[0]
        if column.type is not ColumnType.TEXT:
            missing = " OR ".join(f"{name} IS NULL" for name in self.names)
            broken = f"CASE WHEN {missing} THEN {self.clean()} IS NOT NULL ELSE false END"
            yield self._rule("type", broken, f'"{{value}}" is not {_MEANINGS[column.type]}')
        if column.type is ColumnType.POINT:
            lon, lat = self.names
            outside = f"NOT ({lon} BETWEEN -180 AND 180 AND {lat} BETWEEN -90 AND 90)"
            yield self._rule(
                "range",
                f"coalesce({outside}, false)",
                '"{value}" is not on Earth: longitude -180..180 first, then latitude -90..90',
            )
        if column.required:
            yield self._rule("required", f"{first} IS NULL", "a value is required")
        yield from self._range_rules(first)
        if column.max_length is not None:
            yield self._rule(
                "max_length",
                f"coalesce(length({first}) > {column.max_length}, false)",
                f"longer than {column.max_length} characters",
            )
        if column.pattern:
            yield self._rule(
                "pattern",
                f"NOT coalesce(regexp_full_match({first}, {literal(column.pattern)}), true)",
                f'"{{value}}" does not match {column.pattern}',
            )
        if column.one_of:
            values = ", ".join(literal(each) for each in column.one_of)
            yield self._rule(
                "one_of",
                f"NOT coalesce({first} IN ({values}), true)",
                f'"{{value}}" is not one of {", ".join(column.one_of)}',
            )
        for check in column.checks:
            yield self._rule("check", f"NOT coalesce(({check.sql}), true)", check.message)

    def _range_rules(self, first: str) -> Iterator[Rule]:
        column = self.column
        for name, operator, bound, word in (
            ("minimum", "<", column.minimum, "less"),
            ("maximum", ">", column.maximum, "more"),
        ):
            if bound is None:
                continue
            value = literal(bound) if isinstance(bound, str) else repr(bound)
            typed = f"CAST({value} AS {_DUCKDB_TYPES[column.type]})"
            yield self._rule(
                name,
                f"coalesce({first} {operator} {typed}, false)",
                f'"{{value}}" is {word} than {bound}',
            )

    def _rule(self, name: str, broken: str, reason: str) -> Rule:
        return Rule(self.column.name, name, broken, reason, self.raw)
