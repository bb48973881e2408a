"""The encoding of a file is detected while it is read, before any chunk depends on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.csv.encodings import EncodingWatch, contradicts
from sluice.errors import EncodingMismatchError


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


TABLES = {
    "ja": "名前,都市\n山田太郎,東京\nテスト用,大阪\n佐藤次郎,名古屋\n",
    "zh": "姓名,城市\n张三,北京\n李四,上海\n王五,广州\n",
    "tw": "姓名,城市\n張三,臺北\n李四,高雄\n王五,臺中\n",
    "ko": "이름,도시\n김철수,서울\n이영희,부산\n박민수,대구\n",
    "ru": "имя,город\nИван,Москва\nМария,Казань\nПётр,Омск\n",  # noqa: RUF001
    "el": "όνομα,πόλη\nΓιώργος,Αθήνα\nΜαρία,Πάτρα\n",  # noqa: RUF001
}


@pytest.mark.parametrize("before", ["", "id,a\n" * 40], ids=["at once", "late"])
@pytest.mark.parametrize(
    ("language", "encoding", "name"),
    [
        ("ja", "shift_jis", "cp932"),
        ("ja", "euc_jp", "euc_jp"),
        ("zh", "gb18030", "gb18030"),
        ("tw", "big5", "big5"),
        ("ko", "euc_kr", "euc_kr"),
        ("ru", "cp1251", "cp1251"),
        ("ru", "koi8_r", "koi8_r"),
        ("el", "iso8859_7", "iso8859_7"),
    ],
)
def test_text_in_another_encoding_is_refused_as_it_would_read(
    language: str, encoding: str, name: str, before: str
) -> None:
    text = TABLES[language]
    for data in (text, text * 50):
        with pytest.raises(EncodingMismatchError) as refused:
            found((before + data).encode(encoding))
        word = text.split(",")[0]
        assert f"would be {word!r} in {name}" in refused.value.detail
        assert f"--dialect encoding={name}, or declare it" in refused.value.detail
        assert found((before + data).encode()) == "utf-8"


@pytest.mark.parametrize(
    "text",
    [
        "id,città\n1,São Tomé\n2,Köln Straße\n3,«Zürich»\n",
        "a\nHélène\nRené\n",
        "t\nÄÖÜ\näöü\nß\n",
        "x\n20°C\n21°C\n£5\n½\n",
        "a\nœuvre\nŒ\n’été\n“à”\n",  # noqa: RUF001
        "n\nÅsa\nÖrn\nÅÄÖ\n",
        "a\nN°1\nà\né\nè\n",
        "a\nAÇÃO\nNÃO\nSÃO\n",
        "a\nœuf…\n—\n€ 5\n",
    ],
)
def test_western_european_text_is_windows_1252(text: str) -> None:
    assert found(text.encode("cp1252")) == "cp1252"
    assert found((text * 300).encode("cp1252")) == "cp1252"
