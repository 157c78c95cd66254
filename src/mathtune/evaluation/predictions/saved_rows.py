"""Rows that stay in their file, so that an evaluation needs little more memory than its problems.

While an evaluation runs, ``RowPlaces`` knows where each answer's row begins, 8 bytes an answer.
Afterwards ``SavedRows`` reads the rows whenever they are asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

from mathtune.evaluation.predictions.rows import decode, iter_rows
from mathtune.records import PredictionRow
from mathtune.storage import replace_file

_NOWHERE = -1


class RowPlaces:
    """Where the row of each answer begins in a file, by the answer's number in the final order.

    Args:
        path: The file.
        answers: How many there will be.
    """

    def __init__(self, path: Path, answers: int) -> None:
        self.path = path
        self._at = array("q", [_NOWHERE]) * answers
        self._count = self._repeated = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return self._at[number] != _NOWHERE

    def add(self, number: int, at: int) -> None:
        """Note where a row begins; of an answer that is there already, the first row counts."""
        if number in self:
            self._repeated += 1
            return
        self._at[number] = at
        self._count += 1

    def row(self, number: int) -> PredictionRow:
        """Return the row of an answer, read from the file."""
        with self.path.open("rb") as file:
            file.seek(self._at[number])
            return decode(file.readline(), str(self.path))

    def put_in_order(self) -> None:
        """Write the file again, in the answers' order, if it is not in that order already.

        Raises:
            DiskError: If it could not be written; the existing file is untouched.
        """
        before = _NOWHERE
        for at in self._at:
            if at <= before:
                break
            before = at
        else:
            if not self._repeated:
                return
        replace_file(self.path, self._lines())

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for at in self._at:
                if at != _NOWHERE:
                    file.seek(at)
                    yield file.readline()


class SavedRows(Sequence[PredictionRow]):
    """The rows of a finished predictions file, read from it each time.

    Raises:
        DataError: While they are read, as ``rows.iter_rows``.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PredictionRow]:
        return iter_rows(self.path)

    @overload
    def __getitem__(self, index: int) -> PredictionRow: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[PredictionRow]: ...

    def __getitem__(self, index: int | slice) -> PredictionRow | Sequence[PredictionRow]:
        with self.path.open("rb") as file:

            def row(begin: int) -> PredictionRow:
                file.seek(begin)
                return decode(file.readline(), str(self.path))

            found = self._begins[index]
            return row(found) if isinstance(found, int) else [row(each) for each in found]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _begins(self) -> array[int]:
        begins, at = array("q"), 0
        with self.path.open("rb") as file:
            for line in file:
                begins.append(at)
                at += len(line)
        return begins
