"""What a dataset is: its columns, its policies, its roll-ups and queries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

from sluice.csv.dialects import Dialect
from sluice.datasets.types import (
    PARAMETER_TYPES,
    STORED_TYPES,
    TYPES,
    ColumnType,
    StoredType,
    TypeDefinition,
)
from sluice.documents.roles import Role

#: Kinds of aliases that load.
_LOADING = ("row", "upload", "chunked_upload")
#: Name of the column that ties each stored row to the ingestion it came from.
INGESTION_COLUMN = "ingestion"
#: Name of the column that the relation `rows` of a roll-up, and a staged row, adds to the stored ones.
RECORD_COLUMN = "_record"
#: More records than a file has. Split counts those that are recovered after an unclosed quote as one, so a
#: staged row of such a chunk is numbered, until publishing, by its record in the chunk plus this many for
#: each chunk up to this one.
MAX_RECORDS = 1 << 40
#: More columns of a staged row, which may still become a reject.
LINE_COLUMN = "_line"
ORIGINAL_COLUMN = "_original"
#: Name of the column that ties each row of a projection to its segment.
SEGMENT_COLUMN = "segment"
#: Name of the column that the relation `rows` of a projection adds to the stored ones.
SLICE_COLUMN = "_slice"
#: Name, after the dataset's, of the view of its ingestions that are in no projection yet.
UNCOMPACTED = "uncompacted"
#: A segment of an alias's path that varies.
VARIABLE = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
#: Names of columns that the engine's tables, views and parser add.
RESERVED_COLUMNS = (INGESTION_COLUMN, "rowid")
#: Name of the column of texts, JSON objects, that takes what has no column of its own.
RESCUED = "_rescued"
#: Columns that every table of PostgreSQL has.
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
#: Most stored columns: PostgreSQL has 1,600, of which dropped ones and those of the engine are part.
MAX_COLUMNS = 1500


class Duplicates(StrEnum):
    """What happens to a row whose key exists already."""

    IGNORE = "ignore"
    UPDATE = "update"
    ERROR = "error"


class Dangling(StrEnum):
    """What happens to a row that refers to a key which does not exist."""

    REJECT = "reject"
    WARN = "warn"


class LoadPolicy(StrEnum):
    """Whether a file with rejects is published."""

    PARTIAL = "partial"
    ALL_OR_NOTHING = "all_or_nothing"


class NewColumns(StrEnum):
    """What happens to columns of a file that the declaration does not have."""

    ADD = "add"
    IGNORE = "ignore"
    REJECT = "reject"


class Unfitting(StrEnum):
    """What happens to values that are not of their column's type."""

    WIDEN = "widen"
    REJECT = "reject"
    FAIL = "fail"


class Reupload(StrEnum):
    """What a new generation of the same object does to the rows of the old one."""

    APPEND = "append"
    REPLACE = "replace"


@dataclass(frozen=True)
class RejectLimit:
    """How many rejects a published file may have.

    Attributes:
        rows: so many, or
        percent: this share of its rows.
    """

    rows: int = 0
    percent: Fraction | None = None

    def allowed(self, rows: int) -> int:
        """Return how many of these rows may be rejects."""
        return self.rows if self.percent is None else int(rows * self.percent / 100)


@dataclass(frozen=True)
class Check:
    """A rule on a value: a DuckDB condition over the stored names, and the reason given when it is false."""

    sql: str
    message: str


@dataclass(frozen=True)
class Field:
    """One stored column of PostgreSQL; a `point` column has two, every other type one."""

    name: str
    postgres_type: str
    nullable: bool
    dictionary: bool = False

    @property
    def stored(self) -> StoredType:
        """The definition of its PostgreSQL type."""
        return STORED_TYPES[self.postgres_type]

    @property
    def storage_type(self) -> str:
        """The PostgreSQL type in the stored table: a dictionary column is stored as codes."""
        return "smallint" if self.dictionary else self.postgres_type


@dataclass(frozen=True)
class Column:
    """One column of the file.

    Attributes:
        name: stored name; a `point` is stored as `<name>_lon` and `<name>_lat`.
        headers: names that the header of a file may have for it; the first is the preferred one.
        formats: strptime formats tried in order, for dates and times.
        nulls: cell texts that mean null, as the empty cell does.
        two_digit_years: `past` moves a date in the future back a century.
        dictionary: stored as a small code; a table of its own has each text once.
        decimal_separator, thousands_separator, symbols: how numbers are written.
        grouping: of digits between thousands separators: `western` (by three) or `indian`.
        negatives: signs of negative numbers in addition to the minus: `parentheses`, `trailing_minus`,
            `minus_sign` (U+2212).
        percent: whether each number is a percentage, and stored divided by 100.
        precision, scale: most digits of a numeric, and how many of them may be decimals.
        time_zone: of an `instant`, the zone of texts that name none; of a `timestamp`, the zone to which
            texts that name one are converted, or `drop` to ignore it. Empty: UTC, or a reject.
        references: dataset whose key the values are, or empty.
        dangling: what happens to a row whose value is not a key there.
        absent: `next` gives a row without a key the next free whole number.
        pii: whether the values are personal data: they are masked wherever they would be reported.
    """

    name: str
    type: ColumnType
    headers: tuple[str, ...]
    description: str = ""
    required: bool = False
    trim: bool = True
    nulls: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    two_digit_years: str = ""
    dictionary: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    max_length: int | None = None
    pattern: str = ""
    one_of: tuple[str, ...] = ()
    decimal_separator: str = "."
    thousands_separator: str = ""
    symbols: tuple[str, ...] = ()
    grouping: str = "western"
    negatives: tuple[str, ...] = ()
    percent: bool = False
    precision: int | None = None
    scale: int | None = None
    time_zone: str = ""
    default: str = ""
    checks: tuple[Check, ...] = ()
    references: str = ""
    dangling: Dangling = Dangling.REJECT
    absent: str = ""
    pii: bool = False

    @property
    def definition(self) -> TypeDefinition:
        """The definition of the column's type."""
        return TYPES[self.type]

    @property
    def is_special(self) -> bool:
        """Whether what a cell means depends on more than the column's type."""
        declared = self.nulls or self.default or self.formats or self.time_zone
        return bool(declared) or self.is_localized

    @property
    def is_localized(self) -> bool:
        """Whether numbers are written in a way of their own."""
        signs = self.thousands_separator or self.symbols or self.negatives or self.percent
        return bool(signs) or self.decimal_separator != "."

    @property
    def fields(self) -> tuple[Field, ...]:
        """The stored columns, in order."""
        kind = self.definition.stored.name
        nullable = not (self.required or self.absent)
        return tuple(
            Field(self.name + suffix, kind, nullable, self.dictionary)
            for suffix in self.definition.suffixes
        )


@dataclass(frozen=True)
class Rollup:
    """An aggregate kept current by each load.

    Attributes:
        name: it is stored as `store.<dataset>__<name>` and read as the view `<dataset>_<name>`.
        keys: columns of the result that identify a group.
        measures: the other columns, each with the way two parts merge: `sum`, `min` or `max`.
        sql: DuckDB query over the relation `rows`, which has the stored columns and `_record`, the
            number of the row's record in the file, from 0, the header not counted.
        line: of the file, on which `sql` begins.
    """

    name: str
    description: str
    keys: tuple[str, ...]
    measures: tuple[tuple[str, str], ...]
    sql: str
    indexes: tuple[tuple[str, ...], ...] = ()
    line: int = 1


class Period(StrEnum):
    """The period by which rows of boxes are counted; weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True)
class BoxCounts:
    """Counts of the rows of any box of coordinates, by period and by groups of cells.

    Attributes:
        name: its functions are `<dataset>_<name>_counts` and `<dataset>_<name>_groups`; each point has a
            tree, the projection `<name>_<point>`.
        points: one or two point columns; boxes of groups are around the first.
        time: the column of the time of a row.
        partition: a dictionary column whose values have separate trees, or empty.
        cell_size: side in degrees of the cells of groups that are stored.
        bucket_hours: hours of the buckets of time of groups that are stored.
        sums: columns of whole numbers that are added, in addition to counting rows.
    """

    name: str
    description: str
    points: tuple[str, ...]
    time: str
    period: Period
    partition: str
    cell_size: float
    bucket_hours: int
    sums: tuple[str, ...]


@dataclass(frozen=True)
class BoxTree:
    """The tree of one point of box counts; that of the first point has the groups and the other point."""

    counts: BoxCounts
    point: str

    @property
    def is_first(self) -> bool:
        """Whether it is the tree of the first point."""
        return self.point == self.counts.points[0]

    @property
    def other(self) -> str:
        """The other point whose coordinates it has, or empty."""
        return self.counts.points[1] if self.is_first and len(self.counts.points) > 1 else ""


@dataclass(frozen=True)
class Projection:
    """The rows rearranged for fast queries, in the background after their ingestions are done.

    Attributes:
        name: it is stored as `store.<dataset>__<name>` and read as the view `<dataset>_<name>`.
        columns: the columns of the result, in order; those of the rows keep their meaning, so a
            dictionary column is read as text.
        sql: PostgreSQL query over the relation `rows`, which has the stored columns, codes as codes,
            and `_slice`, a number that no other slice has.
        slice: stored column by whose ranges the rows of a segment are processed; a group may be split
            at their bounds. Empty: a segment is one slice.
        line: of the file, on which `sql` begins.
        tree: what compaction builds instead of running `sql`, which is empty then.
    """

    name: str
    description: str
    columns: tuple[str, ...]
    sql: str
    slice: str = ""
    indexes: tuple[tuple[str, ...], ...] = ()
    line: int = 1
    tree: BoxTree | None = None


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query: type, default (`None` with `required` false means null) and range."""

    name: str
    type: str
    description: str = ""
    required: bool = False
    default: str | None = None
    one_of: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def stored(self) -> StoredType:
        """The type of PostgreSQL that its value is bound as."""
        return PARAMETER_TYPES[self.type]


@dataclass(frozen=True)
class Drawing:
    """How a query's answer is drawn: `bar`, `line` or `map`, and which columns serve as what.

    Attributes:
        options: `x` and `y`, of a map also `size`; optionally `series`, `rows`, `cell` and `label`.
    """

    kind: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer, or of the list in it, that it draws."""
        named = [dict(self.options).get(each, "") for each in ("x", "y", "size", "series")]
        return tuple(name for each in named for name in each.split(",") if name)


@dataclass(frozen=True)
class Near:
    """The suggestions of a verb that finds nothing.

    Attributes:
        query: another query of the dataset, called with the verb's first argument.
        column: the column of its answer whose first values are suggested.
    """

    query: str
    column: str


@dataclass(frozen=True)
class Query:
    """A named query of a dataset.

    Attributes:
        summary: one sentence: what it answers.
        needs: alternatives of parameter names; at least one alternative must be given in full,
            and none in part.
        ascending: groups of parameter names; of each group the values that are given must not
            descend, such as the edges of a box.
        returns: `one` object, or `many` rows.
        sql: PostgreSQL, parameters as `:name`.
        line: of the file, on which `sql` begins.
        verb: name of its own CLI command, or empty.
    """

    name: str
    summary: str
    sql: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    ascending: tuple[tuple[str, ...], ...] = ()
    returns: str = "many"
    drawing: Drawing | None = None
    verb: str = ""
    verb_output: str = ""
    verb_heading: str = ""
    near: Near | None = None
    line: int = 1

    @property
    def parameter_types(self) -> dict[str, str]:
        """The PostgreSQL type of each parameter, by name."""
        return {each.name: each.stored.name for each in self.parameters}


@dataclass(frozen=True)
class Alias:
    """A route that a dataset serves in addition to the API's own.

    Attributes:
        path: `{name}` matches one segment.
        kind: one of `sluice.datasets.aliases.KINDS`.
        text: the response of kind `text`.
        query: the query that is answered; of kind `row`, after the row is published.
        shape: the answer: a list of objects, one object, a list of the first column, or a text.
        names: whether the members of an object are named by columns or by the headers of the file.
        needs: members that the body of kind `row` must have.
        next_key: column that gets the next free number if the body has none.
    """

    method: str
    path: str
    kind: str
    text: str = ""
    query: str = ""
    shape: str = "objects"
    names: str = "columns"
    needs: tuple[str, ...] = ()
    next_key: str = ""

    @property
    def route(self) -> str:
        """Method and path, as declared."""
        return f"{self.method} {self.path}"

    @property
    def role(self) -> Role:
        """The least role that a caller needs."""
        return Role.LOADER if self.kind in _LOADING else Role.READER

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the path's variable segments."""
        return tuple(VARIABLE.findall(self.path))

    @property
    def place(self) -> str:
        """The route without the names of its variables: two aliases with the same place conflict."""
        return VARIABLE.sub("{}", self.route)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        parts = VARIABLE.split(self.path)
        literals, names = map(re.escape, parts[::2]), [*parts[1::2], ""]
        variables = [f"(?P<{name}>[^/]+)" if name else "" for name in names]
        return re.compile("".join(a + b for a, b in zip(literals, variables, strict=True)))


@dataclass(frozen=True)
class Dataset:
    """A declared dataset, complete and valid.

    Attributes:
        cluster: stored columns (or DuckDB expressions) by which the rows of a chunk are ordered.
        detects_encoding: whether the encoding of each file is detected: UTF-8 or Windows-1252.
        stray_quotes: `reject` or `literal`, for a quote inside an unquoted field.
        ragged: `reject`, `pad` (records with too few fields) or `rescue` (also those with too many).
        sheet: the sheet of a workbook that is loaded; empty: the first visible one with a value.
        aliases: routes of other systems that the dataset serves.
        output: name of the query whose result for one ingestion is that file's output, or empty.
        new_columns: whether a file's undeclared columns are added, ignored or refused.
        unfitting: whether values of another type widen their column, are rejects, or fail the file.
        rescues: whether the last column, `RESCUED`, takes the cells that have no declared column.
        detects_dialect: whether the dialect of each file is detected; the keys in `given_dialect` hold.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    dialect: Dialect = field(default_factory=Dialect)
    key: tuple[str, ...] = ()
    duplicates: Duplicates = Duplicates.IGNORE
    load: LoadPolicy = LoadPolicy.PARTIAL
    max_rejects: RejectLimit | None = None
    reupload: Reupload = Reupload.APPEND
    cluster: tuple[str, ...] = ()
    detects_encoding: bool = False
    stray_quotes: str = "reject"
    ragged: str = "reject"
    sheet: str = ""
    rollups: tuple[Rollup, ...] = ()
    projections: tuple[Projection, ...] = ()
    queries: tuple[Query, ...] = ()
    table_sql: str = ""
    aliases: tuple[Alias, ...] = ()
    output: str = ""
    version: int = 1
    new_columns: NewColumns = NewColumns.REJECT
    unfitting: Unfitting = Unfitting.REJECT
    rescues: bool = False
    detects_dialect: bool = False
    given_dialect: tuple[tuple[str, str | int | bool], ...] = ()

    @property
    def box_counts(self) -> tuple[BoxCounts, ...]:
        """The declared box counts, of which each has a projection for each point."""
        trees = (each.tree for each in self.projections)
        return tuple(each.counts for each in trees if each and each.is_first)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The stored columns, in order, without the ingestion."""
        return tuple(each for column in self.columns for each in column.fields)

    @property
    def reject_limit(self) -> RejectLimit | None:
        """How many rejects a file may have, by both policies; None: any number."""
        if self.load is LoadPolicy.ALL_OR_NOTHING:
            return self.max_rejects or RejectLimit()
        return self.max_rejects

    @property
    def pii_fields(self) -> frozenset[str]:
        """The names of the stored columns with personal data."""
        return frozenset(f.name for column in self.columns if column.pii for f in column.fields)

    @property
    def has_pii(self) -> bool:
        """Whether a column has personal data."""
        return any(each.pii for each in self.columns)

    @property
    def is_numbered(self) -> bool:
        """Whether each row needs its record's number in the file; numbering costs some time."""
        return self.is_staged or any(RECORD_COLUMN in each.sql for each in self.rollups)

    @property
    def is_staged(self) -> bool:
        """Whether rows are staged, and merged when they are published."""
        return bool(self.key) or bool(self.references)

    @property
    def skips_same_content(self) -> bool:
        """Whether a file is skipped if its content is published.

        Not where each object has its own rows, nor where the order of uploads decides which row counts:
        there every file is loaded.
        """
        return self.reupload is Reupload.APPEND and not self.updates

    @property
    def updates(self) -> bool:
        """Whether a row replaces an earlier one with the same key."""
        return bool(self.key) and self.duplicates is Duplicates.UPDATE

    @property
    def keeps_originals(self) -> bool:
        """Whether a row may still become a reject at publish, and so keeps its original bytes."""
        refuses = any(each.dangling is Dangling.REJECT for each in self.references)
        return refuses or (bool(self.key) and self.duplicates is Duplicates.ERROR)

    @property
    def references(self) -> tuple[Column, ...]:
        """The columns that refer to another dataset's key."""
        return tuple(each for each in self.columns if each.references)

    @property
    def dictionaries(self) -> tuple[Field, ...]:
        """The stored columns that hold a code instead of their text."""
        return tuple(each for each in self.fields if each.dictionary)

    def query(self, name: str) -> Query | None:
        """Return the query of that name, or None."""
        return next((each for each in self.queries if each.name == name), None)
