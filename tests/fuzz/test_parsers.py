"""Fuzzing what reads foreign bytes without a database: files, filters, declarations, multipart bodies."""

from __future__ import annotations

import gzip
import io
import json
import re
import tomllib
import zlib
from dataclasses import astuple
from urllib.parse import parse_qsl

import csv_automaton
from backports import zstd
from fuzzing import fuzz
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.wrappers import Request

from sluice.api.legacy.multipart import Part, read_parts
from sluice.csv.cuts import Cut
from sluice.csv.decompression import decompress
from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Field
from sluice.datasets.types import STORED_TYPES
from sluice.errors import BodyError, CompressionError, DeclarationError, FilterError, TooLargeError
from sluice.inference.declaration import document_toml
from sluice.querying.filters import Bindings, Filter, condition, parse_filters

_DIALECTS = (
    Dialect(),
    Dialect(header=False),
    Dialect(delimiter=";", quote="'"),
    Dialect(delimiter="\t", escape="\\"),
    Dialect(delimiter="|", comment="#", header=False),
    Dialect(delimiter="::", spaces_around_quotes=True),
    Dialect(skip_lines=1, footer_lines=1),
)
_CSV_TOKENS = (
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b'"\n"',
    b";",
    b"'",
    b"\\",
    b"#",
    b"::",
    b"\xef\xbb\xbf",
)


def test_chunks_are_those_of_the_automaton_whatever_the_file() -> None:
    """The first two bytes choose dialect, chunk size and block size."""

    def check(data: bytes) -> None:
        first, second = (*data[:2], 0, 0)[:2]
        dialect, content = _DIALECTS[first % len(_DIALECTS)], data[2:]
        chunk_bytes, block_bytes = 1 + second % 40, 1 + second // 7
        expected = csv_automaton.split(
            content, header=dialect.header, chunk_bytes=chunk_bytes, dialect=dialect
        )
        splitter = Splitter(dialect, chunk_bytes)
        cuts: list[Cut] = []
        for start in range(0, len(content), block_bytes):
            cuts += splitter.feed(content[start : start + block_bytes])
        cuts += splitter.finish()
        assert [astuple(each)[1:] for each in cuts] == expected.chunks
        assert splitter.header == expected.header
        ends = [splitter.header_end, *(each.end_byte for each in cuts)]
        assert [each.first_byte for each in cuts] == ends[:-1], "the chunks do not tile the file"
        assert splitter.position + len(splitter.footer) == len(content)

    assert fuzz("splitter", check, _CSV_TOKENS)


def test_content_is_that_of_the_reference_library_or_a_coded_error() -> None:
    """The first byte chooses the size of blocks."""

    def check(data: bytes) -> None:
        size, packed = 1 + data[0] if data else 1, data[1:]
        blocks = [packed[at : at + size] for at in range(0, len(packed), size)]
        for compression, reference in (("gzip", _gunzip), ("zstd", _unzstd)) if packed else ():
            try:
                found = b"".join(decompress(blocks, compression))
            except CompressionError:
                found = None
            expected = reference(packed)
            assert found == expected, (compression, found, expected)

    tokens = (
        b"\x1f\x8b\x08",
        gzip.compress(b"a,b\n"),
        b"\x28\xb5\x2f\xfd",
        zstd.compress(b"a,b\n"),
        b"\0" * 8,
    )
    assert fuzz("decompression", check, tokens)


def _gunzip(data: bytes) -> bytes | None:
    content = b""
    while data:
        decoder = zlib.decompressobj(31)
        try:
            content += decoder.decompress(data)
        except zlib.error:
            return None
        if not decoder.eof:
            return None
        data = decoder.unused_data.lstrip(b"\0")
    return content


#: Frames that need more memory are refused.
_ZSTD_OPTIONS = {zstd.DecompressionParameter.window_log_max: 25}


def _unzstd(data: bytes) -> bytes | None:
    try:
        return zstd.decompress(data, options=_ZSTD_OPTIONS)
    except zstd.ZstdError:
        return None


_COLUMNS = {
    name.replace(" ", "_"): Field(name.replace(" ", "_"), name, nullable=True)
    for name in {each.name for each in STORED_TYPES.values()}
}


def test_filters_are_read_as_they_are_written_or_refused_with_a_code() -> None:
    """An input is a query string."""

    def check(data: bytes) -> None:
        pairs = parse_qsl(data.decode("utf-8", "surrogateescape"), keep_blank_values=True)
        for pair in pairs:
            try:
                (found,) = parse_filters([pair], _COLUMNS)
            except FilterError as error:
                assert error.code == "API302"  # noqa: PT017
                assert error.detail  # noqa: PT017
                continue
            _check_bound(found)
            if found.operator not in ("like", "ilike"):
                assert parse_filters([(found.column.name, _written(found))], _COLUMNS) == (found,)

    tokens = (
        b"eq.",
        b"in.(",
        b")",
        b"is.null",
        b"is.",
        b"like.",
        b"text=",
        b"integer=",
        b"&",
        b"%00",
        b'"',
        b"\\",
        b",",
        b"date=",
        b"ge.",
        b"boolean=",
        b"timestamptz=",
        b"1",
        b"%2B",
        b"jsonb=",
        b"[",
        b"NaN",
        b"filter.",
    )
    assert fuzz("filters", check, tokens)


def _check_bound(found: Filter) -> None:
    """No value is in the SQL; each is bound as it is."""
    bindings = Bindings()
    sql = condition(found, bindings)
    if found.operator != "is":
        assert tuple(bindings.values.values()) == found.values
        assert sql.count("CAST(:p") == len(found.values)


def _written(found: Filter) -> str:
    if found.operator != "in":
        return f"{found.operator}.{found.values[0]}"
    quoted = (each.replace("\\", "\\\\").replace('"', '""') for each in found.values)
    return "in.(" + ",".join(f'"{each}"' for each in quoted) + ")"


def test_a_declaration_is_a_dataset_or_an_error_with_its_key() -> None:
    """An input is JSON, or else TOML."""

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        document, toml = _document(text)
        if not isinstance(document, dict):
            return
        try:
            dataset = parse_document(document, toml)
        except DeclarationError as error:
            assert error.code == "API320"  # noqa: PT017
            is_elsewhere = error.extra["file"] != "dataset.toml"
            assert error.extra["key"] or error.extra["line"] or is_elsewhere  # noqa: PT017
            return
        again = {**tomllib.loads(document_toml(document)), "name": document["name"]}
        again |= {
            key: document[key]
            for key in ("table", "rollups", "projections", "queries", "version")
            if key in document
        }
        assert parse_document(again) == dataset

    tokens = (
        b"[[columns]]\n",
        b'name = "a"\n',
        b'type = "integer"\n',
        b'key = ["a"]\n',
        b"true",
        b"null",
        b"{}",
        b"[]",
        b'"rollups": {}',
        b'"queries": []',
        b'"x"',
        b"1",
        b"-1",
        b"1.5",
        b"[[]]",
        b"{",
        b"}",
        b",",
        b":",
        b"=",
        b"required",
        b"nulls",
        b"header",
        b"checks",
        b"formats",
        b"pattern",
        b"minimum",
        b"aliases",
        b"references",
        b"table",
        b"projections",
        b"version",
        b"duplicates",
        b"default",
        b"symbols",
        b"one_of",
        b"\\u0000",
    )
    assert fuzz("declarations", check, tokens)


def _document(text: str) -> tuple[object, str]:
    try:
        return json.loads(text), ""
    except (ValueError, RecursionError):
        pass
    try:
        return {"name": "fuzzed", **tomllib.loads(text)}, text
    except (ValueError, RecursionError):
        return None, ""


def test_a_multipart_body_is_read_as_werkzeug_reads_it() -> None:
    """The first byte chooses how many bytes arrive at a time."""

    def check(data: bytes) -> None:
        size, body = 1 + data[0] if data else 1, data[1:]
        found, expected = _parts(body, size), _parts_of_werkzeug(body)
        if found is None and _BARE.search(body):
            return  # where lines end in CR or LF alone, more may be refused than werkzeug does
        assert (found is None) == (expected is None), (found, expected)
        if found is not None and expected is not None:
            assert sorted(found, key=repr) == sorted(expected, key=repr)

    tokens = (
        b"--b",
        b"--b--",
        b"\r\n",
        b"\n",
        b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n',
        b"Content-Type: text/csv\r\n",
        b'name="x"',
        b'filename=""',
        b"filename*=UTF-8''a%20b.csv",
        b"\r\n\r\n",
        b"--",
        b";",
        b'"',
        b"\\",
        b"\0",
        b"\xff",
    )
    assert fuzz("multipart", check, tokens)


#: A line break that is half of one.
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


class _Trickle(io.RawIOBase):
    """A body of which so many bytes arrive at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._source = io.BytesIO(data)
        self._size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._source.read(min(self._size, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def _request(body: bytes, size: int) -> Request:
    return Request(
        {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "multipart/form-data; boundary=b",
            "wsgi.input": _Trickle(body, size),
            "wsgi.input_terminated": True,
        }
    )


_Member = tuple[str, str | None, bytes]


def _parts(body: bytes, size: int) -> list[_Member] | None:
    def member(part: Part) -> _Member:
        data = b"".join(part.blocks)
        if part.file_name is None:
            data = data.decode("utf-8", "replace").encode()  # as werkzeug has a field
        return part.name, part.file_name, data

    try:
        return [member(each) for each in read_parts(_request(body, size))]
    except (BodyError, TooLargeError):
        return None


def _parts_of_werkzeug(body: bytes) -> list[_Member] | None:
    parser = FormDataParser(lambda *_, **__: io.BytesIO(), silent=False)
    try:
        _, form, files = parser.parse(
            io.BytesIO(body), "multipart/form-data", len(body), {"boundary": "b"}
        )
    except (ValueError, RequestEntityTooLarge):
        return None
    fields: list[_Member] = [(name, None, value.encode()) for name, value in form.items(multi=True)]
    return fields + [
        (name, each.filename, each.stream.read()) for name, each in files.items(multi=True)
    ]
