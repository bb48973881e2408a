"""Hostile compressed files: they expand too much, in several steps, or not at all."""

from __future__ import annotations

import functools
import gzip
import io
import tarfile
import zipfile
import zlib

from backports import zstd
from hostile_file import KIB, MIB, packed

_HEADER = b"n\n"


def gz(data: bytes) -> bytes:
    """Compress with gzip."""
    return gzip.compress(data, 6)


@functools.cache
def _zeros_gz() -> bytes:
    """Return gzip of two gigabytes: 2 MB, of members of 64 MiB."""
    return gzip.compress(_HEADER) + gzip.compress(b"\n" * 64 * MIB, 6) * 32


@functools.cache
def _zstd_of_2_gib() -> bytes:
    """Return zstd of two gigabytes: a few hundred KB, of frames of 64 MiB."""
    return zstd.compress(_HEADER) + zstd.compress(b"\n" * 64 * MIB, 3) * 32


def _raw_deflate_gz(size_bytes: int) -> bytes:
    """Return gzip with a wrong length at its end."""
    return gz(b"1\n" * size_bytes)[:-4] + b"\xff\xff\xff\xff"


def _gz_with_name(size_bytes: int) -> bytes:
    """Return gzip whose header has a file name of some size."""
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflated.compress(_HEADER + b"1\n") + deflated.flush()
    tail = zlib.crc32(_HEADER + b"1\n").to_bytes(4, "little") + (4).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * size_bytes + b"\0" + body + tail


def _zstd_frames(count: int) -> bytes:
    return zstd.compress(_HEADER) + zstd.compress(b"1\n") * count


def _skippable(count: int) -> bytes:
    frame = b"\x50\x2a\x4d\x18" + (0).to_bytes(4, "little")
    return zstd.compress(_HEADER + b"1\n") + frame * count


def _zstd_window(log: int) -> bytes:
    """Return zstd whose window is 2 to the power of `log` bytes."""
    options = {
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.compression_level: 3,
    }
    compressor = zstd.ZstdCompressor(options=options)
    line = b"12345678\n"
    data = compressor.compress(_HEADER + line * (4 * MIB // len(line)))
    return data + compressor.flush()


def _zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"n\n1\n")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number in range(20_000):
            archive.addfile(tarfile.TarInfo(f"{number}.csv"))
    return file.getvalue()


COMPRESSED = (
    packed("zstd_of_2_gib", _zstd_of_2_gib, "CSV115", suffix=".csv.zst", is_quick=True, within_s=120.0),
    packed("gz_of_2_gib", _zeros_gz, "CSV115", suffix=".csv.gz", within_s=240.0),
    packed("gz_of_rejects", lambda: gz(_HEADER + b"x\n" * 31 * MIB), "CSV106", suffix=".csv.gz"),
    packed("gz_of_rows", lambda: gz(_HEADER + b"1\n" * 31 * MIB), suffix=".csv.gz", within_s=400.0),
    packed("gz_of_one_line", lambda: gz(_HEADER + b"1" * 60 * MIB), "CSV112", suffix=".csv.gz"),
    packed("gz_of_a_quoted_field", lambda: gz(_HEADER + b'"' + b"1\n" * 31 * MIB + b'"\n'), suffix=".csv.gz", within_s=400.0),
    packed("gz_of_gz", lambda: gz(gz(gz(gz(_HEADER + b"1\n" * 8 * MIB)))), "CSV102", suffix=".csv.gz"),
    packed("gz_of_zstd", lambda: gz(_zstd_of_2_gib()), "CSV102", suffix=".csv.gz"),
    packed("gz_of_many_members", lambda: gz(_HEADER) + gz(b"1\n") * 60_000, loaded=60_000, suffix=".csv.gz"),
    packed("gz_of_empty_members", lambda: gz(_HEADER + b"1\n") + gz(b"") * 200_000, loaded=1, suffix=".csv.gz"),
    packed("gz_with_zeros_after_it", lambda: gz(_HEADER + b"1\n") + bytes(8 * MIB), suffix=".csv.gz"),
    packed("gz_with_data_after_it", lambda: gz(_HEADER + b"1\n") + b"x" * 8 * MIB, "CSV109", suffix=".csv.gz"),
    packed("gz_truncated", lambda: gz(_HEADER + b"1\n" * MIB)[:-9], "CSV109", suffix=".csv.gz"),
    packed("gz_of_wrong_length", lambda: _raw_deflate_gz(MIB), "CSV109", suffix=".csv.gz"),
    packed("gz_with_a_long_name", lambda: _gz_with_name(8 * MIB), suffix=".csv.gz"),
    packed("gz_of_nothing", lambda: gz(b""), "CSV101", suffix=".csv.gz"),
    packed("only_a_gz_header", lambda: gz(b"")[:10], "CSV109", suffix=".csv.gz"),
    packed("zstd_of_many_frames", lambda: _zstd_frames(200_000), loaded=200_000, suffix=".csv.zst"),
    packed("zstd_of_skippable_frames", lambda: _skippable(MIB), suffix=".csv.zst"),
    packed("zstd_of_a_window_of_128_mib", lambda: _zstd_window(27), "CSV109", suffix=".csv.zst"),
    packed("zstd_of_a_window_of_2_gib", lambda: _zstd_window(31), "CSV109", suffix=".csv.zst"),
    packed("zstd_truncated", lambda: zstd.compress(_HEADER + b"1\n" * MIB)[:-3], "CSV109", suffix=".csv.zst"),
    packed("zstd_of_comments", lambda: zstd.compress(b"a,b\n" + b"#\n" * 31 * MIB), dataset="commented", suffix=".csv.zst", within_s=120.0),
    packed("gz_of_utf16", lambda: gz("n\n".encode("utf-16") + "1\n".encode("utf-16-le") * 4 * MIB), suffix=".csv.gz", within_s=180.0),
    packed("zip_of_files", lambda: _zip_of(*(f"{n}.csv" for n in range(1_000))), "CSV102", suffix=".csv"),
    packed("zip_of_a_long_name", lambda: _zip_of("x" * 60 * KIB), "CSV102", suffix=".csv"),
    packed("tar_of_files", _tar, "CSV102", suffix=".csv.gz"),
)  # fmt: skip
