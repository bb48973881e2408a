"""What a file is: its name and its first bytes decide, and its kind is named where it is not CSV."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest
from backports import zstd

from sluice.csv.contents import (
    compression_of,
    content_type_of,
    foreign_kind_of,
    is_csv,
    is_csv_name,
    wide_encoding_of,
)
from sluice.csv.decompression import to_utf_8
from sluice.csv.dialects import Dialect
from sluice.errors import EncodingMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = b"".join(b"%d,row %d\n" % (number, number * number) for number in range(50))
TEXT = "id\tnäme\n1\tŻółć\n2\t\U0001f600\n"


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            written.writestr(name, "text")
    return file.getvalue()


def tar_archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as written_to:
        member = tarfile.TarInfo("a.csv")
        member.size = len(ROWS)
        written_to.addfile(member, io.BytesIO(ROWS))
    return file.getvalue()


def written(write: Callable[[pa.Table, io.BytesIO], object]) -> bytes:
    """Return a table as a file of another format."""
    file = io.BytesIO()
    write(pa.table({"id": [1, 2], "name": ["a", "b"]}), file)
    return file.getvalue()


def write_stream(table: pa.Table, file: io.BytesIO) -> None:
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


@pytest.mark.parametrize(
    "name",
    ["a.csv", "A.CSV", "a.tsv", "a.Txt", "a.csv.gz", "a.TSV.GZ", "a.b.csv.zst", "a.XLSX", "a.xlsm"],
)
def test_names_of_csv_files(name: str) -> None:
    assert is_csv_name(name)


@pytest.mark.parametrize(
    "name", ["a.csv.exe", "csv", "a.gz", "a.csvx", "a.csv.gz.gz", "a.xlsx.gz", "a.xls", "a.csv\n"]
)
def test_other_names(name: str) -> None:
    assert not is_csv_name(name)


def test_the_content_type_follows_from_the_name() -> None:
    names = ("a.CSV", "a.tsv", "a.txt.GZ", "a.csv.zst")
    types = ["text/csv", "text/tab-separated-values", "application/gzip", "application/zstd"]
    assert content_type_of("a.xlsx").endswith(".spreadsheetml.sheet")
    assert [content_type_of(name) for name in names] == types


def test_compression_is_known_by_the_first_bytes() -> None:
    assert compression_of(gzip.compress(b"a,b\n")) == "gzip"
    assert compression_of(zstd.compress(b"a,b\n")) == "zstd"
    assert compression_of(b"\x5f\x2a\x4d\x18\x04\0\0\0abcd") == "zstd"
    assert compression_of(b"a,b\n") == ""


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (archive("xl/workbook.xml"), "XLSX"),
        (archive("[Content_Types].xml"), "XLSX"),
        (archive("a.csv"), "ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "XLS"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\n<!DOCTYPE html>\n<html>", "HTML"),
        (b"<HTML lang=en>", "HTML"),
        (b'<?xml version="1.0"?>', "XML"),
        (b'{"id": 1}\n{"id": 2}\n', "JSON"),
        (b'\xef\xbb\xbf[\n  {\n  "id" : 1}]', "JSON"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (lzma.compress(b"a,b\n1,2\n", lzma.FORMAT_ALONE), "LZMA"),
        (zlib.compress(ROWS), "zlib"),
        (zlib.compress(ROWS, 1), "zlib"),
        (b"\x1f\x9d\x90n\xe8", "compress"),
        (b"\xff\x06\0\0sNaPpY", "Snappy"),
        (written(pyarrow.feather.write_feather), "Arrow"),
        (written(write_stream), "Arrow"),
        (written(pyarrow.orc.write_table), "ORC"),
        (written(pyarrow.parquet.write_table), "Parquet"),
        (tar_archive(), "tar"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (pickle.dumps([{"a": 1}]), "pickle"),
        (archive("word/document.xml"), "Word"),
        (bytes(range(256)), "binary data"),
        (b"\xde\xad\xbe\xef" + bytes(range(16)), "binary data"),
    ],
)
def test_other_kinds_are_named(data: bytes, what: str) -> None:
    found = foreign_kind_of(data, Dialect())
    assert found is not None
    assert what in found.what
    assert not is_csv(data, Dialect())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1,x\n",
        b"BZh9,x\n",
        b"PK,x\n",
        b"[id],[name]\n",
        b"{x},y\n",
        b"<b>,y\n",
        b"\0\0,\n",
        b"ORC\n1\n",
        b"x^,y\n1,2\n",
        b"x\x9c,y\x01\n1,2\n",
        b"a.csv,ustar\n",
        b"a\x01b\x02c\n\0\x03,\x04\n",
    ],
)
def test_text_that_begins_alike_may_be_csv(data: bytes) -> None:
    assert is_csv(data, Dialect())


def test_a_cell_may_be_json_where_there_is_neither_header_nor_quote() -> None:
    data = b'{"a": 1}\tx\n'
    assert is_csv(data, Dialect(delimiter="\t", quote="", header=False))
    assert not is_csv(data, Dialect(delimiter="\t", quote=""))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_wide_encodings_are_found_and_converted(encoding: str, mark: str, size: int) -> None:
    data = (mark + TEXT).encode(encoding)
    found = wide_encoding_of(data)
    assert found == (encoding[:6] if mark else encoding)
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    assert b"".join(to_utf_8(blocks, found)).decode() == TEXT


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_header_shows_a_wide_encoding_before_other_scripts(encoding: str) -> None:
    text = "id,name\n" + "漢字漢字漢字\n" * 100
    assert wide_encoding_of(text.encode(encoding)) == encoding


@pytest.mark.parametrize("data", [b"\xff\xfea\0b", b"\xff\xfe\0\xd8a\0"], ids=["odd", "surrogate"])
def test_invalid_utf_16_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(EncodingMismatchError, match="UTF-16"):
        list(to_utf_8([data], "utf-16"))


@pytest.mark.parametrize("data", [b"a\0b,c\n", b"id,name\n1,\0\0\0\0\n"])
def test_a_nul_in_a_text_does_not_make_it_wide(data: bytes) -> None:
    assert wide_encoding_of(data) == ""
