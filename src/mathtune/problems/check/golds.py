"""How each final answer was found, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

from mathtune.grading.stated import Stated
from mathtune.problems.columns.rows import Made

SURE, LIKELY, UNSURE = "sure", "likely", "unsure"


class Found(NamedTuple):
    """Where a final answer stood, and how sure it is."""

    where: str
    confidence: str


FOUND = (
    COLUMN := Found("a column of its own", SURE),
    HASH := Found("after ####", SURE),
    BOXED := Found("in \\boxed{}", SURE),
    ANSWER := Found('after "Answer:" or "the answer is"', SURE),
    LAST := Found("the only number of the last sentence with a number", LIKELY),
    SEVERAL := Found("the last of several numbers", UNSURE),
)
"""Every way, from the surest to the least sure."""


def found_in(made: Made) -> Found:
    """Return how the final answer of a row was found."""
    if made.stated is Stated.ALONE:
        return COLUMN
    if made.stated is Stated.PROSE:
        return LAST
    if made.stated is Stated.UNSURE:
        return SEVERAL
    answer = made.problem.answer
    if "\\boxed" in answer:
        return BOXED
    return HASH if "####" in answer else ANSWER
