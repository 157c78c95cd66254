"""The last number of a text, which is its answer if none is marked."""

from __future__ import annotations

import re
from fractions import Fraction

from mathtune.grading.numbers import WINDOW, Kind, Number, numbers_between
from mathtune.grading.reading.several import has_another
from mathtune.grading.reading.value import expression_in, kind_by_context, negated

_LAST_DIGIT = re.compile(r".*[0-9½⅓⅔¼¾]", re.DOTALL)
_BETWEEN = re.compile(r"\bbetween \$?[0-9.,]+ (?:[a-z]+ )?and \$?\Z")

# A word, a whole number, and another word or the end: the usual case, read fast.
_PLAIN_LAST = re.compile(
    r"""(?<![A-Za-z\\]) (?!(?:and|ln|log|minus|negative|not|or|sqrt|between|from|to)[ ])
    [A-Za-z]{2,} [ ]
    (?P<text> \\?\$? (?P<digits> [0-9]{1,3}(?:,[0-9]{3})+ | [0-9]{1,50} ) )
    (?= \.? \**(?: \s*\Z | [ ] (?!hundred|[tmb]r?illion|thousand|lakh|crore|minus|plus|times|divided
        |multiplied|per) [A-Za-z]{2,} ) )""",
    re.VERBOSE,
)


def find_last_number(text: str) -> Number | None:
    """Find the last number of ``text``, in time linear in its length."""
    last_digit = _LAST_DIGIT.match(text)
    if last_digit is None:
        return None
    plain = _PLAIN_LAST.search(text, max(0, last_digit.end() - 30))
    if plain and plain.end() == last_digit.end():
        value = Fraction(int(plain["digits"].replace(",", "")))
        return Number(plain["text"], value, False, 0, plain.start("text"), plain.end())
    # Go back over five words, for ``3 1/2``, ``1.8 x 10^3``, ``1 234 567``; none has a newline.
    end = last_digit.end()
    floor = max(0, end - WINDOW // 2)
    start = end
    for _ in range(5):
        start = text.rfind(" ", floor, start)
        if start < 0:
            start = floor
            break
    start = max(start, text.rfind("\n", floor, end) + 1)
    previous: Number | None = None
    for number in numbers_between(text, start, end + WINDOW // 2):
        # Every run of digits is part of a number, so one of them reaches the last digit.
        if number.end >= end:
            return _in_context(text, previous, number, cut=0 < floor == number.start)
        previous = number
    return None


def _in_context(text: str, previous: Number | None, number: Number, *, cut: bool) -> Number:
    kind = kind_by_context(text, number.start)
    between = text[previous.end : number.start] if previous else ""
    if cut or (previous and previous.value is None and not between.strip("( ")):
        kind = Kind.OTHER
    elif _BETWEEN.search(text, max(0, number.start - 60), number.start) or (
        previous and " or " in between and has_another(text, previous, in_prose=True)
    ):
        kind = Kind.SEVERAL
    if kind is Kind.NUMBER:
        number = negated(number, text)
    else:
        number = number._replace(value=None, kind=kind)
    if number.value is None and kind is not Kind.SEVERAL and not cut:
        begin = max(text.rfind("\n", 0, number.start) + 1, number.start - WINDOW // 2)
        line = text[begin : number.end + WINDOW // 2].split("\n", 1)[0]
        formula = expression_in(line, number._replace(start=number.start - begin))
        if formula:
            number = number._replace(kind=Kind.EXPRESSION, expression=formula)
    return number
