"""The automaton of `sluice.csv.scanning`, one byte at a time: the reference for the fast one."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluice.csv.dialects import Dialect

PLAIN = Dialect()
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Mark:
    """A position after a line end outside quotes."""

    byte: int
    lines: int
    records: int


@dataclass
class Parsed:
    """Records as (start, end, line), malformed as (record, kind, offset), marks, and field separators."""

    records: list[tuple[int, int, int]] = field(default_factory=list)
    malformed: list[tuple[int, str, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    recovered: int = 0
    delimiters: int = 0


def newline_at(data: bytes, at: int) -> int:
    """Return the length of the line end at an offset."""
    if data[at : at + 2] == b"\r\n":
        return 2
    return 1 if data[at : at + 1] in (b"\r", b"\n") else 0


STEPS = {
    "start": {"quote": "quoted", "delimiter": "start", "newline": "start", "other": "plain"},
    "plain": {"quote": "plain", "delimiter": "start", "newline": "start", "other": "plain"},
    "quoted": {"quote": "closed", "delimiter": "quoted", "newline": "quoted", "other": "quoted"},
    "closed": {"quote": "quoted", "delimiter": "start", "newline": "start", "other": "plain"},
}
FLAWS = {("plain", "quote"): "stray_quote", ("closed", "other"): "junk_after_quote"}


def token(data: bytes, at: int, dialect: Dialect) -> tuple[str, int]:
    """Return the kind of what is at an offset, and its size."""
    escape = dialect.escape_byte
    if escape and data.startswith(escape, at) and at + 1 < len(data):
        return "other", 3 if data.startswith(b"\r\n", at + 1) else 2
    if data.startswith(dialect.delimiter_byte, at):
        return "delimiter", len(dialect.delimiter_byte)
    if dialect.quote and data.startswith(dialect.quote_byte, at):
        return "quote", 1
    if width := newline_at(data, at):
        return "newline", width
    return "other", 1


def spaces(data: bytes, at: int, dialect: Dialect) -> int:
    """Return the size of the white space at an offset that may surround a quote."""
    end = at
    if dialect.spaces_around_quotes and dialect.quote:
        while data[end : end + 1] in (b" ", b"\t") and token(data, end, dialect)[0] == "other":
            end += 1
    return end - at


def padding(data: bytes, at: int, state: str, dialect: Dialect) -> int:
    """Return the size of white space between a delimiter or line end and a quote."""
    size = spaces(data, at, dialect)
    after = token(data, at + size, dialect)[0] if at + size < len(data) else "end"
    if state == "start" and after == "quote" and data[at - 3 : at] != BOM:
        return size
    return size if state == "closed" and after in ("delimiter", "newline", "end") else 0


def comment_end(data: bytes, at: int, dialect: Dialect) -> int:
    """Return the offset of the line end of the comment at an offset, 0 where there is none."""
    text = at
    while data.startswith(BOM, text):
        text += len(BOM)
    if not (dialect.comment and data.startswith(dialect.comment_bytes, text)):
        return 0
    return next((end for end in range(text, len(data)) if newline_at(data, end)), len(data))


def parse(data: bytes, dialect: Dialect = PLAIN) -> Parsed:  # noqa: C901  # an automaton, in one piece
    """Parse bytes that start at a record, without recovery after an unclosed quote."""
    parsed = Parsed()
    state, start, line, start_line, at, opening = "start", 0, 0, 0, 0, 0
    flaws: list[tuple[str, int]] = []

    def end_record(end: int) -> None:
        parsed.malformed.extend((len(parsed.records), *flaw) for flaw in flaws[:1])
        parsed.records.append((start, end, start_line))
        flaws.clear()

    while at < len(data):
        if at == start and state == "start" and (end := comment_end(data, at, dialect)):
            start = at = end + newline_at(data, end)
            line += 1
            start_line = line
            parsed.marks.append(Mark(start, line, len(parsed.records)))
            continue
        if data.startswith(BOM, at) and set(data[start:at]) <= set(BOM):
            at += len(BOM)
            continue
        if size := padding(data, at, state, dialect):
            at += size
            continue
        kind, width = token(data, at, dialect)
        line += count_line_ends(data[at : at + width])
        if (state, kind) in FLAWS:
            flaws.append((FLAWS[state, kind], at))
        if (state, kind) == ("start", "quote"):
            opening = at
        if kind == "newline" and state != "quoted":
            if at > start:
                end_record(at)
            start, start_line = at + width, line
            parsed.marks.append(Mark(start, line, len(parsed.records)))
        parsed.delimiters += kind == "delimiter" and state != "quoted"
        state = STEPS[state][kind]
        at += width
        if at == len(data) and width == 1 and dialect.escape and data[-1:] == dialect.escape_byte:
            flaws.append(("open_escape", at - 1))

    if state == "quoted":
        flaws.insert(0, ("unclosed_quote", opening))
    if start < len(data):
        end_record(len(data))
        line += data[-1:] not in (b"\r", b"\n")
        parsed.marks.append(Mark(len(data), line, len(parsed.records)))
    return parsed


def fields(record: bytes, dialect: Dialect = PLAIN) -> list[bytes | None]:
    """Return the fields of a record that is not malformed, None for an escaped N alone."""
    while record.startswith(BOM):
        record = record.removeprefix(BOM)
    found: list[bytes | None] = []
    field, raw, state, at = bytearray(), bytearray(), "start", 0
    null = dialect.escape_byte + b"N" if dialect.escape else None
    while at < len(record):
        if size := padding(record, at, state, dialect):
            at += size
            continue
        kind, width = token(record, at, dialect)
        kind = "other" if kind == "newline" else kind
        after = STEPS[state][kind]
        text = record[at : at + width]
        if kind == "delimiter" and state != "quoted":
            found.append(None if raw == null else bytes(field))
            field.clear()
            raw.clear()
        else:
            raw += text
            if (state, kind) != ("start", "quote") and after != "closed":
                is_escaped = kind == "other" and width > 1 and text != b"\r\n"
                field += text[1:] if is_escaped else text
        state = after
        at += width
    return [*found, None if raw == null else bytes(field)]


def index(data: bytes, width: int | None = None, dialect: Dialect = PLAIN) -> Parsed:
    """Parse bytes that begin at a record, and go on after the line of an unclosed quote."""
    parsed = parse(data, dialect)
    if parsed.malformed and parsed.malformed[-1][1] == "unclosed_quote":
        start, _, line = parsed.records.pop()
        end = line_end(data, parsed.malformed[-1][2], dialect)
        parsed.records.append((start, end, line))
        append(parsed, data, end + newline_at(data, end), dialect)
    return parsed if width is None else recover_inside(parsed, data, width, dialect)


def line_end(data: bytes, at: int, dialect: Dialect) -> int:
    """Return the offset of the first line end at or after an offset that is not escaped."""
    while at < len(data) and token(data, at, dialect)[0] != "newline":
        at += token(data, at, dialect)[1]
    return at


def append(parsed: Parsed, data: bytes, resume: int, dialect: Dialect) -> None:
    """Add the records that begin at an offset."""
    number = len(parsed.records)
    rest, rest_line = index(data[resume:], None, dialect), count_line_ends(data[:resume])
    parsed.records += [(s + resume, e + resume, n + rest_line) for s, e, n in rest.records]
    parsed.malformed += [(n + number, kind, at + resume) for n, kind, at in rest.malformed]
    parsed.recovered = len(rest.records)


def recover_inside(parsed: Parsed, data: bytes, width: int, dialect: Dialect) -> Parsed:
    """Let a malformed record of several lines cost its first line alone, if another is a record."""
    found = Parsed(recovered=parsed.recovered)
    flaws = {number: (kind, at) for number, kind, at in parsed.malformed}
    widths = (width, width + 1) if dialect.trailing_delimiter else (width,)
    for number, (start, end, line) in enumerate(parsed.records):
        first = line_end(data[:end], start, dialect)
        resume = first + newline_at(data, first)
        is_tried = number in flaws and resume < end
        rest = index(data[resume:end], width, dialect) if is_tried else Parsed()
        bad = {each for each, *_ in rest.malformed}
        if any(
            each not in bad and len(fields(data[resume:end][s:e], dialect)) in widths
            for each, (s, e, _) in enumerate(rest.records)
        ):
            kind, at = flaws[number]
            kind = kind if at < first else "unclosed_quote"
            found.malformed.append((len(found.records), kind, min(at, first - 1)))
            found.records.append((start, first, line))
            count, lines = len(found.records), line + count_line_ends(data[start:resume])
            found.malformed += [(n + count, each, at + resume) for n, each, at in rest.malformed]
            found.records += [(s + resume, e + resume, n + lines) for s, e, n in rest.records]
            found.recovered += len(rest.records)
        else:
            if number in flaws:
                found.malformed.append((len(found.records), *flaws[number]))
            found.records.append((start, end, line))
    return found


def count_line_ends(data: bytes) -> int:
    """Count the physical lines that end in these bytes."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")


@dataclass(frozen=True)
class Split:
    """The chunks of a file, each as (first byte, end, first line, first record, records, lines)."""

    header: bytes | None
    header_end: int
    chunks: list[tuple[int, int, int, int, int, int]]


def lines_of(data: bytes) -> list[bytes]:
    """Return the physical lines of some bytes, each with its line end."""
    lines, start = [], 0
    for at in range(len(data)):
        if newline_at(data, at) and data[at - 1 : at + 1] != b"\r\n":
            lines.append(data[start : at + newline_at(data, at)])
            start += len(lines[-1])
    return lines + [data[start:]] * (start < len(data))


def split(data: bytes, *, header: bool, chunk_bytes: int, dialect: Dialect = PLAIN) -> Split:
    """Cut a file into chunks, with all of it in memory."""
    bom_bytes = len(BOM) if data.startswith(BOM) else 0
    lines = lines_of(data[bom_bytes:])
    body = lines[: max(len(lines) - dialect.footer_lines, 0)]
    skip = min(dialect.skip_lines, len(body))
    data = data[: bom_bytes + sum(map(len, body))]
    bom_bytes += sum(map(len, body[:skip]))
    parsed = parse(data[bom_bytes:], dialect)
    heads = dialect.header_lines if header else 0
    marks = [Mark(m.byte + bom_bytes, m.lines + skip, m.records - heads) for m in parsed.marks]
    start, head = Mark(bom_bytes, skip, 0), None
    if header:
        start = next((mark for mark in marks if mark.records == 0), Mark(len(data), 0, 0))
        records = parsed.records[:heads]
        head = data[bom_bytes:][records[0][0] : records[-1][1]] if records else None
    result = Split(head, start.byte, [])
    while start.byte < len(data):
        after = [mark for mark in marks if mark.byte > start.byte]
        within = [mark for mark in after if mark.byte <= start.byte + chunk_bytes]
        end = within[-1] if within else after[0]
        counts = end.records - start.records, end.lines - start.lines
        result.chunks.append((start.byte, end.byte, start.lines + 1, start.records, *counts))
        start = end
    return result
