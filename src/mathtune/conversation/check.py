"""What is right and wrong in one answer: its steps, and its result where the gold one is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mathtune.arithmetic import format_number
from mathtune.grading import check_steps, grade
from mathtune.grading.steps import CheckedEquation, Verdict
from mathtune.records import CUT_OFF, Completion, Grade, Outcome


@dataclass(frozen=True, slots=True)
class Checked:
    """One answer with its check.

    Attributes:
        completion: The answer.
        answer: The final answer that the grader reads from it, or None.
        equations: Every equation that could be read, an annotation as part of the equation around
            it; positions are those of ``completion.text``.
        unread: How many more could not be evaluated.
        grade: The verdict, if the gold answer is known.
    """

    completion: Completion
    answer: str | None
    equations: tuple[CheckedEquation, ...]
    unread: int
    grade: Grade | None

    @property
    def false(self) -> list[tuple[CheckedEquation, str]]:
        """The equations that do not hold, as they stand, each with the exact result."""
        return [
            (equation, format_number(equation.exact))
            for equation in self.equations
            if equation.verdict is Verdict.WRONG
        ]

    def text_of(self, equation: CheckedEquation) -> str:
        """Return an equation as the answer states it."""
        return self.completion.text[equation.start : equation.end]


def check(completion: Completion, gold: str | None = None) -> Checked:
    """Check an answer's equations, and grade it against the gold answer if that is known."""
    finished = completion.stop_reason.value not in CUT_OFF
    graded = grade(completion.text, gold or "0", finished=finished)  # what it reads needs no gold
    answered = graded.outcome not in (Outcome.NO_ANSWER, Outcome.TRUNCATED)
    steps = check_steps(completion.text)
    return Checked(
        completion,
        graded.extracted if answered else None,
        tuple(_merged(steps.equations)),
        steps.unread,
        graded if gold else None,
    )


def _merged(equations: Sequence[CheckedEquation]) -> list[CheckedEquation]:
    """Return equations in the order of the text, of two that overlap the false or the longer one.

    ``48/2 = <<48/2=24>>24`` is read twice, as an annotation and as running text.
    """
    kept: list[CheckedEquation] = []
    for each in sorted(equations, key=lambda e: (e.verdict is not Verdict.WRONG, e.start - e.end)):
        if not any(each.start < other.end and other.start < each.end for other in kept):
            kept.append(each)
    return sorted(kept, key=lambda equation: equation.start)
