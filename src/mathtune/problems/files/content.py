"""A file's bytes: unpacked within limits, and identified where they are not data."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mathtune.errors import DataError
from mathtune.problems.files.row import MAX_ROW

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RATIO = 200
"""Largest ratio of unpacked to compressed size; text compresses 5 to 20 times."""

FREE = 256 * 2**20
"""Bytes to which any file may unpack."""

_GZIP = b"\x1f\x8b"

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the data",
        "fetch the file itself with git lfs pull, or with hf download",
    ),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with unzstd"),
    (b"ARROW1", "an Arrow file", "write it as Parquet (dataset.to_parquet)"),
    (b"SQLite format 3", "an SQLite database", "write its table as CSV"),
    (b"\x80\x02", "a Python pickle, which is never opened", "write it as JSON lines"),
    (b"\x80\x03", "a Python pickle, which is never opened", "write it as JSON lines"),
    (b"\x80\x04", "a Python pickle, which is never opened", "write it as JSON lines"),
    (b"\x80\x05", "a Python pickle, which is never opened", "write it as JSON lines"),
    (b"<!doctype", "a web page", "download the file itself, for example by its raw link"),
    (b"<html", "a web page", "download the file itself, for example by its raw link"),
    (b"<?xml", "XML", "write it as JSON lines"),
)
"""First bytes (letters in any case), what such a file is, and what to do about it."""


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed where it is gzip, whatever its name says.

    Raises:
        DataError: It is empty, or known not to be text.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise DataError(f"{path} is empty (0 bytes); check that it was written completely")
    opened: BinaryIO
    if start.startswith(_GZIP):
        opened = cast(BinaryIO, io.BufferedReader(_Unpacked(path)))
        start = cast(io.BufferedReader, opened).peek(64)
    elif path.name.lower().endswith(".gz"):
        _check_signature(path, start)
        raise DataError(
            f"{path} ends in .gz but is not compressed with gzip; rename it to "
            f"{path.name[:-3]}, or fetch it again"
        )
    else:
        opened = path.open("rb")
    _check_signature(path, start)
    return opened


def _check_signature(path: Path, start: bytes) -> None:
    beginning = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, what, remedy in _SIGNATURES:
        if start.startswith(signature) or beginning.startswith(signature.lower()):
            raise DataError(f"{path} is {what}; {remedy}")
    if b"\x00" in start:
        raise DataError(
            f"{path} is not text (it begins with {start[:8]!r}); give a file of JSON lines, JSON, "
            "CSV or Parquet"
        )


class _Unpacked(io.RawIOBase):
    """A gzip file as bytes, refused once it unpacks to more than text would."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._limit = max(FREE, MAX_RATIO * path.stat().st_size)
        self._read = 0
        self._file = gzip.open(path)  # noqa: SIM115  (closed with this object)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            found = self._file.read(len(view))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{self._path} is damaged or cut off ({error}); fetch or write it again"
            ) from error
        self._read += len(found)
        if self._read > self._limit:
            raise DataError(
                f"{self._path} unpacks to more than {self._limit / 2**20:,.0f} MiB, {MAX_RATIO} "
                "times its size or more, which no file of problems does; unpack and check it by "
                "hand"
            )
        view[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


def numbered_lines(path: Path, file: BinaryIO, start: int = 1) -> Iterator[tuple[int, bytes]]:
    """Yield lines as bytes with their numbers, without a byte order mark.

    Raises:
        DataError: A line is longer than ``MAX_ROW``.
    """
    number = start
    while line := file.readline(MAX_ROW + 1):
        if len(line) > MAX_ROW:
            raise too_long(path, number)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        number += 1


def too_long(path: Path, number: int) -> DataError:
    """Say that a line is longer than ``MAX_ROW``."""
    return DataError(
        f"{path}, line {number:,} is longer than {MAX_ROW // 2**20} MiB, which no problem is; "
        "check that the file has line breaks"
    )
