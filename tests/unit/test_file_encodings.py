"""The encoding of a file is detected while it is read, before any chunk depends on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.csv.encodings import EncodingWatch, contradicts


def found(*blocks: bytes) -> str | None:
    watch = EncodingWatch()
    for each in blocks:
        watch.feed(each)
    watch.finish()
    return watch.take()


@pytest.mark.parametrize(
    ("blocks", "encoding"),
    [
        ([b"a,b\n", b"c,d\n"], None),
        ([b"a\n", "é\n".encode()], "utf-8"),
        ([b"a\n", b"caf\xe9\n"], "cp1252"),
        (["Ã".encode()[:1], "Ã".encode()[1:]], "utf-8"),
        (["€".encode()[:2], "€".encode()[2:]], "utf-8"),
        (["😀".encode()[:3], "😀".encode()[3:]], "utf-8"),
        ([b"caf\xe9", b"\n"], "cp1252"),
        ([b"caf\xe9"], "cp1252"),
        ([b"caf\xe9 \xe2\x82", b"\xac\n"], "cp1252"),
        ([b"caf\xe9\n\xc3\xa9\n"], "utf-8"),
        ([b"\xef\xbb\xbfa\n", b"caf\xe9\n"], "utf-8"),
    ],
    ids=["ascii", "utf8", "windows", "cut-2", "cut-3", "cut-4", "cut-no", "end", "decided", "both", "bom"],
)  # fmt: skip
def test_the_first_non_ascii_bytes_decide(blocks: list[bytes], encoding: str | None) -> None:
    assert found(*blocks) == encoding


@given(st.text(min_size=1), st.integers(min_value=1, max_value=9))
def test_utf8_is_found_wherever_blocks_end(text: str, size: int) -> None:
    data = text.encode("utf-8", "ignore")
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    assert found(*blocks) == (None if data.isascii() else "utf-8")


def test_a_known_encoding_is_not_detected() -> None:
    watch = EncodingWatch(is_known=True)
    watch.feed(b"\xe9\n")
    watch.finish()
    assert watch.take() is None


def test_an_encoding_is_returned_once() -> None:
    watch = EncodingWatch()
    watch.feed(b"\xe9\n")
    assert (watch.take(), watch.take()) == ("cp1252", None)


@pytest.mark.parametrize(
    ("data", "expected"), [(b"a", False), (b"\xe9", False), ("é".encode(), True)], ids=str
)
def test_utf8_contradicts_windows(data: bytes, expected: bool) -> None:
    assert contradicts(data) is expected
