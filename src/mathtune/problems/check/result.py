"""What a check of a source found, as plain records and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mathtune.problems.check.duplicates import Repeats
from mathtune.problems.check.golds import FOUND
from mathtune.problems.check.overlaps import MEASURES, REWORDED, SAME, WINDOWS, Pair
from mathtune.problems.reading import PROSE_ONLY
from mathtune.text.counts import counted

SHOWN = 5
"""Examples of each kind that are kept and shown."""


@dataclass(frozen=True, slots=True)
class FalseStep:
    """A row whose solution states an equation that does not hold."""

    row: str
    equation: str
    exact: str


@dataclass(frozen=True, slots=True)
class DataCheck:
    """What is in a source.

    Attributes:
        source: Its label.
        read_as: Which columns are used for what, where the format was recognised.
        rows: Rows read, those that cannot be used included.
        problems: Rows with a question and a final answer that the grader accepts.
        golds: How final answers were found → how many; see ``golds.FOUND``.
        unusable: Why rows cannot be used → how many.
        places: For each of these reasons, the first rows.
        repeats: Rows that repeat a question of an earlier row.
        false_steps: Rows whose solution states a false equation.
        false_step_examples: The first of them.
        against: Labels of the test sets, with their number of questions.
        overlaps: Measure → rows that resemble a test question; a row counts by its surest measure.
        pairs: The first rows of each measure, next to the test question.
    """

    source: str
    read_as: str
    rows: int
    problems: int
    golds: Mapping[str, int]
    unusable: Mapping[str, int]
    places: Mapping[str, tuple[str, ...]]
    repeats: Repeats
    false_steps: int
    false_step_examples: tuple[FalseStep, ...]
    against: Mapping[str, int] = field(default_factory=dict)
    overlaps: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()

    @property
    def left_out(self) -> int:
        """Rows that training would leave out or refuse; one that has several faults counts in each.

        Reworded test questions are not among them: training does not look for those.
        """
        repeats = self.repeats.duplicates + self.repeats.other_answers
        tests = self.overlaps.get(SAME, 0) + self.overlaps.get(WINDOWS, 0)
        return sum(self.unusable.values()) + repeats + tests

    @property
    def is_clean(self) -> bool:
        """Whether training would use every row, and none seems a reworded test question."""
        return self.left_out + self.overlaps.get(REWORDED, 0) == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        figures = asdict(self)
        figures["repeats"] = self.repeats._asdict()
        return {**figures, "left_out": self.left_out, "clean": self.is_clean}

    def lines(self) -> Iterator[str]:
        """Yield the figures for people."""
        yield self.read_as or self.source
        yield f"{counted(self.rows, 'row')}, {counted(self.problems, 'usable problem')}"
        yield from self._gold_lines()
        for reason, count in self.unusable.items():
            where = ", ".join(p.removeprefix(f"{self.source}, ") for p in self.places[reason])
            remedy = "; give prose: true to use likely ones" if reason == PROSE_ONLY else ""
            yield f"cannot be used: {reason}: {count:,} (first: {where}){remedy}"
        yield from self._repeat_lines()
        yield f"solutions with a false equation: {self.false_steps:,}"
        for step in self.false_step_examples:
            yield f"  {step.row}: {step.equation} (it is {step.exact})"
        yield from self._overlap_lines()
        if self.is_clean:
            yield "training would use every row"
        else:
            yield f"training would leave out or refuse: {counted(self.left_out, 'row')}"

    def _gold_lines(self) -> Iterator[str]:
        if self.golds:
            yield "final answers:"
        for way in FOUND:
            if count := self.golds.get(way.where, 0):
                share = count / sum(self.golds.values())
                yield f"  {way.confidence:7} {count:>10,} {share:>6.1%}  {way.where}"

    def _repeat_lines(self) -> Iterator[str]:
        found = self.repeats
        yield (
            f"repeated questions: {counted(found.duplicates, 'duplicate')}, "
            f"{found.other_answers:,} with another final answer, "
            f"{found.other_solutions:,} with another solution (kept)"
        )
        for earlier, row in found.examples:
            yield f"  row {row:,} repeats row {earlier:,}"

    def _overlap_lines(self) -> Iterator[str]:
        for label, count in self.against.items():
            yield f"compared with {label}: {counted(count, 'question')}"
        for measure in MEASURES if self.against else ():
            yield f"  {measure}: {counted(self.overlaps.get(measure, 0), 'row')}"
        for pair in self.pairs:
            how = pair.measure if pair.similarity is None else f"similarity {pair.similarity:.2f}"
            yield f"{pair.row} ({how}):"
            yield f"    {' '.join(pair.question.split())}"
            yield f"    {pair.test}: {' '.join(pair.test_question.split())}"
