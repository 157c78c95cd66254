"""CSV and Parquet as rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mathtune.errors import DataError
from mathtune.problems.files.content import numbered_lines
from mathtune.problems.files.row import MAX_ROW, SourceRow, excerpt

MAX_COLUMNS = 10_000
"""More columns than any set of problems has: the table is transposed or hostile."""

_BATCH = 1000  # rows of Parquet in memory at a time


def read_csv(path: Path, file: BinaryIO) -> Iterator[SourceRow]:
    """Yield the rows of a CSV file with a header; fields separated by commas, semicolons or tabs.

    A first column without a name is pandas' index and is left out.

    Raises:
        DataError: It is not CSV in UTF-8, or its header does not name each column once.
    """
    limit = csv.field_size_limit(MAX_ROW)  # solutions may be longer than the default 128 KiB
    reader: Any = None
    try:
        lines = _decoded(path, file)
        first = next(lines, "")
        commas = max(",;\t", key=first.count) if "," not in first else ","
        reader = csv.reader(_chain(first, lines), delimiter=commas, strict=True)
        header = _header(path, next(reader, []))
        for fields in reader:
            place = f"{path}, line {reader.line_num:,}"
            if not fields:
                continue
            if len(fields) == len(header):
                yield SourceRow(place, {n: v for n, v in zip(header, fields, strict=True) if n})
            else:
                yield SourceRow(
                    place,
                    {},
                    "not as many fields as columns",
                    f"{len(fields):,} where the first line names {len(header):,}; put texts with "
                    'commas or line breaks in "…"',
                )
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num if reader else 1:,} is not CSV ({error}); repair it; "
            'quote a text that contains ", and double each " in it'
        ) from error
    finally:
        csv.field_size_limit(limit)


def _chain(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yield lines, decoded one by one so that a message can name the line."""
    for number, line in numbered_lines(path, file):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number:,}: byte 0x{line[error.start]:02x} is not UTF-8; save the "
                "file as UTF-8 (in Excel: 'CSV UTF-8')"
            ) from error


def _header(path: Path, header: list[str]) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise _too_wide(path, len(header))
    named = header[1:] if header[:1] == [""] else header
    if not named or not all(named) or len(set(named)) < len(named):
        raise DataError(
            f"{path}: the first line must name each column once, but it is "
            f"{excerpt(str(header))}; add a line such as question,answer"
        )
    return header


def read_parquet(path: Path) -> Iterator[SourceRow]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: It is not Parquet, is damaged, or has more than ``MAX_COLUMNS`` columns.
    """
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            if len(file.schema_arrow) > MAX_COLUMNS:
                raise _too_wide(path, len(file.schema_arrow))
            for batch in file.iter_batches(_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield SourceRow(f"{path}, row {number:,}", values)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a Parquet file, or a damaged one "
            f"({excerpt(str(error), 200).rstrip('.')}); fetch or write it again"
        ) from error


def _too_wide(path: Path, count: int) -> DataError:
    return DataError(
        f"{path} has {count:,} columns, but at most {MAX_COLUMNS:,} are read; write one row per "
        "problem, with columns such as question and answer"
    )
