"""An equation of a data set as a worked solution, one step a line, as GSM8K writes them."""

from __future__ import annotations

import re
from fractions import Fraction

from mathtune.arithmetic import ExpressionError, evaluate, format_number

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_INNERMOST = re.compile(rf"\(\s*({_NUMBER})\s*([-+*/])\s*({_NUMBER})\s*\)")
_PLAIN = re.compile(_NUMBER)


def worked_solution(equation: str, gold: str) -> str:
    """Return a solution whose steps carry calculator annotations and whose end is ``#### gold``.

    ``( ( 8.0 + 4.0 ) * 3.0 )`` becomes ``8+4 = <<8+4=12>>12``, ``12*3 = <<12*3=36>>36`` and
    ``#### 36``. A set may write its own result behind a ``=``; it is checked like ``gold``.
    An equation that is not arithmetic, does not give the gold answer, or passes through a value
    that needs more than six decimals is kept as it stands.

    Args:
        equation: As the set writes it; ``""`` leaves the final answer alone.
        gold: The final answer.
    """
    if not equation:
        return f"#### {gold}"
    as_written = equation if "=" in equation else f"{equation} = {gold}"
    expression, _, result = equation.partition("=")
    try:
        steps, value = _steps(expression)
        stated = [evaluate(text) for text in (gold, result) if text.strip()]
    except ExpressionError:
        return f"{as_written}\n#### {gold}"
    if not steps or any(value != number for number in stated):
        return f"{as_written}\n#### {gold}"
    return "\n".join([*steps, f"#### {gold}"])


def _steps(expression: str) -> tuple[list[str], Fraction]:
    """Work out the innermost parentheses first; what is left is one step."""
    left, steps = f"({expression.strip()})", []
    while found := _INNERMOST.search(left):
        a, operator, b = found.groups()
        step = f"{_short(a)}{operator}{_short(b)}"
        steps.append(_step(step))
        left = left[: found.start()] + _written(evaluate(step)) + left[found.end() :]
    value = evaluate(left)
    if not _PLAIN.fullmatch(left.strip("() ")):
        steps.append(_step(_PLAIN.sub(lambda number: _short(number[0]), left.strip()[1:-1])))
    return steps, value


def _step(step: str) -> str:
    result = _written(evaluate(step))
    return f"{step} = <<{step}={result}>>{result}"


def _short(number: str) -> str:
    return format_number(evaluate(number))


def _written(value: Fraction) -> str:
    text = format_number(value)
    if evaluate(text) != value:
        raise ExpressionError(f"{value} has no short decimal form")
    return text
