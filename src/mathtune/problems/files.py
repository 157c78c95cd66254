"""Local files as rows: JSONL, JSON, CSV and Parquet, each row with its place for messages."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mathtune.errors import DataError

ENDINGS = (".jsonl", ".json", ".csv", ".parquet")


class Row(NamedTuple):
    """One row of a source.

    Attributes:
        place: Where it stands, for example ``"data/train.jsonl, line 4,711"``.
        values: Its columns.
    """

    place: str
    values: Mapping[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a local file in order; what it holds is told by its ending.

    JSONL and CSV are read line by line, so that a file larger than memory can be looked through.

    Raises:
        DataError: There is no such file, it is a folder, empty, of an unknown kind or not UTF-8, or
            a row cannot be read; the message names the file, the line and the remedy.
    """
    _check_is_file(path)
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            rows = _parquet(path)
        elif ending == ".csv":
            rows = _csv(path)
        elif ending == ".json" and _first_character(path) == b"[":
            rows = _json_array(path)
        else:
            rows = _json_lines(path)
        empty = True
        for row in rows:
            empty = False
            yield row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if empty:
        raise DataError(f"{path} holds no rows; check that it was written completely")


def _check_is_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise DataError(
                f"{path} is a folder; give one of its files, or add the name of the known set that "
                "it holds, for example name: gsm8k"
            )
        if not path.is_file():
            raise DataError(f"{path} does not exist; check the path{_neighbours(path)}")
        if path.suffix.lower() not in ENDINGS:
            raise DataError(
                f"{path} ends in {path.suffix or 'nothing'!r}; problems are read from "
                f"{', '.join(ENDINGS)}, so convert or rename it"
            )
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); check that it was written completely")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _neighbours(path: Path) -> str:
    """Name the data files that do stand in the folder, a few of them."""
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent} either)"
    found = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in ENDINGS)
    where = "this folder" if path.parent == Path() else path.parent
    return f"; {where} holds {', '.join(found[:5])}" if found else ""


def _first_character(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines; decoding each by itself is what lets a message name the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number:,}: byte 0x{line[error.start]:02x} is not UTF-8; "
                    "save the file as UTF-8"
                ) from error


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if line.isspace():
            continue
        try:
            values = json.loads(line.rstrip("\r\n"))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number:,} is not JSON ({_what(error)}); "
                f"repair or remove it: {_excerpt(line)}"
            ) from error
        place = f"{path}, line {number:,}"
        yield Row(place, _as_object(place, values))


def _json_array(path: Path) -> Iterator[Row]:
    try:
        items = json.loads("".join(line for _, line in _lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno:,} is not JSON ({_what(error)}); repair it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({_what(error)}); repair it") from error
    for number, values in enumerate(items, start=1):
        place = f"{path}, item {number:,}"
        yield Row(place, _as_object(place, values))


def _as_object(place: str, values: object) -> dict[str, Any]:
    if isinstance(values, dict):
        return values
    raise DataError(
        f"{place} is no JSON object but {_excerpt(json.dumps(values))}; "
        'write {"question": …, "answer": …}'
    )


def _csv(path: Path) -> Iterator[Row]:
    limit = csv.field_size_limit(sys.maxsize)  # solutions may be longer than the default 128 KiB
    try:
        reader = csv.reader(line for _, line in _lines(path))
        try:
            header = next(reader, [])
            if not all(header) or len(set(header)) < len(header):
                raise DataError(
                    f"{path}: the first line must name each column once, and it is {header}; "
                    "add a line such as question,answer"
                )
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num:,} has {len(fields)} fields where the "
                        f"first line names {len(header)} columns; put texts with commas or line "
                        'breaks in "…"'
                    )
                yield Row(
                    f"{path}, line {reader.line_num:,}", dict(zip(header, fields, strict=True))
                )
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num:,} is not CSV ({error}); repair or remove it"
            ) from error
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number:,}", values)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} is not a Parquet file, or a damaged one ({str(error).rstrip('.')}); "
            "fetch or write it again"
        ) from error


def _what(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:60]}…"
