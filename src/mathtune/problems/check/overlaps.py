"""Rows that are test questions: as they are, with other numbers, or in other words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mathtune.problems.contamination import WindowIndex
from mathtune.problems.pool import SHORTEST, WINDOW
from mathtune.problems.rewordings import RewordingIndex
from mathtune.problems.splits import question_key
from mathtune.records import Problem

SAME = "same question"
WINDOWS = f"shares {WINDOW} words, numbers masked"
REWORDED = "in other words"
MEASURES = (SAME, WINDOWS, REWORDED)
"""From the surest to the least sure; a pair is found by the first that applies."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row next to the test question that it resembles.

    Attributes:
        measure: One of ``MEASURES``.
        row: Where the row is.
        question: Its question.
        test: The source of the test question, for example ``"gsm8k/main:test"``.
        test_question: The test question.
        shared: With ``WINDOWS``: the first shared window of words.
        similarity: With ``REWORDED``: of their content words, from 0.445 to below 1.
    """

    measure: str
    row: str
    question: str
    test: str
    test_question: str
    shared: str | None = None
    similarity: float | None = None


class OverlapFinder:
    """Test questions, held in memory, to which any number of rows is compared."""

    def __init__(self, tests: Iterable[Problem]) -> None:
        self._tests = {problem.id: problem for problem in tests}
        held = self._tests.values()
        self._same = {question_key(problem.question): problem.id for problem in held}
        self._windows = WindowIndex(held, WINDOW)
        self._reworded = RewordingIndex(held)

    def __len__(self) -> int:
        return len(self._tests)

    def find(self, place: str, question: str) -> list[Pair]:
        """Return the test questions that a row resembles, each by its surest measure."""
        pairs: dict[str, Pair] = {}

        def add(measure: str, test_id: str, shared: str | None, similarity: float | None) -> None:
            if test_id not in pairs:
                test = self._tests[test_id]
                pairs[test_id] = Pair(
                    measure, place, question, test.source, test.question, shared, similarity
                )

        same = self._same.get(question_key(question))
        if same is not None:
            add(SAME, same, None, None)
        for test_id, window in self._windows.find(question).items():
            if len(window.split()) >= SHORTEST:
                add(WINDOWS, test_id, window, None)
        for test_id, similarity in self._reworded.find(question):
            add(REWORDED, test_id, None, round(similarity, 3))
        return list(pairs.values())
