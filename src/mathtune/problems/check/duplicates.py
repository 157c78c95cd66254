"""Rows that repeat a question, found in 32 bytes per row instead of its text."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mathtune.problems.splits import question_key
from mathtune.records import Problem

SHOWN = 3
_MASK = 2**64 - 1

Hashes = NDArray[np.uint64]


class Repeats(NamedTuple):
    """What repeats in a file; a row counts in one of these at most.

    Attributes:
        duplicates: Rows with the question and the solution of an earlier row.
        other_answers: Rows with the question of an earlier row and another final answer.
        other_solutions: Rows with the question and final answer of an earlier row, solved in
            another way; training keeps these.
        examples: Pairs of row numbers, an earlier row and its first duplicates.
    """

    duplicates: int
    other_answers: int
    other_solutions: int
    examples: tuple[tuple[int, int], ...]


class RepeatFinder:
    """Remembers 64-bit hashes of rows, so two different rows of a million meet once in 10^7 files.

    Questions are compared as everywhere: up to white space and case.
    """

    def __init__(self) -> None:
        self._questions, self._answers, self._golds = array("Q"), array("Q"), array("Q")
        self._rows = array("Q")

    def add(self, row: int, problem: Problem) -> None:
        """Remember a row."""
        self._rows.append(row)
        self._questions.append(hash(question_key(problem.question)) & _MASK)
        self._answers.append(hash(" ".join(problem.answer.split())) & _MASK)
        self._golds.append(hash(problem.gold) & _MASK)

    def find(self) -> Repeats:
        """Compare all rows."""
        if not self._rows:
            return Repeats(0, 0, 0, ())
        keys = (self._rows, self._questions, self._answers, self._golds)
        arrays = [np.frombuffer(key, dtype=np.uint64) for key in keys]
        repeated = _repeated(arrays[1])  # the arrays below are ten times as large as these
        rows, questions, answers, golds = (values[repeated] for values in arrays)
        # The first row of each question, and the first of each question with its solution.
        _, first, which = np.unique(questions, return_index=True, return_inverse=True)
        first = first[which]
        pairs = questions * np.uint64(31) ^ answers
        _, first_pair, pair = np.unique(pairs, return_index=True, return_inverse=True)
        earlier = first_pair[pair]
        order = np.arange(len(rows))
        duplicate = earlier != order
        repeated = (first != order) & ~duplicate
        conflict = repeated & (golds != golds[first])
        shown = np.flatnonzero(duplicate)[:SHOWN]
        return Repeats(
            int(duplicate.sum()),
            int(conflict.sum()),
            int((repeated & ~conflict).sum()),
            tuple((int(rows[earlier[i]]), int(rows[i])) for i in shown),
        )


def _repeated(values: Hashes) -> NDArray[np.bool_]:
    """Return which values occur more than once."""
    ordered = np.sort(values)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.zeros(len(values), dtype=bool)
    del ordered
    at = np.searchsorted(twice, values)
    at[at == len(twice)] = 0
    found: NDArray[np.bool_] = twice[at] == values
    return found
