"""JSON Schemas of the texts in paths and query strings: values of a type, filters, names, keys."""

from __future__ import annotations

from typing import Any

from sluice.datasets.identifiers import NAME
from sluice.datasets.model import Field, Parameter
from sluice.datasets.types import StoredType
from sluice.documents.document import STORABLE_PATTERN
from sluice.querying.filters import PATTERNS, STATES, operators_of

Schema = dict[str, Any]

#: A name of a dataset, column or query.
NAME_TEXT: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}

#: A text that PostgreSQL can have.
STORABLE_TEXT: Schema = {"type": "string", "pattern": STORABLE_PATTERN}

_LEAP = "(?:0[48]|[2468][048]|[13579][26])"
_LATE_DAY = "(?:0[13578]|1[02])-31|(?:0[13-9]|1[0-2])-(?:29|30)"
_MONTH_DAY = f"(?:{_LATE_DAY}|(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8]))"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE = f"(?:{_YEAR}-{_MONTH_DAY}|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_NUMBER = r"[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?"
_HEX = "[0-9A-Fa-f]"


def _whole_number(bits: int) -> str:
    """Return the pattern of the whole numbers of so many bits; the least one is left out."""
    digits = str(2 ** (bits - 1) - 1)
    shorter = f"[0-9]{{1,{len(digits) - 1}}}"
    lower = [
        f"{digits[:place]}[0-{int(digit) - 1}]" + f"[0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if digit != "0"
    ]
    return f"[+-]?(?:{'|'.join([shorter, *lower, digits])})"


#: What the texts of each stored type match in full. Some more are accepted.
_PATTERNS = {
    "text": r"[^\x00]*",
    "smallint": _whole_number(16),
    "integer": _whole_number(32),
    "bigint": _whole_number(64),
    "real": r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?",
    "double precision": _NUMBER,
    "numeric": _NUMBER,
    "boolean": "(?:true|false|t|f|1|0)",
    "date": _DATE,
    "timestamp": f"{_DATE}(?:[T ]{_CLOCK})?",
    "timestamptz": f"{_DATE}[T ]{_CLOCK}(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])",
    "time": _CLOCK,
    "uuid": f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}",
}
_QUOTED = r'"(?:[^"\\\x00]|""|\\[^\x00])*"'
_PLAIN = r'(?:[^",\x00][^,\x00]*)?'
#: A pattern of `like` does not end in a backslash that escapes nothing.
_LIKE = r"(?:[^\\\x00]|\\[^\x00])*"


def text_schema(stored: StoredType) -> Schema:
    """Return the schema of the text of a value of a type."""
    pattern = _PATTERNS.get(stored.name)
    return {"type": "string"} if pattern is None else {"type": "string", "pattern": f"^{pattern}$"}


def filter_schema(column: Field) -> Schema:
    """Return the schema of a filter on a column: `op.value`."""
    operators = operators_of(column.postgres_type)
    value = _PATTERNS.get(column.stored.name)
    if value is None:
        return {"type": "string", "pattern": rf"^(?:{'|'.join(operators)})\."}
    compared = "|".join(each for each in operators if each not in ("in", "is", *PATTERNS))
    states = [each for each in STATES if "null" in each or column.postgres_type == "boolean"]
    element = f"(?:{_QUOTED}|{_PLAIN})" if column.postgres_type == "text" else value
    forms = [
        rf"(?:{compared})\.{value}",
        rf"in\.\({element}(?:,{element})*\)",
        rf"is\.(?:{'|'.join(states)})",
    ]
    if column.postgres_type == "text":
        forms.append(rf"(?:{'|'.join(PATTERNS)})\.{_LIKE}")
    return {"type": "string", "pattern": f"^(?:{'|'.join(forms)})$"}


def parameter_schema(each: Parameter) -> Schema:
    """Return the schema of a parameter of a query."""
    schema: Schema = dict(each.stored.json_schema)
    if schema.get("type") == "string" and not each.one_of:
        schema.update(text_schema(each.stored))
    limits = {"minimum": each.minimum, "maximum": each.maximum}
    schema.update({name: value for name, value in limits.items() if value is not None})
    if each.one_of:
        schema["enum"] = list(each.one_of)
    if each.default is not None:
        schema["default"] = _default(each)
    return schema


def _default(each: Parameter) -> object:
    value = each.stored.parse(each.default or "")
    return value if isinstance(value, int | float) else each.default
