"""Read a source once, row by row, and count what a training would trip over.

Only the test sets, hashes of the rows and a few examples are in memory, so the source may be larger
than that.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from mathtune.errors import DataError
from mathtune.grading.steps import check_steps
from mathtune.problems.check.duplicates import RepeatFinder
from mathtune.problems.check.golds import SURE, found_in
from mathtune.problems.check.overlaps import MEASURES, OverlapFinder, Pair
from mathtune.problems.check.result import SHOWN, DataCheck, FalseStep
from mathtune.problems.columns.cells import CellFault
from mathtune.problems.columns.rows import Made
from mathtune.problems.files import SourceRow
from mathtune.problems.pool import Pool, read_all, test_readers
from mathtune.problems.reading import PROSE_ONLY, Role
from mathtune.problems.sources import Opened, open_source
from mathtune.records import Problem
from mathtune.text.visible import shortened

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import DataConfig, SourceConfig

log = logging.getLogger(__name__)

SAY_EVERY = 100_000
"""Rows between two lines of progress."""

_LONGEST_EQUATION = 200
_MOST_REASONS = 50
"""Different reasons counted by name; damaged files can give one for every row."""


def check_source(
    source: SourceConfig,
    against: DataConfig | None = None,
    *,
    on_pair: Callable[[Pair], None] = lambda pair: None,
) -> DataCheck:
    """Check a source, and compare it with the test sets of ``against``.

    Args:
        source: What would be trained on.
        against: Its ``test`` sets are compared with the source; None: nothing is.
        on_pair: Called for every row that resembles a test question, as it is found.

    Raises:
        DataError: The source or a test set cannot be found or read, or is generated.
    """
    if source.generated is not None:
        raise DataError("generated problems have nothing to check; give a file or a known set")
    pools: list[Pool] = []
    opened: list[Opened] = []
    tests = test_readers(against, seed=0) if against is not None else []
    readers: list[Callable[[], None]] = [
        lambda: opened.append(open_source(source, Role.TRAIN)),
        *(partial(_keep, pools, read) for read in tests),
    ]
    read_all(readers)
    asked = [problem for pool in pools for problem in pool.problems]
    found = _Findings(opened[0], OverlapFinder(asked) if asked else None, on_pair)
    for number, row in enumerate(opened[0].rows, start=1):
        found.add(number, row)
        if number % SAY_EVERY == 0:
            log.info(f"{number:,} rows checked")
    return found.result(opened[0].read_as, {pool.label: len(pool.problems) for pool in pools})


def _keep(pools: list[Pool], read: Callable[[], Pool]) -> None:
    pools.append(read())


@dataclass
class _Findings:
    """Counts, and the first examples of each kind."""

    opened: Opened
    tests: OverlapFinder | None
    on_pair: Callable[[Pair], None]
    rows: int = 0
    problems: int = 0
    golds: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    repeats: RepeatFinder = field(default_factory=RepeatFinder)
    false_steps: int = 0
    steps: list[FalseStep] = field(default_factory=list)
    overlaps: Counter[str] = field(default_factory=Counter)
    pairs: dict[str, list[Pair]] = field(default_factory=dict)

    def add(self, number: int, row: SourceRow) -> None:
        """Look at one row."""
        self.rows = number
        if row.fault:
            self._cannot_use(row.fault, f"{row.place}: {row.detail}" if row.detail else row.place)
            return
        try:
            made = self.opened.reading.made(row)
        except CellFault as fault:
            self._cannot_use(str(fault), row.place)
            return
        self._compare(row.place, made.problem)  # a test question is one with any answer
        found = found_in(made)
        self.golds[found.where] += 1
        if found.confidence != SURE and not self.opened.reading.prose:
            self._cannot_use(PROSE_ONLY, row.place)
            return
        self.problems += 1
        self.repeats.add(number, made.problem)
        self._check_steps(row.place, made)

    def _cannot_use(self, reason: str, place: str) -> None:
        if reason not in self.unusable and len(self.unusable) >= _MOST_REASONS:
            reason = "other reasons"
        self.unusable[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < SHOWN:
            places.append(shortened(place, 300))

    def _check_steps(self, place: str, made: Made) -> None:
        answer = made.problem.answer
        if "=" not in answer:
            return
        wrong = check_steps(answer).wrong
        if not wrong:
            return
        self.false_steps += 1
        if len(self.steps) < SHOWN:
            text = " ".join(answer[wrong[0].start : wrong[0].end].split())
            text = shortened(text, _LONGEST_EQUATION)
            self.steps.append(FalseStep(place, text, _number(wrong[0].exact)))

    def _compare(self, place: str, problem: Problem) -> None:
        if self.tests is None:
            return
        pairs = self.tests.find(place, problem.question)
        if not pairs:
            return
        self.overlaps[min((pair.measure for pair in pairs), key=MEASURES.index)] += 1
        for pair in pairs:
            self.on_pair(pair)
            kept = self.pairs.setdefault(pair.measure, [])
            if len(kept) < SHOWN:
                kept.append(pair)

    def result(self, read_as: str, labels: dict[str, int]) -> DataCheck:
        """Return what was found."""
        return DataCheck(
            source=self.opened.reading.label,
            read_as=read_as,
            rows=self.rows,
            problems=self.problems,
            golds=dict(self.golds),
            unusable=dict(self.unusable.most_common()),
            places={reason: tuple(places) for reason, places in self.places.items()},
            repeats=self.repeats.find(),
            false_steps=self.false_steps,
            false_step_examples=tuple(self.steps),
            against=labels,
            overlaps=dict(self.overlaps),
            pairs=tuple(pair for measure in MEASURES for pair in self.pairs.get(measure, ())),
        )


def _number(value: Fraction) -> str:
    """Return a number as a decimal where it is short, else as a fraction."""
    if value.denominator == 1:
        return shortened(str(value.numerator), 40) if abs(value) < 10**40 else "very large"
    return f"{float(value):.6g}" if abs(value) < 10**40 else "very large"
