"""Predictions files: one JSON object per line, one line per problem and sample.

A row has everything needed to check it without the model:

=================== ==============================================================================
``problem_id``      Content id of the problem; what rows of two files are paired by.
``sample``          0 for the first completion of a problem, and so on.
``set``             Label of the problem set.
``question``        The question, as in the source.
``answer``          The gold solution; ``gold`` is its final answer as written in the source.
``type``, ``steps`` Kind of problem and number of solution steps, or null.
``prompt_hash``     ``prompt_hash`` of the text that was continued.
``style``           Name of the prompt style.
``decoding``        ``max_new_tokens, temperature, top_p, samples, seed, stop, calculator``,
                    and ``stop_repetition`` where it is on.
``completion``      The generated text. Of its ``tokens``, the calculator wrote ``inserted_tokens``;
                    ``tokens`` is null where a server did not count them. Of the inserted ones, the
                    model would have written ``corrected_tokens`` differently.
``stop_reason``     ``eos``, ``stop_string``, ``length`` or ``repetition``.
``outcome``         ``correct``, ``wrong``, ``no_answer``, ``truncated`` or ``ungradable``.
``correct``         True for the first of these only.
``extracted``       The text taken for the final answer; ``method`` and ``reason`` say how.
``error``           ``arithmetic_slip``, ``reasoning``, ``format``; null if correct or ungradable.
``published``       Verdict of each published grader by its name.
``ids``             With ``eval.logprobs`` only: the completion's token ids, EOS included if made.
``logprobs``        One log-probability per id, under the model itself (temperature 1, no top-p).
=================== ==============================================================================

Times are left out on purpose: a file finished after an interruption equals an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

from mathtune.errors import DataError
from mathtune.records import Outcome, PredictionRow
from mathtune.storage import cannot_write, replace_file

T = TypeVar("T")

FIELDS: dict[str, tuple[type, ...]] = {
    "problem_id": (str,),
    "sample": (int,),
    "set": (str,),
    "question": (str,),
    "answer": (str,),
    "gold": (str,),
    "type": (str, type(None)),
    "steps": (int, type(None)),
    "prompt_hash": (str,),
    "style": (str,),
    "decoding": (dict,),
    "completion": (str,),
    "tokens": (int, type(None)),
    "inserted_tokens": (int,),
    "stop_reason": (str,),
    "outcome": (str,),
    "correct": (bool,),
    "extracted": (str, type(None)),
    "method": (str, type(None)),
    "reason": (str,),
    "error": (str, type(None)),
    "published": (dict,),
}
"""Fields of a row in the order they are written, with the types they may have."""

_OUTCOMES = tuple(outcome.value for outcome in Outcome)


def prompt_hash(text: str) -> str:
    """Return 16 hex digits of SHA-256 of a prompt's text.

    The text, not the ids: models with different tokenizers can be given the same prompt.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def encode(row: PredictionRow) -> bytes:
    """Return a row as one line of a file, with its line end.

    A lone surrogate, which a remote engine can return and UTF-8 cannot hold, is written as the JSON
    escape that reads back as the same text.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    return line.encode("utf-8", "backslashreplace")


def iter_rows(path: str | Path) -> Iterator[PredictionRow]:
    """Yield the rows of a file one by one, holding one line at a time.

    Raises:
        DataError: If there is no such file, or a line is not a complete row, or its ``correct``
            contradicts its ``outcome``; names file and line.
    """
    return (row for _, row in lines_of(path))


def lines_of(path: str | Path, *, torn_end: bool = False) -> Iterator[tuple[int, PredictionRow]]:
    """Yield each row with the byte at which its line begins; raises like ``iter_rows``.

    With ``torn_end`` a last line without a line end, cut off while it was written, is left out.
    """
    path, at = Path(path), 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if torn_end and not line.endswith(b"\n"):
                    return
                yield at, _graded_row(line, f"{path}:{number}")
                at += len(line)
    except OSError as error:
        raise DataError(
            f"{path} is not a predictions file ({error.strerror or error}); give the path of one "
            "that an evaluation wrote"
        ) from error


def read_rows(path: str | Path) -> list[PredictionRow]:
    """Return all rows of a file; raises like ``iter_rows``."""
    share = Sharing()
    return [share(row) for row in iter_rows(path)]


def complete_rows(path: Path) -> Iterator[PredictionRow]:
    """Yield the rows of a file that may end in the middle of a line, or not be there.

    Raises:
        DataError: If any other line is not a row.
    """
    return (row for _, row in complete_lines_of(path))


def complete_lines_of(path: Path) -> Iterator[tuple[int, PredictionRow]]:
    """Yield each row with the byte at which its line begins; raises like ``complete_rows``."""
    if path.exists():
        yield from lines_of(path, torn_end=True)


def cut_torn_line(path: Path) -> bool:
    """Cut a last line without a line end off a file, and return whether there was one.

    It is always the last one written, so no complete row is lost.
    """
    if not path.exists():
        return False
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            end = begin + found + 1
            if found >= 0:
                break
            end = begin
        if end < size:
            file.truncate(end)
        return end < size


_BLOCK = 2**16


class Sharing:
    """Lets rows that are held together share what repeats, which halves their memory.

    JSON gives each row strings of its own, also for the names of its fields.
    """

    def __init__(self) -> None:
        self._seen: dict[str, list[object]] = {"decoding": [], "published": []}

    def __call__(self, row: PredictionRow) -> PredictionRow:
        """Return an equal row, its fields in the same order."""
        values = {sys.intern(name): value for name, value in row.items()}
        for name in _REPEATED:
            value = values[name]
            if isinstance(value, str):
                values[name] = sys.intern(value)
        for name in self._seen:
            values[name] = self.equal(name, values[name])
        return cast(PredictionRow, values)

    def equal(self, name: str, value: T) -> T:
        """Return an equal value of this field that came before, if there is one."""
        seen = self._seen[name]
        for known in seen:
            if known == value:
                return known
        if len(seen) < _MOST_SEEN:
            seen.append(value)
        return value


_REPEATED = ("set", "style", "type", "stop_reason", "outcome", "method", "reason", "error")
_MOST_SEEN = 16


def _graded_row(line: bytes, where: str) -> PredictionRow:
    """Return the row in a line, having checked that its verdict is one; raises like ``decode``."""
    row = decode(line, where)
    outcome, problem = row["outcome"], f"{where} (problem {row['problem_id']!r:.40})"
    again = "restore the file, or grade its answers again with 'mathtune grade'"
    if outcome not in _OUTCOMES:
        raise DataError(
            f"{problem} has outcome={outcome!r:.40}, expected one of {', '.join(_OUTCOMES)}; "
            f"{again}"
        )
    if row["correct"] != (outcome == Outcome.CORRECT.value):
        raise DataError(
            f"{problem} has correct={json.dumps(row['correct'])}, which contradicts "
            f"outcome={outcome!r}; {again}"
        )
    return row


def decode(line: bytes, where: str) -> PredictionRow:
    """Return the row in a line; its verdict may contradict itself, as it may be graded again.

    Args:
        line: The line, with or without its line end.
        where: ``file:line``, for the message.

    Raises:
        DataError: If it is not a JSON object with the fields of a row.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{where} is not JSON ({error}); restore the file or delete it and evaluate again"
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f"{where} is not a JSON object but {line[:40]!r}; this is not a predictions file"
        )
    for name, types in FIELDS.items():
        if name not in row:
            raise DataError(
                f"{where} has no field {name!r}; is this a predictions file of mathtune?"
            )
        value = row[name]
        # bool is an int to isinstance, and `true` is not a number of tokens.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise DataError(f"{where} has {name}={value!r:.40}, expected {expected}")
    return cast(PredictionRow, row)


class RowWriter:
    """Appends rows to a file, each handed to the system before ``write`` returns.

    A process killed at any moment leaves complete rows and at most one torn last line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._at = self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, row: PredictionRow) -> int:
        """Append one row, and return the byte at which its line begins.

        Raises:
            DiskError: If it could not be written.
        """
        line = memoryview(encode(row))
        at = self._at
        self._at += len(line)
        try:
            while line:  # an unbuffered file may write only part of it
                line = line[self._file.write(line) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return at

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def write_rows(path: str | Path, rows: Iterable[PredictionRow]) -> None:
    """Write a file: to a temporary name, synced to disk, then renamed into place.

    Raises:
        DiskError: If it could not be written; an existing file is untouched.
    """
    replace_file(Path(path), (encode(row) for row in rows))
