"""Check the arithmetic a solution states, and name the kind of error in a wrong one.

An equation holds where its sides are equal exactly, or where the right side is the left, rounded:

- to the decimals shown, by rounding or by cutting off: ``100/3 = 33.33``, ``2/3 = 0.67`` or 0.66;
- to a whole number, where the left side divides: ``100/3 = 33``, ``17/5 = 4`` boxes;
- or carried forward: ``100/3 = 33.33`` and later ``33.33*3 = 100``.

Read in the way that makes them true are a percentage (``10/40 = 25%``, ``100 - 53 = 47%``), an
amount in cents (``$0.05 * 5 = 25 cents``) and a running chain (``2+3 = 5+4 = 9``). What
follows an annotation must repeat its result: ``<<48/2=24>>25`` is wrong.

On GSM8K train no annotation is called wrong. Of the 23,900 equations read from its running text 27
are: 26 are false as printed (``so it cost 192*100=$1920``), one is misread (a sum begun in words).
Of 1,000 wrong results planted in annotations all are found; of 1,000 planted
in solutions without annotations 95 %, because the others are in no equation between numbers.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from mathtune.arithmetic import MAX_LENGTH, ExpressionError, evaluate
from mathtune.grading.equations import Equation, find_equations
from mathtune.grading.reading.units import Unit, unit_of
from mathtune.grading.visible import cut_next_question, find_visible, without_thoughts
from mathtune.records import Grade, Outcome

_NOISE = re.compile(r"\.[0-9]{12}")  # binary floats printed: 0.1 + 0.2 = 0.30000000000000004
_NOISE_SIZE = Fraction(1, 10**12)
_SYMBOL = re.compile(r"[$¢]|[A-Za-z]+")
_SUM = re.compile(r"[0-9a-z)] ?[-+−–] ?[0-9(.$]", re.IGNORECASE)
_NUMBER = re.compile(r"(?:- ?)?[0-9,]*(?:\.(?P<decimals>[0-9]+))?(?P<percent> ?\\?%)?")


class Verdict(enum.Enum):
    """Whether an equation holds."""

    EXACT = "exact"
    ROUNDED = "rounded"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class CheckedEquation:
    """One equation of a solution.

    Attributes:
        start: Where it begins in the solution.
        end: Where it ends; ``text[start:end]`` shows it.
        expression: Its left side.
        stated: The value its right side states.
        exact: The value of its left side.
        verdict: Whether it holds.
        annotation: True for a calculator annotation, False for running text.
    """

    start: int
    end: int
    expression: str
    stated: Fraction
    exact: Fraction
    verdict: Verdict
    annotation: bool


@dataclass(frozen=True, slots=True)
class StepReport:
    """The equations of one solution.

    Attributes:
        equations: Those that could be read: annotations first, each group in the order of the text.
        unread: How many more look like equations between numbers and could not be evaluated.
    """

    equations: tuple[CheckedEquation, ...]
    unread: int = 0

    @property
    def wrong(self) -> tuple[CheckedEquation, ...]:
        """The equations that do not hold."""
        return tuple(e for e in self.equations if e.verdict is Verdict.WRONG)


class ErrorKind(enum.Enum):
    """Why a completion got no credit."""

    NONE = "none"
    """The answer is correct, or could not be graded."""
    ARITHMETIC = "arithmetic"
    """Some equation it states is false."""
    REASONING = "reasoning"
    """All equations it states hold, and the answer is wrong."""
    FORMAT = "format"
    """No single plain number was given as the answer."""


MAX_TEXT = 100_000
"""Characters of a solution that are checked, some 25,000 tokens; the rest counts as unread."""


def check_steps(text: str) -> StepReport:
    """Check every equation that a solution states, in time linear in its length.

    A thought is left out: what was tried and dropped there is not stated.
    """
    checked: list[CheckedEquation] = []
    visible = find_visible(text)
    if visible.start or visible.end < len(text):  # blanks keep every position
        text = " " * visible.start + text[visible.start : visible.end]
    unread = 0
    if len(text) - visible.start > MAX_TEXT:
        unread = text.count("=", visible.start + MAX_TEXT)
        text = text[: visible.start + MAX_TEXT]
    carried: dict[str, Fraction] = {}  # a rounded result as written -> what it was rounded from
    for equation in find_equations(text):
        result = _check(equation, carried)
        if result is None or (
            result.verdict is Verdict.WRONG and _mixes_units(result, equation, text)
        ):
            unread += 1
        else:
            checked.append(result)
            if result.verdict is Verdict.ROUNDED:
                carried[equation.right[-1]] = result.exact
    return StepReport(tuple(checked), unread)


def classify(grade: Grade, completion: str) -> ErrorKind:
    """Name the kind of error of a graded completion.

    Args:
        grade: Its result from ``mathtune.grading.grade``.
        completion: The completion that was graded.

    Returns:
        ``FORMAT`` where no number could be read as the answer (``NO_ANSWER``, ``TRUNCATED``, or
        something like ``12:30``); of the other wrong ones ``ARITHMETIC`` where a stated equation is
        false, else ``REASONING``; ``NONE`` for a correct one and for one that could not be graded.
    """
    if grade.outcome in (Outcome.CORRECT, Outcome.UNGRADABLE):
        return ErrorKind.NONE
    if grade.outcome is not Outcome.WRONG or (grade.value is None and grade.method != "symbolic"):
        return ErrorKind.FORMAT
    text, _ = cut_next_question(without_thoughts(completion))
    return ErrorKind.ARITHMETIC if check_steps(text).wrong else ErrorKind.REASONING


class _Stated(NamedTuple):
    """A value the right side may state, and how exactly: decimals are None for an expression."""

    value: Fraction
    decimals: int | None


def _check(equation: Equation, carried: Mapping[str, Fraction]) -> CheckedEquation | None:
    first = next(_left_values(equation), None)
    if first is None:
        return None

    def result(exact: Fraction, right: _Stated, verdict: Verdict) -> CheckedEquation:
        return CheckedEquation(
            equation.start,
            equation.end,
            equation.left[0],
            right.value,
            exact,
            verdict,
            equation.annotation,
        )

    for right in _stated_values(equation):  # most hold in their first reading
        if first == right.value:
            return result(first, right, Verdict.EXACT)
    values = list(_left_values(equation))
    stated = list(_stated_values(equation))
    if not stated:
        return None
    for value in values[1:]:
        for right in stated:
            if value == right.value:
                return result(value, right, Verdict.EXACT)
    divides = "/" in equation.left[0] or "÷" in equation.left[0] or "\\div" in equation.left[0]
    noisy = any(map(_NOISE.search, (*equation.left, *equation.right)))
    if carried and (value_before := _carried_on(equation.left[0], carried)) is not None:
        values.append(value_before)
    for value in values:
        for right in stated:
            if value == right.value or _is_rounded(value, right, divides=divides, noisy=noisy):
                return result(value, right, Verdict.ROUNDED)
    return result(values[0], stated[0], Verdict.WRONG)


def _mixes_units(checked: CheckedEquation, equation: Equation, text: str) -> bool:
    """Return whether an equation is false only because its units are left out.

    Either a sum mixes units of one quantity (``1 hour + 20 minutes``), or the result is stated in
    another unit than the left side (``25 cents * 4 = $1``) and is right in that unit.
    """
    if equation.annotation:
        return False
    left, _, right = text[equation.start : equation.end].partition("=")
    sign = text[max(0, equation.start - 1) : equation.start]  # the dollar sign before ``$1 + …``
    units = _units(sign + left if sign in ("$", "¢") else left)
    if not units:
        return False
    if _SUM.search(left) and len({unit[0] for unit in units}) < len(units):
        return True
    return any(
        there[0] == here[0]
        and there[1] != here[1]
        and abs(checked.exact * here[1] / there[1] - checked.stated) * 100 <= abs(checked.stated)
        for here in units
        for there in _units(f"{right} {equation.unit}")
    )


def _units(text: str) -> set[Unit]:
    found = (unit_of(symbol) for symbol in _SYMBOL.findall(text))
    return {unit for unit in found if unit is not None}


def _left_values(equation: Equation) -> Iterator[Fraction]:
    for text in equation.left:
        if (value := _value(text)) is not None:
            yield value
    # ``12/18 * 100% = 66.67``: the sign only names the unit.
    unsigned = equation.left[0].replace("%", "")
    if unsigned != equation.left[0] and (value := _value(unsigned)) is not None:
        yield value


def _stated_values(equation: Equation) -> Iterator[_Stated]:
    for text in equation.right:
        value = _value(text)
        if value is None:
            continue
        number = _NUMBER.fullmatch(text)
        if number is None:
            yield _Stated(value, None)
            continue
        decimals = len(number["decimals"] or "")
        if number["percent"]:
            yield _Stated(value * 100, decimals)
            yield _Stated(value, decimals + 2)
        else:
            yield _Stated(value, decimals)
            if equation.unit in ("cent", "cents"):
                yield _Stated(value / 100, decimals + 2)


def _is_rounded(exact: Fraction, stated: _Stated, *, divides: bool, noisy: bool) -> bool:
    """Return whether the stated number is the exact one, rounded or cut at its last digit."""
    if abs(exact - stated.value) <= _NOISE_SIZE * max(Fraction(1), abs(exact)):
        return noisy
    if stated.decimals is None:
        return False
    scale = 10**stated.decimals
    if (exact * scale).denominator == 1 or abs(exact - stated.value) * scale >= 1:
        return False
    return stated.decimals > 0 or (divides and abs(exact) >= 1)


def _carried_on(expression: str, carried: Mapping[str, Fraction]) -> Fraction | None:
    """Evaluate with numbers that were rounded before replaced by their exact values."""

    def put_back(match: re.Match[str]) -> str:
        exact = carried.get(match[0])
        return match[0] if exact is None else f"({exact})"

    restored = _NUMBER.sub(put_back, expression)
    return None if restored == expression else _value(restored)


def _value(expression: str) -> Fraction | None:
    if expression.isdecimal() and expression.isascii() and len(expression) <= MAX_LENGTH:
        return Fraction(int(expression))
    try:
        return evaluate(expression)
    except ExpressionError:
        return None
