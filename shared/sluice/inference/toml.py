"""Writes values and comments of a `dataset.toml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: Where a comment goes on in the next line.
_WIDTH = 100


def toml_value(value: object) -> str:
    """Return a text, number, boolean or list of them as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(toml_line(key, each) for key, each in value.items())} }}"
    return str(value)


def toml_line(key: str, value: object) -> str:
    """Return a key and its value."""
    return f"{key} = {toml_value(value)}"


def toml_table(header: str, table: Mapping[str, object]) -> list[str]:
    """Return a table as lines, after an empty one."""
    return ["", header, *(toml_line(key, value) for key, value in table.items())]


def toml_comment(sentences: Iterable[str]) -> list[str]:
    """Return sentences as lines of comment, without characters that a comment must not have."""
    words = [word for each in sentences for word in f"{_printable(each)}.".split(" ")]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"# {word}")
    return lines


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() else _ESCAPES.get(each, f"\\x{ord(each):02x}") for each in text
    )
