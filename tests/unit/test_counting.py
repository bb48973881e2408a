"""The independent counter of records agrees with the splitter, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.csv.counting import RecordCounter
from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter

PLAIN = Dialect(header=False)
DIALECTS = {
    "plain": PLAIN,
    "no quote": Dialect(header=False, quote=""),
    "escape": Dialect(header=False, escape="\\"),
    "long delimiter": Dialect(header=False, delimiter=",;"),
    "comment": Dialect(header=False, comment="#"),
    "padding": Dialect(header=False, spaces_around_quotes=True),
}
PIECES = st.lists(
    st.sampled_from(
        [b'"', b",", b";", b"\n", b"\r\n", b"\r", b"a", b" ", b"\\", b"#", b'""', b"\xef\xbb\xbf"]
    ),
    max_size=25,
)


def count(data: bytes, dialect: Dialect, block: int = 1 << 20) -> int:
    counter = RecordCounter(dialect)
    for at in range(0, len(data), block):
        counter.feed(data[at : at + block])
    counter.finish()
    return counter.records


def split(data: bytes, dialect: Dialect) -> int:
    splitter = Splitter(dialect)
    splitter.feed(data)
    splitter.finish()
    return splitter.records


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_it_counts_as_many_records_as_the_splitter(dialect: Dialect) -> None:
    @settings(deadline=None, max_examples=400)
    @given(pieces=PIECES, block=st.integers(1, 9))
    def check(pieces: list[bytes], block: int) -> None:
        data = b"x" + b"".join(pieces)
        assert count(data, dialect) == split(data, dialect)
        assert count(data, dialect, block) == count(data, dialect)

    check()


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"", 0),
        (b"\n\r\n\r", 0),
        (b"a\nb\rc\r\nd", 4),
        (b'"a\nb",c\nd', 2),
        (b'a"b\nc"d\n', 2),
        (b'"a""\nb"\n', 1),
        (b'"a"x"\nb\n', 2),
        (b'"open\na\nb\n', 1),
    ],
)
def test_records_end_with_lines_outside_quotes(data: bytes, records: int) -> None:
    assert count(data, PLAIN) == records


def test_a_line_longer_than_its_memory_is_counted() -> None:
    long = b"a" * (3 * 1024 * 1024)
    data = long + b',"x\n' + long + b'"\nb\n'
    assert count(data, PLAIN, 700_000) == 2


def test_a_quote_that_stays_open_too_long_is_reported() -> None:
    counter = RecordCounter(PLAIN)
    counter.feed(b'"open\n')
    for _ in range(33):
        counter.feed((b"a" * 63 + b"\n") * (16 * 1024))
    assert not counter.is_certain
