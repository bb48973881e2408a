"""Compiles a dataset's declaration into the DuckDB expressions that type and check its rows; runs nothing.

A raw cell is `_<n>` (text or null), n its column in the declaration; a stored column has its own name,
which never begins with an underscore.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sluice.datasets.grammars import (
    MAX_NUMERIC_LENGTH,
    WHITE_SPACE,
    cell_grammar,
    format_grammar,
    meaning,
    thousands_marks,
)
from sluice.datasets.identifiers import literal, quote
from sluice.datasets.model import Column, Dataset
from sluice.datasets.types import ColumnType

#: The function of `duckdb_session` that says whether a text is JSON: DuckDB's own accepts other texts.
IS_JSON = "sluice_is_json"
#: Column of whether a row breaks none of the rules of a query.
IS_OK = "_ok"
#: Columns that are typed by one query.
_GROUP_COLUMNS = 64
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
        is_masked: whether that is personal data, which no reject repeats.
        find_problem: says of a cell what replaces `{problem}` in the reason.
    """

    column: str
    name: str
    broken: str
    reason: str
    cell: str
    is_masked: bool = False
    find_problem: Callable[[str], str] | None = None


@dataclass(frozen=True)
class StoredField:
    """A stored column in DuckDB.

    Attributes:
        name: its name, by which rules know its value.
        sql: expression of what PostgreSQL is sent, over the raw cells.
        sent: name of that: `name`, or another where PostgreSQL is sent a text.
        value: expression of the value over `sent`, empty where they are the same.
    """

    name: str
    sql: str
    sent: str
    value: str = ""


@dataclass(frozen=True)
class Plan:
    """The expressions and rules of one dataset.

    Attributes:
        columns: for each declared column its name and its stored columns.
        rules: the rules in the order in which they are tried.
        numbered: whether the cells come with, and the rows keep, the number of their record.
    """

    columns: tuple[tuple[str, tuple[StoredField, ...]], ...]
    rules: tuple[Rule, ...]
    numbered: bool

    @property
    def fields(self) -> tuple[StoredField, ...]:
        """The stored columns of all columns, in order."""
        return tuple(each for _, fields in self.columns for each in fields)

    def checking(self, source: str) -> Iterator[str]:
        """Yield queries that together type all columns and test all rules.

        Each has stored columns and `_broken`, the number of the first of its rules that a row breaks.
        """
        for fields, read, rules in self._groups(enumerate(self.rules)):
            kept = "".join(f"{quote(each.sent)} AS {quote(each.name)}, " for each in fields)
            broken = " ".join(f"WHEN {rule.broken} THEN {number}" for number, rule in rules)
            which = f"CASE {broken} END" if broken else "CAST(NULL AS INTEGER)"
            yield f"SELECT {kept}{which} AS _broken FROM {_typed(source, read, read)}"

    def completing(
        self, source: str, typed: Collection[str], full: Collection[str]
    ) -> Iterator[str]:
        """Yield queries of what is unknown about rows of which some columns are typed.

        Each has stored columns that are not typed, and `IS_OK`, whether a row breaks none of its rules.

        Args:
            source: relation of the typed columns, by the name of what is sent, and the raw cells of all.
            typed: names of the declared columns that are typed; their values have the type's range.
            full: those of them that contain no null.
        """
        unknown = (
            (number, rule)
            for number, rule in enumerate(self.rules)
            if not (rule.name in ("type", "range") and rule.column in typed)
            and not (rule.name == "required" and rule.column in full)
        )
        others = {
            each.name for name, fields in self.columns if name not in typed for each in fields
        }
        for fields, read, rules in self._groups(unknown):
            kept = [each for each in fields if each.name in others]
            if kept or rules:
                names = "".join(f"{quote(each.sent)} AS {quote(each.name)}, " for each in kept)
                relation = _typed(source, [each for each in read if each.name in others], read)
                is_ok = " AND ".join(f"NOT ({rule.broken})" for _, rule in rules) or "true"
                yield f"SELECT {names}{is_ok} AS {IS_OK} FROM {relation}"

    def _groups(self, rules: Iterable[tuple[int, Rule]]) -> Iterator[_Group]:
        """Yield groups of columns that one query types, and last the checks, which may read any column.

        DuckDB takes the square of the columns of a query to plan it.
        """
        own: dict[str, list[tuple[int, Rule]]] = {}
        checks: list[tuple[int, Rule]] = []
        for number, rule in rules:
            found = checks if rule.name == "check" else own.setdefault(rule.column, [])
            found.append((number, rule))
        for first in range(0, len(self.columns), _GROUP_COLUMNS):
            columns = self.columns[first : first + _GROUP_COLUMNS]
            fields = [each for _, fields in columns for each in fields]
            yield fields, fields, [each for name, _ in columns for each in own.get(name, ())]
        if checks:
            yield (), self.fields, checks

    def testing(self, source: str, rules: Iterable[Rule]) -> str:
        """Return the query of whether rows break each of some rules.

        A check may read any column, another rule only its own: the time is that of the columns squared.
        """
        chosen = tuple(rules)
        names = {rule.column for rule in chosen}
        is_any = any(rule.name == "check" for rule in chosen)
        read = [each for name, fields in self.columns if is_any or name in names for each in fields]
        broken = ", ".join(rule.broken for rule in chosen)
        return f"SELECT {broken} FROM {_typed(source, read, read)}"


#: Stored columns that a query has, those that its rules may read, and its rules by number.
_Group = tuple[Sequence[StoredField], Sequence[StoredField], Sequence[tuple[int, Rule]]]


def _typed(source: str, untyped: Iterable[StoredField], read: Iterable[StoredField]) -> str:
    """Return the relation of raw cells, of what is sent for untyped columns, and of the values to read."""
    sent = "".join(f", {each.sql} AS {quote(each.sent)}" for each in untyped)
    values = "".join(f", {each.value} AS {quote(each.name)}" for each in read if each.value)
    return f"(SELECT *{values} FROM (SELECT *{sent} FROM {source}))"


def compile_dataset(dataset: Dataset, *, is_numbered: bool = False) -> Plan:
    """Return the plan of a dataset; `is_numbered` keeps record numbers where the dataset needs none."""
    cells = [_Cell(number, column) for number, column in enumerate(dataset.columns)]
    return Plan(
        columns=tuple((cell.column.name, cell.fields()) for cell in cells),
        rules=tuple(rule for cell in cells for rule in cell.rules()),
        numbered=is_numbered or dataset.is_numbered,
    )


#: Type in which bounds of a numeric are compared; beyond its range a double is exact enough.
_EXACT = "DECIMAL(38, 18)"
#: The last date and times of the year 9999.
_LAST = {
    ColumnType.DATE: "9999-12-31",
    ColumnType.TIMESTAMP: "9999-12-31 23:59:59.999999",
    ColumnType.INSTANT: "9999-12-31 23:59:59.999999+00",
}
#: Texts of a date and time that end with a zone.
_NAMES_ZONE = "[T ].*(UTC|Z|[+-][0-9:]+)$"


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

    def fields(self) -> tuple[StoredField, ...]:
        """The stored columns."""
        if self.kind.is_stored_from_text:
            name, sent = self.column.name, f"_sent{self.raw}"
            return (StoredField(name, self._values()[0], sent, self._value_of(quote(sent))),)
        names = (each.name for each in self.column.fields)
        pairs = zip(names, self._values(), strict=True)
        return tuple(StoredField(name, sql, sent=name) for name, sql in pairs)

    def _value_of(self, sent: str) -> str:
        """The value of a text that PostgreSQL is sent; a number too large for a double is infinite."""
        value = f"try_cast({sent} AS {self.kind.duckdb})"
        if not self.kind.is_number:
            return value
        infinite = f"CASE WHEN {sent}[1] = '-' THEN '-inf' ELSE 'inf' END"
        return f"CASE WHEN {sent} IS NULL THEN NULL ELSE coalesce({value}, CAST({infinite} AS DOUBLE)) END"

    def _values(self) -> tuple[str, ...]:
        if self.column.type is ColumnType.TEXT:
            return (self.clean(),)
        if self.column.formats:
            tried = [self._parsed(each) for each in self.column.formats]
            return (f"coalesce({', '.join(tried)})",)
        text = self.clean()
        if self.column.type is ColumnType.POINT:
            pattern = literal(r"\(\s*(\S+)\s+(\S+?)\s*\)$")
            halves = (f"regexp_extract({text}, {pattern}, {number})" for number in (1, 2))
            return tuple(self._if_grammar(text, f"try_cast({each} AS DOUBLE)") for each in halves)
        return (self._if_grammar(text, self._value(text)),)

    def _if_grammar(self, text: str, value: str) -> str:
        if self.kind.find_problem:
            return f"CASE WHEN {IS_JSON}({text}) THEN {value} END"
        grammar = literal(cell_grammar(self.column))
        in_grammar = f"regexp_full_match({text}, {grammar})"
        if self.column.type is ColumnType.NUMERIC:
            in_grammar += f" AND length({text}) <= {MAX_NUMERIC_LENGTH}"
        return f"CASE WHEN {in_grammar} THEN {value} END"

    def _value(self, text: str) -> str:
        """The value of a text that is in the grammar."""
        if self.kind.is_number:
            text = self._plain_number(text) if self.column.is_localized else text
        elif self.column.type is ColumnType.INSTANT:
            return self._in_years(self._instant(text))
        elif self.column.type is ColumnType.TIMESTAMP and self.column.time_zone:
            return self._in_years(self._timestamp(text))
        if self.kind.is_stored_from_text:
            return text
        value = f"try_cast({text} AS {self.kind.duckdb})"
        if self.column.type is ColumnType.FLOAT:  # a number too large for a double is not infinity
            is_too_large = f"isinf({value}) AND regexp_matches({text}, '[0-9]')"
            return f"CASE WHEN {is_too_large} THEN NULL ELSE {value} END"
        return value

    def _in_years(self, value: str) -> str:
        """A time in the years from 1 to 9999, as ISO 8601 and every reader of answers has them."""
        kind = self.kind.duckdb
        bounds = f"CAST('0001-01-01' AS {kind}) AND CAST('{_LAST[self.column.type]}' AS {kind})"
        return f"CASE WHEN {value} BETWEEN {bounds} THEN {value} END"

    def _instant(self, text: str) -> str:
        """The instant of a text; one without a zone is in the zone of the column."""
        named = f"replace(regexp_replace({text}, ' ?(UTC|Z|[+-][0-9:]+)$', '\\1'), 'UTC', 'Z')"
        local = self._in_zone(f"try_cast({text} AS TIMESTAMP)", self.column.time_zone or "UTC")
        return (
            f"CASE WHEN regexp_matches({text}, {literal(_NAMES_ZONE)})"
            f" THEN try_cast({named} AS TIMESTAMPTZ) ELSE {local} END"
        )

    def _timestamp(self, text: str) -> str:
        """The timestamp of a text whose zone, if it names one, is dropped or converted."""
        if self.column.time_zone == "drop":
            bare = f"regexp_replace({text}, '([T ].*?) ?(UTC|Z|[+-][0-9:]+)$', '\\1')"
            return f"try_cast({bare} AS TIMESTAMP)"
        zone = literal(self.column.time_zone)
        return (
            f"CASE WHEN regexp_matches({text}, {literal(_NAMES_ZONE)})"
            f" THEN timezone({zone}, {self._instant(text)}) ELSE try_cast({text} AS TIMESTAMP) END"
        )

    def _in_zone(self, local: str, zone: str) -> str:
        """The instant of a local time; null where a change of the clocks skips that time."""
        if zone == "UTC":
            return f"timezone('UTC', {local})"
        instant = f"timezone({literal(zone)}, {local})"
        return f"CASE WHEN timezone({literal(zone)}, {instant}) = {local} THEN {instant} END"

    def _parsed(self, written: str) -> str:
        """The value by one format, null where the text is not in it."""
        text, kind = self.clean(), self.column.type
        parsed = f"try_strptime({text}, {literal(written)})"
        if written.endswith("%z"):  # DuckDB reads no Z there
            parsed = f"try_strptime(regexp_replace({text}, 'Z$', '+00:00'), {literal(written)})"
        if "%y" in written and self.column.two_digit_years == "past":
            parsed = (
                f"CASE WHEN {parsed} > current_localtimestamp()"
                f" THEN {parsed} - INTERVAL 100 YEAR ELSE {parsed} END"
            )
        zone = self.column.time_zone
        if kind is ColumnType.INSTANT and "%z" not in written:
            parsed = self._in_zone(parsed, zone or "UTC")
        elif kind is ColumnType.TIMESTAMP and "%z" in written and zone != "drop":
            parsed = f"timezone({literal(zone)}, {parsed})"
        elif kind is ColumnType.TIMESTAMP and "%z" in written:
            bare = f"regexp_replace({text}, '(Z|[+-][0-9:]+)$', '+00:00')"
            parsed = f"timezone('UTC', try_strptime({bare}, {literal(written)}))"
        value = f"CAST({parsed} AS {self.kind.duckdb})"
        if self.kind.is_stored_from_text:
            value = f"CAST({value} AS VARCHAR)"
        elif kind is ColumnType.INSTANT or "%z" in written:
            value = self._in_years(value)
        grammar = literal(format_grammar(written))
        return f"CASE WHEN regexp_full_match({text}, {grammar}) THEN {value} END"

    def _plain_number(self, text: str) -> str:
        """A number in the column's own form as SQL has it."""
        column = self.column
        for symbol in column.symbols:
            text = f"replace({text}, {literal(symbol)}, '')"
        if column.thousands_separator:
            text = f"regexp_replace({text}, {literal(thousands_marks(column))}, '', 'g')"
        text = f"translate({text}, ' \u00a0\u202f%', '')"
        if column.decimal_separator != ".":
            text = f"replace({text}, {literal(column.decimal_separator)}, '.')"
        if "minus_sign" in column.negatives:
            text = f"replace({text}, '\u2212', '-')"
        if column.negatives:
            digits = f"trim({text}, '()-+')"
            is_negative = f"{text}[1] = '-' OR {text}[1] = '(' OR {text}[-1] = '-'"
            text = f"CASE WHEN {is_negative} THEN '-' ELSE '' END || {digits}"
        return f"({text}) || 'e-2'" if column.percent else f"({text})"

    def rules(self) -> Iterator[Rule]:
        """The rules of the column: its type first, because a wrong value is not a missing one."""
        column = self.column
        first = self.names[0]
        if column.type is not ColumnType.TEXT:
            missing = " OR ".join(f"{name} IS NULL" for name in self.names)
            broken = f"CASE WHEN {missing} THEN {self.clean()} IS NOT NULL ELSE false END"
            problem = "{problem}" if self.kind.find_problem else f"is not {meaning(self.column)}"
            yield self._rule("type", broken, f'"{{value}}" {problem}')
        if column.type is ColumnType.POINT:
            lon, lat = self.names
            outside = f"NOT (abs({lon}) <= {MAX_LONGITUDE} AND abs({lat}) <= {MAX_LATITUDE})"
            yield self._rule(
                "range",
                f"coalesce({outside}, false)",
                '"{value}" is outside the valid range: longitude -180..180 first, then latitude -90..90',
            )
        if column.required:
            yield self._rule("required", f"{first} IS NULL", "a value is required")
        yield from self._range_rules(first)
        if column.scale is not None and column.precision is not None:
            whole_digits = column.precision - column.scale
            yield self._rule(
                "precision",
                f"coalesce(abs({first}) >= 1e{whole_digits}, false)",
                f'"{{value}}" has more than {whole_digits} digits before the point',
            )
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
            broken = f"{first} {operator} CAST({value} AS {self.kind.duckdb})"
            if column.type is ColumnType.NUMERIC:  # a double holds 15 digits
                exact = f"try_cast({quote(self.fields()[0].sent)} AS {_EXACT})"
                broken = f"coalesce({exact} {operator} CAST({value} AS {_EXACT}), {broken})"
            yield self._rule(
                name,
                f"coalesce({broken}, false)",
                f'"{{value}}" is {word} than {bound}',
            )

    def _rule(self, name: str, broken: str, reason: str) -> Rule:
        header = self.column.headers[0]
        if name != "check" and header.casefold() != self.column.name:
            reason += f' (header "{header}")'
        find_problem = self._problem if self.kind.find_problem else None
        return Rule(self.column.name, name, broken, reason, self.raw, self.column.pii, find_problem)

    def _problem(self, cell: str) -> str:
        """What is wrong with a cell of a type that no grammar describes."""
        text = cell.strip(WHITE_SPACE) if self.column.trim else cell
        return self.kind.find_problem(text) if self.kind.find_problem else ""
