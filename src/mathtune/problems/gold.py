"""Final answers: taken from each row and graded against the row's own solution."""

from __future__ import annotations

import re
from collections import Counter

from mathtune.errors import DataError
from mathtune.grading import gold_from_answer, grade
from mathtune.records import Outcome, Problem

_WHOLE = re.compile(r"(-?\d+)\.0+")
_MATHS = re.compile(
    r"[0-9\\+*/^=]| - |^[A-Za-z]$"
)  # what a number or a formula has and words have not


def final_answer(answer: str, published: str = "") -> str:
    """Return a row's final answer: the published one, else where its solution ends, else ``""``.

    A whole number written as a float (``51.0``) becomes ``51``: its decimals come from a file
    format, and would otherwise let every answer pass that rounds to 51.0.
    """
    if published:
        whole = _WHOLE.fullmatch(published)
        return whole[1] if whole else published
    try:
        return gold_from_answer(answer)
    except DataError:  # it shows the text; the message made of many rows says where they stand
        return ""


def gold_fault(problem: Problem) -> str | None:
    """Return why a gold answer is of no use, or None where its own solution passes the grader."""
    if not problem.gold:
        return "no final answer"
    if not _MATHS.search(problem.gold):
        return "final answer without a number"
    found = grade(problem.answer, problem.gold)
    if found.outcome is Outcome.CORRECT:
        return None
    if found.outcome is Outcome.WRONG:
        return "solution ends in another number than the gold answer"
    return "gold answer cannot be graded"


class Faults:
    """Rows without a usable gold answer: how many, for which reason, and where the first stand."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        """Count one row."""
        self.counts[reason] += 1
        places = self._places.setdefault(reason, [])
        if len(places) < 3:
            places.append(place)

    def refuse(self, source: str) -> None:
        """Raise DataError, naming counts and first places, if any row was counted."""
        if not self.counts:
            return
        found = "; ".join(
            f"{reason}: {count:,} ({', '.join(self._places[reason])}"
            f"{', …' if count > len(self._places[reason]) else ''})"
            for reason, count in self.counts.items()
        )
        raise DataError(
            f"{source} has {self.counts.total():,} rows without a usable gold answer, {found}. "
            "End each solution with a line such as '#### 42', name a column with the final answer "
            "(fields: {gold: …}), or remove these rows"
        )

    def dropped(self) -> Counter[str]:
        """Return the counts, each reason with the place of its first row."""
        return Counter(
            {
                f"{reason} (first: {self._places[reason][0]})": count
                for reason, count in self.counts.items()
            }
        )
