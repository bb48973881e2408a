"""Compiles a dataset's declaration into the DuckDB expressions that type and check its rows; runs nothing.

A raw cell is `_<n>` (text or null), n its column in the declaration; a stored column has its own name,
which never begins with an underscore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from sluice.datasets.identifiers import literal, quote
from sluice.datasets.model import RECORD_COLUMN, Column, Dataset
from sluice.datasets.types import ColumnType

#: White space that a trim takes off: Unicode's, no-break space and byte order mark included.
WHITE_SPACE = (
    " \t\r\n\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u202f\u205f\u3000\ufeff"
)

#: Degrees of a point on Earth.
MAX_LONGITUDE, MAX_LATITUDE = 180, 90


@dataclass(frozen=True)
class Rule:
    """A rule that rows must not break.

    Attributes:
        column: name of the column as declared.
        name: `required`, `type`, `minimum`, `check`, ...
        broken: DuckDB condition, true for a row that breaks the rule, never null.
        reason: why the row is rejected; `{value}` is replaced by the cell as written.
        cell: name of the raw cell.
    """

    column: str
    name: str
    broken: str
    reason: str
    cell: str


@dataclass(frozen=True)
class Plan:
    """The expressions and rules of one dataset.

    Attributes:
        columns: for each declared column its name, and its stored columns as pairs of name and expression.
        rules: the rules in the order in which they are tried.
        numbered: whether the cells come with, and the rows keep, the number of their record.
    """

    columns: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    rules: tuple[Rule, ...]
    numbered: bool

    def typing(self, source: str) -> str:
        """Return the query of the typed rows that break no rule, in the order of the source."""
        names = [name for _, fields in self.columns for name, _ in fields]
        kept = ", ".join(quote(name) for name in (*names, *self._number()))
        return f"SELECT {kept} FROM {self._typed(source)} WHERE {_none_broken(self.rules)}"

    def completing(self, source: str, typed: Collection[str], full: Collection[str]) -> str | None:
        """Return the query of what is unknown about rows of which some columns are typed.

        Args:
            source: relation of the typed columns and the raw cells of all.
            typed: names of the declared columns that are typed; their values have the type's range.
            full: those of them that contain no null.

        Returns:
            The query of the other columns and a flag `_ok`, in order; None where nothing is unknown.
        """
        rules = [
            rule
            for rule in self.rules
            if not (rule.name in ("type", "range") and rule.column in typed)
            and not (rule.name == "required" and rule.column in full)
        ]
        others = [each for column, fields in self.columns for each in fields if column not in typed]
        if not rules and not others:
            return None
        names = "".join(f"{quote(name)}, " for name, _ in others)
        made = "".join(f", {sql} AS {quote(name)}" for name, sql in others)
        return f"SELECT {names}{_none_broken(rules)} AS _ok FROM (SELECT *{made} FROM {source})"

    def explaining(self, source: str) -> str:
        """Return the query of (number of the first broken rule, its cell) of every row, in order."""
        rules = list(enumerate(self.rules))
        which = " ".join(f"WHEN {rule.broken} THEN {number}" for number, rule in rules)
        cell = " ".join(f"WHEN {rule.broken} THEN {rule.cell}" for _, rule in rules)
        if not rules:
            return f"SELECT NULL, NULL FROM {source}"
        return f"SELECT CASE {which} END, CASE {cell} END FROM {self._typed(source)}"

    def _typed(self, source: str) -> str:
        fields = [each for _, fields in self.columns for each in fields]
        made = ", ".join(f"{sql} AS {quote(name)}" for name, sql in fields)
        return f"(SELECT *, {made} FROM {source})"

    def _number(self) -> tuple[str, ...]:
        return (RECORD_COLUMN,) if self.numbered else ()


def _none_broken(rules: Iterable[Rule]) -> str:
    return " AND ".join(f"NOT ({rule.broken})" for rule in rules) or "true"


def compile_dataset(dataset: Dataset, *, is_numbered: bool = False) -> Plan:
    """Return the plan of a dataset; `is_numbered` keeps record numbers where the dataset needs none."""
    cells = [_Cell(number, column) for number, column in enumerate(dataset.columns)]
    return Plan(
        columns=tuple((cell.column.name, cell.fields()) for cell in cells),
        rules=tuple(rule for cell in cells for rule in cell.rules()),
        numbered=is_numbered or dataset.is_numbered,
    )


class _Cell:
    """One column: how its cell becomes values, and which rules hold."""

    def __init__(self, number: int, column: Column) -> None:
        self.raw = f"_{number}"
        self.column = column
        self.kind = column.definition
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

    def fields(self) -> tuple[tuple[str, str], ...]:
        """The stored columns: name and expression of the value, however the cell is written."""
        names = (each.name for each in self.column.fields)
        return tuple(zip(names, self._values(), strict=True))

    def _values(self) -> tuple[str, ...]:
        kind = self.column.type
        if kind is ColumnType.TEXT:
            return (self.clean(),)
        if kind is ColumnType.POINT:
            return tuple(self._coordinate(position) for position in (1, 2))
        if self.kind.is_time and self.column.formats:
            return (self._parsed_time(),)
        if self.kind.is_number and self.column.is_localized:
            return (f"try_cast({self._plain_number()} AS {self.kind.duckdb})",)
        return (self._cast(),)

    def _cast(self) -> str:
        text, kind = self.clean(), self.kind.duckdb
        cast = f"try_cast({text} AS {kind})"
        if self.kind.is_whole:
            # A cast from text rounds "2.5" to a whole number and reads "1e3".
            cast = (
                f"CASE WHEN regexp_full_match({text}, {literal(self.kind.grammar)}) THEN {cast} END"
            )
        if self.column.is_special:
            return cast
        # Trims and patterns look at each character; most cells need none. (coalesce would not spare it.)
        plain = f"try_cast({self.raw} AS {kind})"
        is_plain = self._is_same(plain) if self.kind.is_whole else f"{plain} IS NOT NULL"
        return f"CASE WHEN {is_plain} THEN {plain} ELSE {cast} END"

    def _is_same(self, value: str) -> str:
        """Whether a value is written as the cell is; null where the cell has no value."""
        return f"CAST({value} AS VARCHAR) = {self.raw}"

    def _coordinate(self, position: int) -> str:
        pattern = literal(r"^POINT\s*\(\s*(\S+)\s+(\S+?)\s*\)$")
        return f"try_cast(nullif(regexp_extract(upper({self.clean()}), {pattern}, {position}), '') AS DOUBLE)"

    def _parsed_time(self) -> str:
        kind = self.kind.duckdb
        if self.column.two_digit_years == "past":
            tried = ", ".join(self._past(each) for each in self.column.formats)
            return f"CAST(coalesce({tried}) AS {kind})"
        formats = "[" + ", ".join(literal(each) for each in self.column.formats) + "]"
        return f"CAST(try_strptime({self.clean()}, {formats}) AS {kind})"

    def _past(self, written: str) -> str:
        """The moment by one format, a century earlier where two digits of a year set it in the future."""
        parsed = f"try_strptime({self.clean()}, {literal(written)})"
        if "%y" not in written:
            return parsed
        return (
            f"CASE WHEN {parsed} > current_localtimestamp()"
            f" THEN {parsed} - INTERVAL 100 YEAR ELSE {parsed} END"
        )

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
            yield self._rule("type", broken, f'"{{value}}" is not {self.kind.meaning}')
        if column.type is ColumnType.POINT:
            lon, lat = self.names
            outside = f"NOT (abs({lon}) <= {MAX_LONGITUDE} AND abs({lat}) <= {MAX_LATITUDE})"
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
            typed = f"CAST({value} AS {self.kind.duckdb})"
            yield self._rule(
                name,
                f"coalesce({first} {operator} {typed}, false)",
                f'"{{value}}" is {word} than {bound}',
            )

    def _rule(self, name: str, broken: str, reason: str) -> Rule:
        return Rule(self.column.name, name, broken, reason, self.raw)
