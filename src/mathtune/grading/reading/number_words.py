"""Numbers in words, up to one hundred: ``three``, ``minus twenty-one``, ``two and a half``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = (
    {word: value for value, word in enumerate(_SMALL)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
    | {"hundred": 100}
)
_SPOKEN = re.compile(
    rf"""(?<![A-Za-z-]) (?P<sign> (?:minus|negative) [ ] )?
    (?: (?P<tens> {"|".join(_TENS)} ) (?: [ -] (?P<ones> {"|".join(_SMALL[1:10])} ) )?
      | (?:a|one) [ -] (?P<hundred> hundred ) | (?P<small> {"|".join(_SMALL)} ) ) (?![A-Za-z])
    (?P<half> [ ]and[ ]a[ ]half\b )? (?P<percent> [ ]per[ ]?cent\b )?
    (?P<more> [ -] (?: hundred | thousand | million | billion | dozen | hal(?:f|ves) | thirds?
      | quarters? | [a-z]{{2,5}}ths? | of
      | (?:and|or|to) [ -] (?: a | [0-9] | {"|".join(_SMALL + _TENS)} ) ) \b | -[a-z] )?""",
    re.VERBOSE | re.IGNORECASE,
)


class Spoken(NamedTuple):
    """A number in words: its value, None if it goes on past what is read, and its place."""

    value: Fraction | None
    percent: bool
    start: int
    end: int


def find_spoken(text: str) -> Spoken | None:
    """Find the number in words of a text; None where there is none, or more than one."""
    found = list(_SPOKEN.finditer(text))
    if len(found) != 1:
        return None
    match = found[0]
    words = (match["tens"], match["ones"], match["hundred"], match["small"])
    value = Fraction(sum(_VALUES[word.lower()] for word in words if word))
    value += Fraction(1, 2) if match["half"] else 0
    if match["more"]:  # ``three hundred``, ``one of them``, ``one or two``
        return Spoken(None, False, match.start(), match.end())
    return Spoken(
        -value if match["sign"] else value, bool(match["percent"]), match.start(), match.end()
    )
