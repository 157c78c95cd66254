"""One local file as rows, in any supported format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mathtune.errors import DataError
from mathtune.problems.files.content import is_parquet, open_bytes
from mathtune.problems.files.find import ending_of
from mathtune.problems.files.json_rows import read_json
from mathtune.problems.files.row import SourceRow
from mathtune.problems.files.tables import read_csv, read_parquet


def read_rows(path: Path) -> Iterator[SourceRow]:
    """Yield the rows of a local file in order, faulty ones included.

    Compression is recognised by content; JSON, CSV and Parquet by the file extension.

    Raises:
        DataError: The file is missing, empty, damaged, or not what its extension says; the
            message names the file, the line where there is one, and the remedy.
    """
    empty = True
    try:
        for row in _rows(path):
            empty = False
            yield row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if empty:
        raise DataError(f"{path} holds no rows; check that it was written completely")


def _rows(path: Path) -> Iterator[SourceRow]:
    ending = ending_of(path).removesuffix(".gz")
    if is_parquet(path):
        yield from read_parquet(path)
        return
    with open_bytes(path) as file:
        if ending == ".parquet":
            raise DataError(f"{path} is not a Parquet file; fetch or write it again")
        yield from read_csv(path, file) if ending == ".csv" else read_json(path, file)
