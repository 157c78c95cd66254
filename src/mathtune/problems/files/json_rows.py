"""JSON in its usual shapes: one object per line, one array, or objects over several lines.

All are read in chunks, so a file may be larger than memory.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mathtune.errors import DataError
from mathtune.problems.files.content import numbered_lines, too_long
from mathtune.problems.files.row import MAX_ROW, SourceRow, excerpt

_CHUNK = 2**20
_BLANKS = re.compile(r"[ \t\r\n]*")
_NOT_JSON = "not JSON"


class _RepeatedKey(ValueError):
    """An object has a key twice; ``json`` would silently keep the second."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepeatedKey(f"key {excerpt(twice)!r} appears twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_json(path: Path, file: BinaryIO) -> Iterator[SourceRow]:
    """Yield the rows of a JSON file; its first line shows its shape.

    Lines that cannot be read are yielded with their fault, so that all of them can be reported.

    Raises:
        DataError: What follows a fault cannot be read either: in an array, or in objects that go
            over several lines.
    """
    number, line = 0, b""
    while not line.strip():
        number += 1
        line = file.readline(_CHUNK)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return
    begins, ends = line.lstrip()[:1], line.rstrip()[-1:]
    if begins == b"[" or (begins == b"{" and ends in (b"{", b"[", b",")):
        yield from _Values(path, file, line, number).rows()
        return
    if not line.endswith(b"\n"):  # perhaps longer than what was read
        line += file.readline(MAX_ROW + 1 - len(line))
        if len(line) > MAX_ROW:
            raise too_long(path, number)
    yield from _line(path, number, line)
    for following, text in numbered_lines(path, file, number + 1):
        yield from _line(path, following, text)


def _line(path: Path, number: int, line: bytes) -> Iterator[SourceRow]:
    if line.isspace():
        return
    place = f"{path}, line {number:,}"
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        yield SourceRow(place, {}, "not UTF-8", f"byte 0x{line[error.start]:02x}")
        return
    try:
        yield _row(place, _DECODER.decode(text.rstrip("\r\n")))
    except (ValueError, RecursionError) as error:
        yield SourceRow(place, {}, _NOT_JSON, f"{_what(error)}: {excerpt(text)}")


def _row(place: str, values: Any) -> SourceRow:
    if isinstance(values, dict):
        return SourceRow(place, values)
    shown = excerpt(json.dumps(values, ensure_ascii=False))
    return SourceRow(
        place, {}, "not a JSON object", f"{shown}; write it as an object with named fields"
    )


class _Values:
    """JSON values one after the other in a text that is read in chunks."""

    def __init__(self, path: Path, file: BinaryIO, start: bytes, line: int) -> None:
        self._path, self._file = path, file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._line = "", 0, line  # the line of position ``_at``
        self._add(start)

    def rows(self) -> Iterator[SourceRow]:
        in_array = self._next() == "["
        self._advance(self._at + in_array)
        number = 0
        while (character := self._next()) not in ("", "]"):
            if character == ",":
                self._advance(self._at + 1)
                continue
            number += 1
            place = f"item {number:,}" if in_array else f"line {self._line:,}"
            yield _row(f"{self._path}, {place}", self._value())
        if in_array and not character:
            raise self._broken(self._at, "the array is not closed")
        self._advance(self._at + len(character))
        if (not in_array and character) or self._next():
            raise self._broken(self._at, f"more follows: {excerpt(self._text[self._at :])!r}")

    def _next(self) -> str:
        """Skip blanks; return the character there, or ``""`` at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._advance(blanks.end() if blanks else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_CHUNK):
                return ""

    def _value(self) -> Any:
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Broken, or just not fully read yet?
                open_ended = error.pos > len(self._text) - 16 or error.msg.startswith("Untermi")
                if open_ended and len(self._text) - self._at <= MAX_ROW and self._more(size):
                    size *= 2  # else a long value would be parsed a thousand times
                    continue
                raise self._broken(error.pos, error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self._broken(self._at, _what(error)) from error
            if end == len(self._text) and self._more(_CHUNK):  # 12 may be the beginning of 123
                continue
            if end - self._at > MAX_ROW:
                raise too_long(self._path, self._line)
            self._advance(end)
            return value

    def _broken(self, at: int, what: str) -> DataError:
        line = self._line + self._text.count("\n", self._at, at)
        return DataError(
            f"{self._path}, line {line:,} is not JSON ({what}); repair it, or check that the file "
            "was written completely"
        )

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, size: int) -> bool:
        """Read more and drop what was used; False at the end of the file."""
        data = self._file.read(size)
        if data:
            self._text, self._at = self._text[self._at :], 0
        self._add(data)
        return bool(data)

    def _add(self, data: bytes) -> None:
        try:
            self._text += self._decode.decode(data, final=not data)
        except UnicodeDecodeError as error:
            before = self._text.count("\n", self._at) + error.object[: error.start].count(b"\n")
            raise DataError(
                f"{self._path}, line {self._line + before:,}: byte "
                f"0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
            ) from error


def _what(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno:,}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).partition(";")[0]  # of an integer that is too long, without the advice
