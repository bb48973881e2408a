"""The dialect of a file is what the person who wrote it would say."""

from __future__ import annotations

import pytest

from sluice.csv.dialects import Dialect
from sluice.errors import EmptyFileError
from sluice.inference.dialects import Detection, detect_dialect


def detect(text: str, **given: str | int | bool) -> Detection:
    return detect_dialect(text.encode(), is_complete=True, given=given)


def test_decimal_commas_are_no_delimiters() -> None:
    found = detect("commas;periods\n1,1;1.1\n0,25;0.25\n1,5;1.5\n")
    assert found.dialect == Dialect(delimiter=";")
    assert found.header == ("commas", "periods")


def test_each_decision_has_a_reason() -> None:
    found = detect("id;name\n1;Ann\n2;Bob\n")
    reasons = {each.key: each.reason for each in found.evidence}
    assert reasons["delimiter"].startswith("3 of 3 records have 2 fields with it")


def test_given_keys_are_not_detected() -> None:
    found = detect("id;name\n1;Ann\n2;Bob\n", delimiter=",", header=False)
    assert found.dialect == Dialect(delimiter=",", header=False)
    assert {"delimiter", "header"}.isdisjoint(each.key for each in found.evidence)


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_text_is_refused(data: bytes) -> None:
    with pytest.raises(EmptyFileError):
        detect_dialect(data, is_complete=True)
