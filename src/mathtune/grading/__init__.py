"""Grading: is the final answer right, what do published graders say, which step is wrong."""

from mathtune.grading.grade import GRADER_VERSION, gold_from_answer, grade
from mathtune.grading.numbers import is_padded
from mathtune.grading.published_graders import PUBLISHED_GRADERS, published_grades
from mathtune.grading.steps import (
    CheckedEquation,
    ErrorKind,
    StepReport,
    Verdict,
    check_steps,
    classify,
)
from mathtune.grading.visible import without_thoughts
from mathtune.records import Grade, Outcome

__all__ = [
    "GRADER_VERSION",
    "PUBLISHED_GRADERS",
    "CheckedEquation",
    "ErrorKind",
    "Grade",
    "Outcome",
    "StepReport",
    "Verdict",
    "check_steps",
    "classify",
    "gold_from_answer",
    "grade",
    "is_padded",
    "published_grades",
    "without_thoughts",
]
