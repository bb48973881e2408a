"""The automaton of `sluice.csv.scanning`, one byte at a time: the reference for the fast one."""

from __future__ import annotations

from dataclasses import dataclass, field

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
KINDS = {b'"': "quote", b",": "delimiter", b"\r": "newline", b"\n": "newline"}


def parse(data: bytes) -> Parsed:
    """Parse bytes that start at a record, without recovery after an unclosed quote."""
    parsed = Parsed()
    state, start, line, start_line, at, opening = "start", 0, 0, 0, 0, 0
    flaws: list[tuple[str, int]] = []

    def end_record(end: int) -> None:
        parsed.malformed.extend((len(parsed.records), *flaw) for flaw in flaws[:1])
        parsed.records.append((start, end, start_line))
        flaws.clear()

    while at < len(data):
        if data.startswith(BOM, at) and set(data[start:at]) <= set(BOM):
            at += len(BOM)
            continue
        kind, width = KINDS.get(data[at : at + 1], "other"), newline_at(data, at)
        line += width > 0
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
        at += max(width, 1)

    if state == "quoted":
        flaws.insert(0, ("unclosed_quote", opening))
    if start < len(data):
        end_record(len(data))
        line += data[-1:] not in (b"\r", b"\n")
        parsed.marks.append(Mark(len(data), line, len(parsed.records)))
    return parsed


def fields(record: bytes) -> list[bytes]:
    """Return the fields of a record that is not malformed."""
    while record.startswith(BOM):
        record = record.removeprefix(BOM)
    found, field, state = [], bytearray(), "start"
    for at in range(len(record)):
        byte = record[at : at + 1]
        kind = KINDS.get(byte, "other")
        kind = "other" if kind == "newline" else kind
        after = STEPS[state][kind]
        if kind == "delimiter" and state != "quoted":
            found.append(bytes(field))
            field.clear()
        elif (state, kind) != ("start", "quote") and after != "closed":
            field += byte
        state = after
    return [*found, bytes(field)]


def index(data: bytes, width: int | None = None) -> Parsed:
    """Parse bytes that begin at a record, and go on after the line of an unclosed quote."""
    parsed = parse(data)
    if parsed.malformed and parsed.malformed[-1][1] == "unclosed_quote":
        start, _, line = parsed.records.pop()
        end = parsed.malformed[-1][2]
        while end < len(data) and not newline_at(data, end):
            end += 1
        parsed.records.append((start, end, line))
        append(parsed, data, end + newline_at(data, end))
    return parsed if width is None else recover_inside(parsed, data, width)


def append(parsed: Parsed, data: bytes, resume: int) -> None:
    """Add the records that begin at an offset."""
    number = len(parsed.records)
    rest, rest_line = index(data[resume:]), count_line_ends(data[:resume])
    parsed.records += [(s + resume, e + resume, n + rest_line) for s, e, n in rest.records]
    parsed.malformed += [(n + number, kind, at + resume) for n, kind, at in rest.malformed]
    parsed.recovered = len(rest.records)


def recover_inside(parsed: Parsed, data: bytes, width: int) -> Parsed:
    """Let a malformed record of several lines cost its first line alone, if another is a record."""
    found = Parsed(recovered=parsed.recovered)
    flaws = {number: (kind, at) for number, kind, at in parsed.malformed}
    for number, (start, end, line) in enumerate(parsed.records):
        first = next((at for at in range(start, end) if newline_at(data, at)), end)
        resume = first + newline_at(data, first)
        rest = index(data[resume:end], width) if number in flaws and resume < end else Parsed()
        bad = {each for each, *_ in rest.malformed}
        if any(
            each not in bad and len(fields(data[resume:end][s:e])) == width
            for each, (s, e, _) in enumerate(rest.records)
        ):
            kind, at = flaws[number]
            kind = kind if at < first else "unclosed_quote"
            found.malformed.append((len(found.records), kind, min(at, first - 1)))
            found.records.append((start, first, line))
            count = len(found.records)
            found.malformed += [(n + count, each, at + resume) for n, each, at in rest.malformed]
            found.records += [(s + resume, e + resume, n + line + 1) for s, e, n in rest.records]
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


def split(data: bytes, *, header: bool, chunk_bytes: int) -> Split:
    """Cut a file into chunks, with all of it in memory."""
    bom_bytes = len(BOM) if data.startswith(BOM) else 0
    parsed = parse(data[bom_bytes:])
    marks = [Mark(m.byte + bom_bytes, m.lines, m.records - header) for m in parsed.marks]
    start, head = Mark(bom_bytes, 0, 0), None
    if header:
        start = next((mark for mark in marks if mark.records == 0), Mark(len(data), 0, 0))
        head = data[bom_bytes:][slice(*parsed.records[0][:2])] if parsed.records else None
    result = Split(head, start.byte, [])
    while start.byte < len(data):
        after = [mark for mark in marks if mark.byte > start.byte]
        within = [mark for mark in after if mark.byte <= start.byte + chunk_bytes]
        end = within[-1] if within else after[0]
        records, lines = end.records - start.records, end.lines - start.lines
        result.chunks.append((start.byte, end.byte, start.lines + 1, start.records, records, lines))
        start = end
    return result
