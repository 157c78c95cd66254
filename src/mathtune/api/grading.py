"""``grade`` from Python: its arguments checked, then ``mathtune.grading.grade``."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any

from mathtune import grading
from mathtune.api.arguments import shown
from mathtune.errors import DataError
from mathtune.grading.numbers import MAX_LENGTH
from mathtune.records import Grade


def grade(
    completion: str, gold: str | int | float | Decimal | Fraction, *, finished: bool = True
) -> Grade:
    """Grade one completion against the gold answer.

    Args:
        completion: What the model wrote after the prompt.
        gold: The final answer: an exact number, or as written in the source (``"1,450"``,
            ``"$5.00"``, ``"33.33"``). Text that is not a number is treated as LaTeX or words; a
            gold answer without content makes every grade ``UNGRADABLE``.
        finished: False where the completion ended because it hit the token limit.

    Returns:
        The outcome with the text it is based on. ``value`` of a percentage is the number before the
        sign (50 for ``50%``).

    Raises:
        DataError: The completion is not text, or the gold answer neither text nor a finite number.
    """
    faults = []
    if not isinstance(completion, str):
        faults.append(
            f"completion={shown(completion)} has type {type(completion).__name__}; "
            "give the text that the model wrote"
        )
    if not isinstance(gold, str) and (problem := _problem_of_number(gold)):
        faults.append(problem)
    if faults:
        raise DataError(faults)
    return grading.grade(completion, gold, finished=finished)  # type: ignore[arg-type]


def _problem_of_number(gold: Any) -> str:
    """Return what keeps a gold answer that is not text from being graded, or nothing."""
    if isinstance(gold, bool) or not isinstance(gold, Rational | float | Decimal):
        kind = type(gold).__name__
        return f"gold={shown(gold)} has type {kind}; give the final answer as a string or a number"
    if isinstance(gold, Rational | Decimal) and _is_too_long(gold):
        return (
            f"gold is a number of more than {MAX_LENGTH} digits, which is not graded; "
            "check how it was computed"
        )
    finite = gold.is_finite() if isinstance(gold, Decimal) else math.isfinite(gold)
    if not finite:
        return f"gold={gold} is not finite; give the final answer as a string or a finite number"
    return ""


def _is_too_long(gold: Rational | Decimal) -> bool:
    if isinstance(gold, Decimal):
        return gold.is_finite() and abs(gold.adjusted()) >= MAX_LENGTH
    limit: int = 10**MAX_LENGTH
    return abs(int(gold.numerator)) >= limit or int(gold.denominator) >= limit
