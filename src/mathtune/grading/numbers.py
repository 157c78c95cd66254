r"""Numbers as people and models write them, read exactly.

Understood are a sign before or after a currency sign (``-$5``, ``$-5``, ``\$5``), thousands
separated by commas, ``{,}`` or thin spaces, decimals (``.5``, ``18.``), ``3/4``, ``3 1/2``,
``\frac{1}{2}``, ``1.8e1``, ``1.8 \times 10^1``, the Unicode minus, and a percentage.

What only begins like a number is not one: a range (``10-12``), a time (``12:30``), a date
(``5/6/2024``), a list (``1,2``), an unevaluated expression (``3 + 4``, ``2\sqrt{3}``). Such text is
found, so that it can be shown, and has no value.

Every pattern here runs on a window of at most ``WINDOW`` characters, so that reading takes constant
time.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

WINDOW = 400
"""Characters looked at for one number."""

MAX_LENGTH = 200
"""A number written with more characters has no value."""

MAX_EXPONENT = 100
"""Largest power of ten read in ``1.8e1``: above it a number has no value."""

_SEPARATOR = r"(?:,|\{,\}|,\\!|\\,|[\u00a0\u2006\u2008\u2009\u202f])"
_SPACE = r"[ \u00a0\u2009]"
_INTEGER = rf"(?:[0-9]{{1,3}}(?:{_SEPARATOR}[0-9]{{2,3}})*{_SEPARATOR}[0-9]{{3}}(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.[0-9]+)?|(?<![0-9A-Za-z])\.[0-9]+)"
_MINUS = "-−–－‑"
_SIGN = rf"(?<![0-9A-Za-z)\]}}%])[{_MINUS}+]"

_NUMBER = re.compile(
    rf"""
    (?= [{_MINUS}0-9.+$€£¥\\] )                       # a quick no to most positions
    (?P<sign> {_SIGN} )?
    (?: \\? [$€£¥] (?: {_SPACE} | \\[,;!] )? (?P<inner_sign> [{_MINUS}] )? )?
    (?:
        (?P<whole> [0-9]+ )? {_SPACE}? \\[dtc]?frac \s?
        (?: \{{ \s? (?P<top_sign> [{_MINUS}] )? (?P<top> {_DECIMAL} ) \s? \}} \s?
            \{{ \s? (?P<bottom> {_DECIMAL} ) \s? \}}
          | (?P<top_digit> [0-9] ) \s? (?P<bottom_digit> [0-9] ) )
      |
        (?P<number> {_DECIMAL} )
        (?: (?P<mixed> {_SPACE} [0-9]+ / [0-9]+ )
          | {_SPACE}? / {_SPACE}? (?P<divisor> {_DECIMAL} )
          | [eE] (?P<exponent> [-+]? [0-9]+ ) (?! [0-9A-Za-z] )
          | {_SPACE}? (?: \\times | \\cdot | [×x*] ) {_SPACE}? 10 {_SPACE}? \^ {_SPACE}? \{{?
            (?P<power> [-−+]? [0-9]+ ) \}}?
        )?
    )
    (?P<percent> (?: {_SPACE} | \\, )? (?: \\?% | per{_SPACE}?cent\b ) )?
    (?P<rest>                                        # what makes it something else than a number
        (?: [{_MINUS}:/,.] \\? [$]? [0-9]+ )+        # 12:30  5/6/2024  1,2  1.2.3  10-12
      | {_SPACE}? (?: \^ (?! \s? \{{? \s? \\circ ) | [π√]       # 2^3, but 90^\circ
                  | \\(?: sqrt | pi | cdot | times | div )\b )
      | {_SPACE}? (?: [+×÷·/x] | \* (?! \* ) | {_SPACE} [-−–] ) {_SPACE}? (?= [0-9($\\] )   # 3 + 4
    )?
    """,
    re.VERBOSE,
)
_EQUATION = re.compile(
    rf"(?: [{_MINUS}0-9\s.,$€£¥%+*/x×÷·()] | \\(?:times|cdot|div|%|\$) ){{1,{WINDOW}}}"
    r"(?: = | ≈ | \\approx )",
    re.VERBOSE,
)
# What may follow the number in a gold answer: a full stop, a closing dollar sign, units.
_UNIT = re.compile(
    r"""[.!]{0,3} (?: \$ | [ ]? \\text\{[^{}\\$]{0,60}\} | [ ][A-Za-z]{2}[A-Za-z. '-]{0,60} )?
        [.!$]{0,3}""",
    re.VERBOSE,
)
_RAISED = re.compile(r"(?:[\^_√]\{?|\\sqrt\{)\Z")
_NOT_DIGITS = re.compile(r"[^0-9.]")
_LAST_DIGIT = re.compile(r".*[0-9]", re.DOTALL)


class Number(NamedTuple):
    """A number found in a text.

    Attributes:
        text: As written, shortened where it is longer than a person would read.
        value: Its exact value, or None where it is not a single plain number.
        percent: It carries a percent sign; ``value`` is then that before the sign, 50 for ``50%``.
        decimals: Digits shown after the point; 0 for an integer or a fraction.
        start: Where it begins in the text searched.
        end: Where it ends.
    """

    text: str
    value: Fraction | None
    percent: bool
    decimals: int
    start: int
    end: int


def find_number(text: str) -> Number | None:
    """Find the first number within the first ``WINDOW`` characters of ``text``.

    Where an equation starts there (``3 x 6 = $18``), the number is the one after its last equals
    sign.
    """
    match = _NUMBER.search(text, 0, WINDOW)
    if match is None:
        return None
    while equation := _EQUATION.match(text, match.start(), WINDOW):
        following = _NUMBER.search(text, equation.end(), WINDOW)
        if following is None or text[equation.end() : following.start()].strip(" *\\("):
            break
        match = following
    return _read(match)


def find_last_number(text: str) -> Number | None:
    """Find the last number of ``text``, in time linear in its length."""
    last_digit = _LAST_DIGIT.match(text)
    if last_digit is None:
        return None
    # Back over three words, for ``3 1/2`` and ``1.8 x 10^3``; no number holds a line break.
    end = last_digit.end()
    floor = max(0, end - WINDOW // 2)
    start = end
    for _ in range(3):
        start = text.rfind(" ", floor, start)
        if start < 0:
            start = floor
            break
    start = max(start, text.rfind("\n", floor, end) + 1)
    previous_end = -1
    for match in _NUMBER.finditer(text, start, end + WINDOW // 2):
        # Every run of digits is part of a match, so one of them reaches the last digit.
        if match.end() >= end:
            number = _read(match)
            begins_before = 0 < floor == match.start()
            if begins_before or _in_expression(text, previous_end, match.start()):
                number = number._replace(value=None)
            return number
        previous_end = match.end() if match["rest"] else -1
    return None


def _in_expression(text: str, previous_end: int, start: int) -> bool:
    """Tell whether an operator joins what begins at ``start`` to what stands before it."""
    if previous_end >= 0 and not text[previous_end:start].strip("( "):
        return True
    return _RAISED.search(text, max(0, start - 6), start) is not None


def read_number(text: str) -> Number | None:
    """Read a text that is one number with at most words and punctuation after it, else None.

    ``"18 dollars"`` and ``"$5.00"`` are; ``"2x"``, ``"(3, 4)"`` and ``"x = 5"`` are not.
    """
    if text.isdecimal() and text.isascii() and len(text) <= MAX_LENGTH:
        return Number(text, Fraction(int(text)), False, 0, 0, len(text))
    match = _NUMBER.match(text, 0, WINDOW)
    if match is None or len(text) > WINDOW or not _UNIT.fullmatch(text, match.end()):
        return None
    number = _read(match)
    return None if number.value is None else number


def _read(match: re.Match[str]) -> Number:
    text = match.group()
    is_cut = match.end() == match.endpos < len(match.string)
    value, decimals = None, 0
    if not match["rest"] and len(text) <= MAX_LENGTH and not is_cut:
        value, decimals = _value(match)
    return Number(
        text if len(text) <= 80 else text[:79] + "…",
        value,
        match["percent"] is not None,
        decimals,
        match.start(),
        match.end(),
    )


def _value(match: re.Match[str]) -> tuple[Fraction | None, int]:
    """Give the exact value, and how many decimals are shown."""
    number = match["number"]
    exponent = match["exponent"] or match["power"]
    decimals = 0
    value: Fraction | None
    if number is None:
        value = _mixed(
            match["whole"],
            match["top"] or match["top_digit"],
            match["bottom"] or match["bottom_digit"],
        )
    elif match["mixed"]:
        value = None if "." in number else _mixed(number, *match["mixed"].split("/"))
    elif match["divisor"]:
        value = _mixed(None, number, match["divisor"])
    else:
        value = _plain(number)
        decimals = len(number) - number.index(".") - 1 if "." in number else 0
        if exponent:
            power = int(exponent.replace("−", "-"))
            value = value * Fraction(10) ** power if abs(power) <= MAX_EXPONENT else None
            decimals = max(0, decimals - power)
    if value is None:
        return None, 0
    signs = (match["sign"], match["inner_sign"], match["top_sign"])
    negative = sum(sign is not None and sign != "+" for sign in signs) % 2 == 1
    return -value if negative else value, decimals


def _mixed(whole: str | None, top: str, bottom: str) -> Fraction | None:
    """Value of ``whole top/bottom``, or None where the bottom is zero."""
    divisor = _plain(bottom)
    if not divisor:
        return None
    return (_plain(whole) if whole else 0) + _plain(top) / divisor


def _plain(digits: str) -> Fraction:
    """Value of digits with an optional point; whatever separates thousands is dropped."""
    if digits.isdecimal():
        return Fraction(int(digits))
    digits = _NOT_DIGITS.sub("", digits)
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part), 10 ** len(part))
