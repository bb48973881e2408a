"""The column types: one entry each, from which every other module takes names, casts and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sluice.datasets.json_grammar import json_problem, read_json_text


class ColumnType(StrEnum):
    """The types a column may be declared with."""

    TEXT = "text"
    INTEGER = "integer"
    BIGINT = "bigint"
    FLOAT = "float"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    INSTANT = "instant"
    TIME = "time"
    UUID = "uuid"
    POINT = "point"
    JSON = "json"


@dataclass(frozen=True)
class FixedWidth:
    """How a backup transfers values of a fixed width.

    Attributes:
        dtype: numpy's, of the value in memory; PostgreSQL sends it in network byte order.
        avro, avro_logical: type and logical type in Avro.
        zero: SQL literal that takes the place of a null.
        epoch_offset: offset of a file's value from PostgreSQL's, whose epoch is 2000-01-01.
    """

    dtype: str
    avro: str
    avro_logical: str = ""
    zero: str = "0"
    epoch_offset: int = 0


@dataclass(frozen=True)
class StoredType:
    """A type of PostgreSQL that values are stored as, and its names elsewhere.

    Attributes:
        name: PostgreSQL's short name.
        oid: PostgreSQL's number of it.
        duckdb: names that DuckDB reports for results that are stored as it.
        arrow: alias of Arrow's type, in answers and in Parquet files; text where there is no equal.
        json_schema: of a value in JSON.
        example: a value as JSON has it.
        description: what a request's value must be, for errors.
        read: makes a request's text a value, or raises one of `READ_ERRORS`.
        full_name: PostgreSQL's full name, where it differs.
        time_zone: of Arrow's timestamps.
        is_whole: whether values are whole numbers.
        is_time: whether values are dates or times.
        is_ordered: whether least and greatest values are defined.
        is_sortable: whether rows can be ordered, grouped and identified by it.
        sum_type: type of a sum, for numbers alone.
        has_binary_copy: whether pgpq encodes it for a binary COPY.
        avro_logical: logical type in Avro of values that are transferred as text.
        fixed_width: how backups transfer it; None for texts.
    """

    name: str
    oid: int
    arrow: str
    json_schema: Mapping[str, str | int]
    example: str | float | bool | Sequence[int]
    description: str
    read: Callable[[str], Any]
    duckdb: tuple[str, ...] = ()
    full_name: str = ""
    time_zone: str = ""
    is_whole: bool = False
    is_time: bool = False
    is_ordered: bool = True
    is_sortable: bool = True
    sum_type: str = ""
    has_binary_copy: bool = True
    avro_logical: str = ""
    fixed_width: FixedWidth | None = None

    @property
    def is_number(self) -> bool:
        """Whether values can be summed."""
        return bool(self.sum_type)

    def parse(self, text: str) -> Any:
        """Return the value that a request's text means.

        Raises:
            ValueError: it is not one; the message says what one looks like.
        """
        try:
            return self.read(text)
        except READ_ERRORS:
            raise ValueError(f'"{text}" is not {self.description}') from None


@dataclass(frozen=True)
class TypeDefinition:
    """What a column type is.

    Attributes:
        name: as declared.
        stored: what PostgreSQL stores.
        meaning: what a cell must be, for reject reasons: `"x" is not a whole number`.
        grammar: regular expression, for Python's `re` and RE2 alike, that a trimmed cell matches in
            full if it is written as this type and the column declares no format of its own; empty for
            a type that `find_problem` decides.
        example: a cell.
        duckdb: type of the value in DuckDB, where rules are tested and roll-ups computed.
        suffixes: one for each stored column of the type.
        accepted, refused: cells inside and outside the grammar.
        find_problem: where no regular expression can, says what is wrong with a trimmed cell, as a
            predicate such as `is not JSON`; an empty text for a value.
        note: what the grammar does not say, for the documentation.
    """

    name: ColumnType
    stored: StoredType
    meaning: str
    grammar: str
    example: str
    duckdb: str
    suffixes: tuple[str, ...] = ("",)
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    find_problem: Callable[[str], str] | None = None
    note: str = ""

    @property
    def is_stored_from_text(self) -> bool:
        """Whether PostgreSQL is sent the text of a cell, and so keeps every digit of it."""
        return not self.stored.has_binary_copy

    @property
    def is_compound(self) -> bool:
        """Whether a cell becomes several stored columns."""
        return len(self.suffixes) > 1

    @property
    def is_number(self) -> bool:
        """Whether a cell is one number."""
        return self.stored.is_number and not self.is_compound

    @property
    def is_whole(self) -> bool:
        """Whether a cell is a whole number."""
        return self.stored.is_whole

    @property
    def is_time(self) -> bool:
        """Whether a cell is a date or time, which a column may declare formats for."""
        return self.stored.is_time


#: What reading a text that is not a value raises.
READ_ERRORS = (ValueError, KeyError, InvalidOperation)
_BOOLEANS = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}
#: PostgreSQL counts days and microseconds from 2000-01-01, files from 1970-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000


def _read_text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return text


def _whole_number(bits: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text, 10)
        if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise ValueError(text)
        return number

    return read


def _integer_schema(bits: int, **members: str) -> Mapping[str, str | int]:
    limits = {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
    return {"type": "integer", **members, **limits}


def _read_boolean(text: str) -> bool:
    return _BOOLEANS[text.lower()]


def _read_timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError(text)
    return moment


def _read_instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


#: JSON has no numbers that are not finite.
_NOT_FINITE = 'NaN and infinities are the texts "NaN", "Infinity" and "-Infinity".'

_TEXT = StoredType(
    name="text",
    oid=25,
    duckdb=("VARCHAR",),
    arrow="string",
    json_schema={"type": "string"},
    example="Prague",
    description="a text without NUL",
    read=_read_text,
)
_SMALLINT = StoredType(
    name="smallint",
    oid=21,
    duckdb=("SMALLINT",),
    arrow="int16",
    json_schema=_integer_schema(16),
    example=42,
    description="a whole number",
    read=_whole_number(16),
    is_whole=True,
    sum_type="numeric",
    fixed_width=FixedWidth("i2", "int"),
)
_INTEGER = StoredType(
    name="integer",
    oid=23,
    duckdb=("INTEGER",),
    arrow="int32",
    json_schema=_integer_schema(32, format="int32"),
    example=42,
    description="a whole number of 32 bits",
    read=_whole_number(32),
    is_whole=True,
    sum_type="numeric",
    fixed_width=FixedWidth("i4", "int"),
)
_BIGINT = StoredType(
    name="bigint",
    oid=20,
    duckdb=("BIGINT", "HUGEINT"),
    arrow="int64",
    json_schema=_integer_schema(64, format="int64"),
    example=42,
    description="a whole number of 64 bits",
    read=_whole_number(64),
    is_whole=True,
    sum_type="numeric",
    fixed_width=FixedWidth("i8", "long"),
)
_REAL = StoredType(
    name="real",
    oid=700,
    duckdb=("FLOAT",),
    arrow="float32",
    json_schema={"type": "number", "format": "float", "description": _NOT_FINITE},
    example=14.5,
    description="a number",
    read=float,
    sum_type="real",
    fixed_width=FixedWidth("f4", "float"),
)
_DOUBLE = StoredType(
    name="double precision",
    oid=701,
    duckdb=("DOUBLE",),
    arrow="float64",
    json_schema={"type": "number", "format": "double", "description": _NOT_FINITE},
    example=14.42,
    description="a number",
    read=float,
    sum_type="double precision",
    fixed_width=FixedWidth("f8", "double"),
)
_NUMERIC = StoredType(
    name="numeric",
    oid=1700,
    duckdb=("DECIMAL",),
    # PostgreSQL's numeric has no bound; answers have decimals where all values fit one.
    arrow="string",
    json_schema={"type": "number"},
    example=19.99,
    description="a number",
    read=Decimal,
    sum_type="numeric",
    has_binary_copy=False,
)
_BOOLEAN = StoredType(
    name="boolean",
    oid=16,
    duckdb=("BOOLEAN",),
    arrow="bool",
    json_schema={"type": "boolean"},
    example=True,
    description="true or false",
    read=_read_boolean,
    is_ordered=False,
    fixed_width=FixedWidth("u1", "boolean", zero="false"),
)
_DATE = StoredType(
    name="date",
    oid=1082,
    duckdb=("DATE",),
    arrow="date32",
    json_schema={"type": "string", "format": "date"},
    example="2018-05-28",
    description="a date such as 2018-05-28",
    read=date.fromisoformat,
    is_time=True,
    fixed_width=FixedWidth("i4", "int", "date", "'epoch'", _EPOCH_DAYS),
)
_TIMESTAMP = StoredType(
    name="timestamp",
    full_name="timestamp without time zone",
    oid=1114,
    duckdb=("TIMESTAMP",),
    arrow="timestamp[us]",
    json_schema={"type": "string", "description": "A time without a time zone."},
    example="2018-05-28T09:03:40",
    description="a time such as 2018-05-28T09:03:40, without a time zone",
    read=_read_timestamp,
    is_time=True,
    fixed_width=FixedWidth("i8", "long", "local-timestamp-micros", "'epoch'", _EPOCH_MICROSECONDS),
)
_TIMESTAMPTZ = StoredType(
    name="timestamptz",
    full_name="timestamp with time zone",
    oid=1184,
    duckdb=("TIMESTAMP WITH TIME ZONE",),
    arrow="timestamp[us]",
    time_zone="UTC",
    json_schema={"type": "string", "format": "date-time"},
    example="2018-05-28T09:03:40+00:00",
    description="a time with its time zone, such as 2018-05-28T09:03:40Z",
    read=_read_instant,
    is_time=True,
    fixed_width=FixedWidth("i8", "long", "timestamp-micros", "'epoch'", _EPOCH_MICROSECONDS),
)
_TIME = StoredType(
    name="time",
    full_name="time without time zone",
    oid=1083,
    duckdb=("TIME",),
    arrow="time64[us]",
    json_schema={"type": "string", "format": "time"},
    example="09:03:40",
    description="a time of day such as 09:03:40",
    read=time.fromisoformat,
    is_time=True,
    has_binary_copy=False,
    fixed_width=FixedWidth("i8", "long", "time-micros", "'00:00'"),
)
_UUID = StoredType(
    name="uuid",
    oid=2950,
    duckdb=("UUID",),
    arrow="string",
    json_schema={"type": "string", "format": "uuid"},
    example="6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    description="a UUID",
    read=UUID,
    is_ordered=False,
    has_binary_copy=False,
    avro_logical="uuid",
)
_JSONB = StoredType(
    name="jsonb",
    oid=3802,
    duckdb=("JSON",),
    arrow="string",
    json_schema={"description": "Any JSON value."},
    example=[1, 2],
    description="a JSON value",
    read=read_json_text,
    is_ordered=False,
    is_sortable=False,
    has_binary_copy=False,
)
_STORED = (
    _TEXT, _SMALLINT, _INTEGER, _BIGINT, _REAL, _DOUBLE, _NUMERIC, _BOOLEAN,
    _DATE, _TIMESTAMP, _TIMESTAMPTZ, _TIME, _UUID, _JSONB,
)  # fmt: skip

#: PostgreSQL's types by their short and by their full names.
STORED_TYPES: Mapping[str, StoredType] = MappingProxyType(
    {name: each for each in _STORED for name in (each.name, each.full_name) if name}
)
#: PostgreSQL's types by number.
STORED_BY_OID: Mapping[int, StoredType] = MappingProxyType({each.oid: each for each in _STORED})
#: By the full name of a stored type: those that have every value of it.
WIDER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "integer": ("bigint", "numeric", "text"),
        "bigint": ("numeric", "text"),
        "numeric": ("text",),
        "double precision": ("text",),
        "boolean": ("text",),
        "date": ("timestamp without time zone", "text"),
        "timestamp without time zone": ("text",),
        "timestamp with time zone": ("text",),
        "time without time zone": ("text",),
        "uuid": ("text",),
        "jsonb": ("text",),
    }
)
#: Types of a query's parameters, by the names that its declaration gives them.
PARAMETER_TYPES: Mapping[str, StoredType] = MappingProxyType(
    {
        "text": _TEXT,
        "integer": _INTEGER,
        "number": _DOUBLE,
        "boolean": _BOOLEAN,
        "date": _DATE,
        "timestamp": _TIMESTAMP,
    }
)


def stored_from_duckdb(name: str) -> StoredType:
    """Return the type that stores results of a DuckDB type, as a binary COPY takes them.

    Raises:
        KeyError: there is none.
    """
    bare = name.partition("(")[0]
    for each in _STORED:
        if bare in each.duckdb and each.has_binary_copy:
            return each
    raise KeyError(bare)


_DIGITS = "[+-]?[0-9]+"
_DECIMAL = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
#: A date of ISO 8601, without the year 0000, which PostgreSQL does not have.
DAY = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
ZONE = "(?: ?(?:Z|UTC|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?))"

_DEFINITIONS = (
    TypeDefinition(
        name=ColumnType.TEXT,
        stored=_TEXT,
        meaning="a text",
        grammar="(?s:.*)",
        example="Prague",
        duckdb="VARCHAR",
        accepted=(
            "",
            " ",
            "a\nb",
            "\u0141\u00f3d\u017a",
        ),
        note=(
            "A text of PostgreSQL: a record with a NUL byte or with bytes that are not in the "
            "file's encoding is rejected. Control characters are kept."
        ),
    ),
    TypeDefinition(
        name=ColumnType.INTEGER,
        stored=_INTEGER,
        meaning="a whole number",
        grammar=_DIGITS,
        example="42",
        duckdb="INTEGER",
        accepted=(
            "0",
            "-1",
            "+007",
            "2147483647",
        ),
        refused=(
            "",
            "2.5",
            "1e3",
            "0x10",
            "1_000",
            "\u0661",
            "-",
        ),
        note="32 bits; never rounded.",
    ),
    TypeDefinition(
        name=ColumnType.BIGINT,
        stored=_BIGINT,
        meaning="a whole number",
        grammar=_DIGITS,
        example="42",
        duckdb="BIGINT",
        accepted=("42",),
        refused=("42.",),
        note="64 bits; never rounded.",
    ),
    TypeDefinition(
        name=ColumnType.FLOAT,
        stored=_DOUBLE,
        meaning="a number",
        grammar=f"{_DECIMAL}|(?i:nan|[+-]?inf(?:inity)?)",
        example="14.42",
        duckdb="DOUBLE",
        accepted=(
            "1",
            "-1.5",
            ".5",
            "5.",
            "1e3",
            "+1E-7",
            "NaN",
            "-inf",
            "Infinity",
        ),
        refused=(
            "",
            ".",
            "1,5",
            "0x10",
            "1_000",
            "1d",
            "e3",
            "infin",
        ),
        note="The nearest double; a number too large for one is rejected.",
    ),
    TypeDefinition(
        name=ColumnType.NUMERIC,
        stored=_NUMERIC,
        meaning="a number",
        grammar=_DECIMAL,
        example="19.99",
        duckdb="DOUBLE",
        accepted=(
            "1234.50",
            "-.5",
            "1e3",
        ),
        refused=(
            "NaN",
            "inf",
            "1_000",
            "$5",
            "1,000",
        ),
        note="Stored with every digit it has, unless `precision` and `scale` limit them. A text of more"
        " than 15,000 characters is rejected.",
    ),
    TypeDefinition(
        name=ColumnType.BOOLEAN,
        stored=_BOOLEAN,
        meaning="true or false",
        grammar="(?i:true|false|t|f|yes|no|y|n|1|0)",
        example="true",
        duckdb="BOOLEAN",
        accepted=(
            "true",
            "T",
            "yes",
            "Y",
            "1",
            "False",
            "f",
            "NO",
            "n",
            "0",
        ),
        refused=(
            "on",
            "off",
            "2",
            "ja",
        ),
        note="In any case.",
    ),
    TypeDefinition(
        name=ColumnType.DATE,
        stored=_DATE,
        meaning="a date",
        grammar=DAY,
        example="2018-05-28",
        duckdb="DATE",
        accepted=(
            "2018-05-28",
            "0001-12-31",
        ),
        refused=(
            "2018-5-8",
            "18-05-28",
            "2018/05/28",
            "2018-05-28 00:00",
            "2018-13-01",
            "0000-01-01",
            "infinity",
        ),
        note=(
            "ISO 8601; years from 0001 to 9999. PostgreSQL's `infinity` is rejected, because "
            "other systems cannot read it."
        ),
    ),
    TypeDefinition(
        name=ColumnType.TIMESTAMP,
        stored=_TIMESTAMP,
        meaning="a date and time",
        grammar=f"{DAY}(?:[T ]{CLOCK})?",  # a date alone is its midnight
        example="2018-05-28 09:03:40",
        duckdb="TIMESTAMP",
        accepted=(
            "2018-05-28",
            "2018-05-28 09:03",
            "2018-05-28T09:03:40",
            "2018-05-28 09:03:40.123456",
        ),
        refused=(
            "2018-05-28 09",
            "2018-05-28 9:3:4",
            "2018-05-28 24:00:00",
            "2018-05-28T09:03:40Z",
            "epoch",
        ),
        note=(
            "ISO 8601; a date alone is its midnight. A text with a time zone is rejected, unless "
            "`time_zone` says what to do with it. 24:00 and second 60 are rejected."
        ),
    ),
    TypeDefinition(
        name=ColumnType.INSTANT,
        stored=_TIMESTAMPTZ,
        meaning="a date and time",
        grammar=f"{DAY}(?:[T ]{CLOCK}{ZONE}?)?",  # without a zone it is in UTC
        example="2018-05-28T09:03:40Z",
        duckdb="TIMESTAMPTZ",
        accepted=(
            "2018-05-28T09:03:40Z",
            "2018-05-28 09:03+02",
            "2018-05-28 09:03:40 UTC",
            "2018-05-28T09:03:40.5-0230",
            "2018-05-28",
        ),
        refused=(
            "2018-05-28T09:03:40 CET",
            "2018-05-28T09:03:40+2",
            "2018-05-28Z",
            "2018-05-28 09:03+16",
        ),
        note=(
            "ISO 8601 with `Z`, `UTC` or an offset, with or without a space before it; without "
            "one it is in `time_zone`, or in UTC. A local time that the zone skips is rejected; "
            "one that the zone repeats is the later."
        ),
    ),
    TypeDefinition(
        name=ColumnType.TIME,
        stored=_TIME,
        meaning="a time of day",
        grammar=CLOCK,
        example="09:03:40",
        duckdb="TIME",
        accepted=(
            "09:03",
            "23:59:59.999999",
        ),
        refused=(
            "9:03",
            "24:00:00",
            "09:03:60",
            "09:03:40Z",
            "09",
        ),
        note="24:00 and second 60 are rejected.",
    ),
    TypeDefinition(
        name=ColumnType.UUID,
        stored=_UUID,
        meaning="a UUID",
        grammar="[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        example="6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        duckdb="VARCHAR",
        accepted=("6BA7B810-9dad-11d1-80b4-00c04fd430c8",),
        refused=(
            "6ba7b8109dad11d180b400c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        ),
        note="In any case.",
    ),
    TypeDefinition(
        name=ColumnType.POINT,
        stored=_DOUBLE,
        meaning="a point, written POINT (longitude latitude) in degrees",
        grammar=rf"(?i:POINT)[ \t]*\([ \t]*{_DECIMAL}[ \t]+{_DECIMAL}[ \t]*\)",
        example="POINT (14.42 50.08)",
        duckdb="DOUBLE",
        suffixes=("_lon", "_lat"),
        accepted=(
            "POINT (14.42 50.08)",
            "point(-14 5e1)",
            "POINT ( 14.42\t50.08 )",
        ),
        refused=(
            "14.42 50.08",
            "POINT (14.42, 50.08)",
            "POINT (nan 50)",
            "POINT EMPTY",
            "POINT (1 2 3)",
        ),
        note="WKT, longitude first, in degrees; -180 to 180 and -90 to 90.",
    ),
    TypeDefinition(
        name=ColumnType.JSON,
        stored=_JSONB,
        meaning="JSON",
        grammar="",
        example="[1, 2]",
        duckdb="VARCHAR",
        accepted=(
            '{"a": [1, 2.50, null]}',
            "[]",
            '"text"',
            "-1.5e3",
            "null",
        ),
        refused=(
            "{'a': 1}",
            '{"a": 1,}',
            '{"a": 1, "a": 2}',
            "[NaN]",
            "[01]",
            "[1] // one",
            '"\\u0000"',
            '"\\ud800"',
            "text",
        ),
        find_problem=json_problem,
        note=(
            "RFC 8259, at most 100 deep. Numbers keep all digits; the order of members, white space "
            "and the way a number is written (`1e2` is `100`) do not matter and are not kept. A "
            "repeated member name, `\\u0000`, half of a surrogate pair and a number beyond "
            "PostgreSQL's numeric are rejected. The cell `null` is JSON's null; an empty cell is a "
            "null of SQL."
        ),
    ),
)

#: The definition of each column type.
TYPES: Mapping[ColumnType, TypeDefinition] = MappingProxyType(
    {each.name: each for each in _DEFINITIONS}
)
