"""Grading: is a completion's final answer right, how do the published graders see it, which step slipped."""

from mathtune.grading.extract import gold_from_answer
from mathtune.grading.grade import grade
from mathtune.grading.published import PUBLISHED_GRADERS, published_grades
from mathtune.records import Grade, Outcome

__all__ = [
    "PUBLISHED_GRADERS",
    "Grade",
    "Outcome",
    "gold_from_answer",
    "grade",
    "published_grades",
]
