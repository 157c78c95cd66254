"""Final answers: taken from each row and graded against the row's own solution."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal, InvalidOperation

from mathtune.errors import DataError
from mathtune.grading import grade
from mathtune.grading.stated import Stated, is_bare, is_marked, stated_gold
from mathtune.records import Outcome, Problem

_WHOLE = re.compile(r"(-?\d+)\.0+")
_NOISE = re.compile(r"-?\d{1,30}\.\d{12,60}")
_MATHS = re.compile(r"[0-9\\+*/^=]| - |^[A-Za-z]$")  # in a number or a formula, but not in words
_FORMULA = re.compile(r"[\\$^_=]")

KEPT = "kept: "
"""Prefix of a reason in ``ProblemSet.dropped`` whose problems were counted but kept."""


def final_answer(answer: str, published: str = "", *, checked: bool = False) -> tuple[str, Stated]:
    """Return a row's final answer, as published or from its solution, and how it was stated.

    It is ``""`` where there is none. Changes that a file format made to a number are undone: a
    whole number written as a float (``51.0``) becomes ``51``, because its decimals would accept
    every answer that rounds to 51.0; float noise (``0.30000000000000004``) ends at 12 decimals.

    Args:
        answer: The worked solution.
        published: What the column of final answers holds.
        checked: The column is known to hold nothing but final answers.
    """
    if published and (checked or _is_final(published)):
        return _without_format(published), Stated.ALONE
    try:
        text, stated = stated_gold(published or answer)
    except DataError:  # it shows the text; the summary of many rows says where they are
        return published, Stated.ALONE
    return (_without_format(text) if stated is Stated.ALONE else text), stated


def _is_final(text: str) -> bool:
    """Return whether a text is a final answer, however long its formula, and not a solution."""
    if is_marked(text):
        return False
    return is_bare(text) or bool(_FORMULA.search(text) and "\n" not in text)


def _without_format(text: str) -> str:
    whole = _WHOLE.fullmatch(text)
    if whole:
        return whole[1]
    if _NOISE.fullmatch(text):
        try:
            return f"{Decimal(text):.12f}".rstrip("0").removesuffix(".")
        except InvalidOperation:
            return text
    return text


def gold_fault(problem: Problem) -> str | None:
    """Return why a gold answer cannot be used, or None if its own solution passes the grader."""
    if not problem.gold:
        return "no final answer"
    if not _MATHS.search(problem.gold):
        return "final answer without a number"
    found = grade(problem.answer, problem.gold)
    if found.outcome is Outcome.CORRECT:
        return None
    if found.outcome is Outcome.WRONG:
        return "solution ends in a different number than the gold answer"
    return "gold answer cannot be graded"


# --- Rows that cannot be used --------------------------------------------------------------------

_MARK = (
    "end each solution with a line such as '#### 42', or name a column with the final answer "
    "(fields: {gold: …})"
)
_REMEDIES = {
    "no final answer": _MARK,
    "final answer without a number": _MARK,
    "final answer only in free prose": (
        f"{_MARK}; to take the last number of each solution instead, declare the source with "
        "prose: true, as in data.test=[{path: FILE, prose: true}]"
    ),
    "a conversation of several turns": "write each question with its solution as a row of its own",
    "not UTF-8": "save the file as UTF-8",
}
"""Remedy for a reason; for all others it is to repair or remove the rows."""

ENOUGH = 100_000
"""A file that is refused anyway is read no further after this many faults."""

_PLACES = 3
_REASONS = 6


class Faults:
    """Rows that cannot be used: how many, for which reasons, and where the first are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}
        self.damaged = 0
        """Rows that could not even be read."""

    def add(self, reason: str, place: str, detail: str = "", *, damaged: bool = False) -> None:
        """Count one row."""
        self.counts[reason] += 1
        self.damaged += damaged
        places = self._places.setdefault(reason, [])
        if len(places) < _PLACES:
            places.append(f"{place}: {detail}" if detail else place)

    def refuse(self, source: str) -> None:
        """Raise DataError, naming counts and first places, if any row was counted."""
        if not self.counts:
            return
        found = []
        for reason, count in self.counts.most_common(_REASONS):
            places = [place.removeprefix(f"{source}, ") for place in self._places[reason]]
            more = ", …" if count > len(places) else ""
            found.append(f"{reason}: {count:,} ({', '.join(places)}{more})")
        others = len(self.counts) - len(found)
        if others:
            found.append(f"and for {others:,} other reasons")
        total = self.counts.total()
        raise DataError(
            f"{source} has {'at least ' if total >= ENOUGH else ''}{total:,} "
            f"{'row' if total == 1 else 'rows'} that cannot be used "
            f"({'; '.join(found)}). {self.remedy()}"
        )

    def are_enough(self) -> bool:
        """Return whether enough were found to stop."""
        return self.counts.total() >= ENOUGH

    def remedy(self) -> str:
        """Return what to do about the reasons that were counted."""
        known = [_REMEDIES[reason] for reason in self.counts if reason in _REMEDIES]
        if len(known) < len(self.counts) or not known:
            known.append("repair or remove the rows")
        text = "; ".join(dict.fromkeys(known))
        return text[0].upper() + text[1:]

    def dropped(self) -> Counter[str]:
        """Return the counts, each reason with the place of its first row."""
        return Counter(
            {
                f"{reason} (first: {self._places[reason][0]})": count
                for reason, count in self.counts.items()
            }
        )
