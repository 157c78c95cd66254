"""When two solutions are the same reasoning: the list of equations they state (Yuan et al. 2023).

Samples of one problem often differ in words alone. Yuan et al., "Scaling Relationship on Learning
Mathematical Reasoning with Large Language Models", found that what helps is the number of
*distinct* equation lists, in the order stated: ``a+b=c, c*d=e`` and ``c*d=e, a+b=c`` are two.
"""

from __future__ import annotations

import re

from mathtune.grading.equations import Equation, find_equations

_OPERATORS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_TIMES = re.compile(r"(?<=[0-9)])[xX](?=[0-9(])")
_NOT_WRITTEN = re.compile(r"[\s,$€£¥\\]")
_ZEROS = re.compile(r"(\.[0-9]*?)0+(?![0-9])")


def equation_list(text: str) -> tuple[str, ...]:
    """Return the equations of a solution in its order, normalised; empty where it states none.

    Calculator annotations count where there are any, since the running text repeats them; else the
    equations of the running text. Spaces, separators, currency signs, the sign for a product and
    trailing zeros of a decimal make no difference; the order of operands does.
    """
    found = list(find_equations(text))
    annotated = [each for each in found if each.annotation]
    return tuple(map(_normalised, annotated or found))


def same_text(text: str) -> str:
    """Return what makes two solutions the same text: white space and case make no difference."""
    return " ".join(text.split()).casefold()


def _normalised(equation: Equation) -> str:
    return f"{_side(equation.left[0])}={_side(equation.right[0])}"


def _side(text: str) -> str:
    text = _TIMES.sub("*", _NOT_WRITTEN.sub("", text.translate(_OPERATORS)))
    return _ZEROS.sub(lambda match: match[1].rstrip("."), text)
