"""Compiles a dataset's declaration into the DuckDB statements that type, check and refuse its rows.

The same expressions serve twice: over a whole chunk they give the typed rows and one flag, and over
the few records that failed they name the first rule each breaks. Knows no SDK and runs nothing.

A raw cell is `_<n>` (text or null), n its column in the declaration; a stored column has its own name,
which never begins with an underscore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sluice.datasets.identifiers import literal, quote
from sluice.datasets.model import RECORD_COLUMN, Column, Dataset
from sluice.datasets.types import ColumnType

#: White space that a trim takes off: Unicode's, no-break space and byte order mark included.
WHITE_SPACE = (
    " \t\r\n\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u202f\u205f\u3000\ufeff"
)

#: A text that begins and ends with visible ASCII needs no trim.
VISIBLE_ENDS = r"(?s)^[!-~](.*[!-~])?$"


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
    """The statements of one dataset.

    Most cells are written in the usual way, and reading only that way is twice as fast. So a chunk
    is read as usual first; the rows that are not usual, or break a rule, are not `_ok`. They are
    read again thoroughly.

    Attributes:
        stored: names of the typed columns, in the order of the declaration.
        pieces: what cells fall into, by name; `usual` and `is_usual` both use them.
        usual: select list of the typed columns for cells written in the usual way.
        is_usual: conditions that every cell is written so and has a value of its type.
        unseen: dictionary columns whose few texts are looked at by themselves, and not in each row.
        thorough: select list of the typed columns, however the cells are written.
        plain: of each column whether its cells mean no more than its type says, so that a reader that
            knows types alone may try them.
        by_columns: whether columns are to be typed one by one, see `sluice.parsing.columnar`.
        rules: the rules in the order in which they are tried.
        numbered: whether the source has, and the rows keep, the number of their record.
    """

    stored: tuple[str, ...]
    pieces: tuple[str, ...]
    usual: tuple[str, ...]
    is_usual: tuple[str, ...]
    unseen: tuple[str, ...]
    thorough: tuple[str, ...]
    plain: tuple[bool, ...]
    by_columns: bool
    rules: tuple[Rule, ...]
    numbered: bool

    def typing(self, source: str, *, thorough: bool) -> str:
        """Return the query of typed rows in the order of the file, each with a flag `_ok`."""
        rules = [rule for rule in self.rules if thorough or rule.name != "type"]
        conditions = [f"NOT ({rule.broken})" for rule in rules]
        conditions += [] if thorough else [f"({each})" for each in self.is_usual]
        kept = (*self.stored, RECORD_COLUMN) if self.numbered else self.stored
        names = ", ".join(quote(name) for name in kept)
        ok = " AND ".join(conditions) or "true"
        if self.pieces and not thorough:
            source = f"(SELECT *, {', '.join(self.pieces)} FROM {source})"
        return f"SELECT {names}, {ok} AS _ok FROM (SELECT *, {self._list(thorough)} FROM {source})"

    def settling(self, source: str, typed: Collection[str], full: Collection[str]) -> str | None:
        """Return the query of what is still to be found out about rows, in their order.

        Args:
            source: relation of the typed columns and the raw cells of the others.
            typed: names of the columns that are typed already.
            full: those of them that have no null.

        Returns:
            The query of the other columns' values and a flag `_ok`; None where nothing is left.
        """
        rules = [
            rule
            for rule in self.rules
            if not (rule.name == "type" and rule.column in typed)
            and not (rule.name == "required" and rule.column in full)
        ]
        rest = [
            (sql, quote(name))
            for sql, name in zip(self.thorough, self.stored, strict=True)
            if name not in typed
        ]
        if not rules and not rest:
            return None
        ok = " AND ".join(f"NOT ({rule.broken})" for rule in rules) or "true"
        names = "".join(f"{name}, " for _, name in rest)
        made = "".join(f", {sql} AS {name}" for sql, name in rest)
        return f"SELECT {names}{ok} AS _ok FROM (SELECT *{made} FROM {source})"

    def explaining(self, source: str) -> str:
        """Return the query of (number of the first broken rule, its cell) of every row in order."""
        rules = list(enumerate(self.rules))
        which = " ".join(f"WHEN {rule.broken} THEN {number}" for number, rule in rules)
        cell = " ".join(f"WHEN {rule.broken} THEN {rule.cell}" for _, rule in rules)
        if not rules:
            return f"SELECT NULL, NULL FROM {source}"
        typed = f"(SELECT *, {self._list(thorough=True)} FROM {source})"
        return f"SELECT CASE {which} END, CASE {cell} END FROM {typed}"

    def _list(self, thorough: bool) -> str:
        columns = self.thorough if thorough else self.usual
        pairs = zip(self.stored, columns, strict=True)
        return ", ".join(f"{sql} AS {quote(name)}" for name, sql in pairs)


def compile_dataset(dataset: Dataset) -> Plan:
    """Return the plan of a dataset."""
    compiled = [_Cell(number, column) for number, column in enumerate(dataset.columns)]
    return Plan(
        stored=tuple(each.name for each in dataset.fields),
        pieces=tuple(sql for cell in compiled for sql in cell.pieces()),
        usual=tuple(sql for cell in compiled for sql in cell.usual()),
        is_usual=tuple(sql for cell in compiled for sql in cell.is_usual()),
        unseen=tuple(cell.column.name for cell in compiled if cell.is_unseen),
        thorough=tuple(sql for cell in compiled for sql in cell.thorough()),
        plain=tuple(cell.is_plain for cell in compiled),
        by_columns=not any(cell.is_better_in_rows for cell in compiled),
        rules=tuple(rule for cell in compiled for rule in cell.rules()),
        numbered=dataset.is_numbered,
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

    def pieces(self) -> Iterator[str]:
        """What the cell falls into, as `expression AS name`."""
        if self.column.type is ColumnType.POINT:
            inner = f"substr({self.raw}, 8, length({self.raw}) - 8)"
            for position, half in enumerate(self._halves, 1):
                yield f"split_part({inner}, ' ', {position}) AS {half}"

    @property
    def _halves(self) -> tuple[str, str]:
        return f"_lon{self.raw}", f"_lat{self.raw}"

    def usual(self) -> tuple[str, ...]:
        """The values, if the cell is written in the usual way."""
        kind = self.column.type
        if kind is ColumnType.POINT:
            return tuple(f"try_cast({half} AS DOUBLE)" for half in self._halves)
        if kind is ColumnType.TEXT and not self.column.is_special:
            return (self.raw,)
        if kind is not ColumnType.TEXT and not self.column.is_special:
            return (f"try_cast({self.raw} AS {self.kind.duckdb})",)
        return self.thorough()

    def is_usual(self) -> Iterator[str]:
        """Conditions under which `usual` and `thorough` agree."""
        raw, kind = self.raw, self.column.type
        if kind is ColumnType.POINT:
            shape = f"starts_with({raw}, 'POINT (') AND ends_with({raw}, ')')"
            lon, lat = self.names
            # 9 is `POINT (`, the space between and `)`: nothing else is there.
            size = " + ".join(f"strlen({half})" for half in self._halves)
            yield (
                f"{raw} IS NULL OR ({shape} AND strlen({raw}) = {size} + 9"
                f" AND {lon} IS NOT NULL AND {lat} IS NOT NULL)"
            )
        elif self.is_unseen:
            return
        elif kind is ColumnType.TEXT and self.column.trim and not self.column.is_special:
            yield f"{raw} IS NULL OR {self._has_visible_ends()}"
        elif self.kind.is_whole and not self.column.is_special:
            # A cast rounds "2.5" and reads "1e3": only what comes back as it was is usual.
            yield f"{raw} IS NULL OR coalesce({self._is_same(self.names[0])}, false)"
        elif kind is not ColumnType.TEXT and not self.column.is_special:
            yield f"{self.names[0]} IS NOT NULL OR {raw} IS NULL"
        elif kind is not ColumnType.TEXT:
            yield f"{self.names[0]} IS NOT NULL OR {self.clean()} IS NULL"

    @property
    def is_plain(self) -> bool:
        """Whether the cell means no more than its type says."""
        is_plain = self.kind.has_arrow_cast and not self.kind.is_compound
        is_trimmed = self.column.trim or self.column.type is ColumnType.TEXT
        return is_plain and is_trimmed and not self.column.is_special

    @property
    def is_better_in_rows(self) -> bool:
        """Whether the quick way by rows does more for the column than the way by columns."""
        is_plain = self.kind.stored.has_binary_copy and not self.kind.is_compound
        return self.column.dictionary or not is_plain

    @property
    def is_unseen(self) -> bool:
        """A dictionary column that may need a trim: its distinct texts tell."""
        return self.column.dictionary and self.column.trim and not self.column.is_special

    def thorough(self) -> tuple[str, ...]:
        """The values, however the cell is written."""
        kind = self.column.type
        if kind is ColumnType.TEXT and self.column.trim and not self.column.is_special:
            # A trim looks at each character; most cells need none.
            return (
                f"CASE WHEN {self._has_visible_ends()} THEN {self.raw} ELSE {self.clean()} END",
            )
        if kind is ColumnType.TEXT:
            return (self.clean(),)
        if kind is ColumnType.POINT:
            return tuple(self._coordinate(position) for position in (1, 2))
        if self.kind.is_time and self.column.formats:
            return (self._parsed_time(),)
        if self.kind.is_number and self.column.is_localized:
            return (f"try_cast({self._plain_number()} AS {self.kind.duckdb})",)
        return (self._cast(),)

    def _has_visible_ends(self) -> str:
        """As VISIBLE_ENDS says, which would look at all that is between."""
        raw = self.raw
        return f"({raw} >= '!' AND {raw} < chr(127) AND right({raw}, 1) BETWEEN '!' AND '~')"

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
            typed = f"CAST({value} AS {self.kind.duckdb})"
            yield self._rule(
                name,
                f"coalesce({first} {operator} {typed}, false)",
                f'"{{value}}" is {word} than {bound}',
            )

    def _rule(self, name: str, broken: str, reason: str) -> Rule:
        return Rule(self.column.name, name, broken, reason, self.raw)
