"""The filter language of subscriptions, compiled to predicates over a message's attributes.

Grammar: https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sluice.local.pubsub.errors import InvalidArgumentError

MAX_FILTER_BYTES = 256

Predicate = Callable[[Mapping[str, str]], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z0-9_][A-Za-z0-9_-]*)
      | (?P<symbol>!=|[:=.,()-])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL
)
_CONTROL_CHARACTERS = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}


def compile_filter(text: str) -> Predicate:
    """Return the predicate that `text` describes; an empty text matches every message.

    Raises:
        InvalidArgumentError: the text is too long, or malformed.
    """
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise InvalidArgumentError(
            f"The value for filter is too large. You passed {len(text.encode())} bytes in the "
            f"request, but the maximum value is {MAX_FILTER_BYTES}."
        )
    if not text.strip():
        return lambda _attributes: True
    return _Parser(text).parse()


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent: expression -> term (AND | OR) ... -> NOT -> comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._tokenize())
        self._next = 0

    def parse(self) -> Predicate:
        predicate = self._expression()
        if self._peek().kind != "end":
            raise self._refusal("AND, OR or the end of the filter")
        return predicate

    def _tokenize(self) -> list[_Token]:
        tokens = []
        position, end = 0, len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None or match.lastgroup is None:
                raise self._refusal_at(position, "a valid token")
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], position))
            position = match.end()
        return [*tokens, _Token("end", "", end)]

    def _expression(self) -> Predicate:
        terms = [self._term()]
        operator = self._peek().text
        if operator not in ("AND", "OR"):
            return terms[0]
        while self._accept(operator):
            terms.append(self._term())
        if self._peek().text in ("AND", "OR"):
            raise self._refusal("parentheses: AND and OR cannot be combined without them")
        combine = all if operator == "AND" else any
        return lambda attributes: combine(term(attributes) for term in terms)

    def _term(self) -> Predicate:
        if self._accept("NOT") or self._accept("-"):
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._accept("("):
            inner = self._expression()
            self._expect(")")
            return inner
        if self._accept("hasPrefix"):
            return self._has_prefix()
        return self._comparison()

    def _has_prefix(self) -> Predicate:
        self._expect("(")
        self._expect("attributes")
        self._expect(".")
        key = self._key()
        self._expect(",")
        prefix = self._string()
        self._expect(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _comparison(self) -> Predicate:
        self._expect("attributes")
        if self._accept(":"):
            present = self._key()
            return lambda attributes: present in attributes
        self._expect(".")
        key = self._key()
        if self._accept("="):
            value = self._string()
            return lambda attributes: attributes.get(key) == value
        self._expect("!=")
        unwanted = self._string()
        return lambda attributes: attributes.get(key) != unwanted

    def _key(self) -> str:
        if self._peek().kind == "word":
            return self._advance().text
        return self._string()

    def _string(self) -> str:
        if self._peek().kind != "string":
            raise self._refusal("a string literal")
        return _ESCAPE.sub(_unescape, self._advance().text[1:-1])

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _accept(self, text: str) -> bool:
        token = self._peek()
        is_match = token.kind != "string" and token.text == text
        self._next += is_match
        return is_match

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._refusal(f'"{text}"')

    def _refusal(self, expected: str) -> InvalidArgumentError:
        return self._refusal_at(self._peek().position, expected)

    def _refusal_at(self, position: int, expected: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"Invalid filter syntax at position {position + 1}: expected {expected} "
            f"(filter={self._text})."
        )


def _unescape(match: re.Match[str]) -> str:
    short, long, hexadecimal, octal, character = match.groups()
    if octal:
        return chr(int(octal, 8))
    if character:
        return _CONTROL_CHARACTERS.get(character, character)
    return chr(int(short or long or hexadecimal, 16))
