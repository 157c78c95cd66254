r"""Numbers as people and models write them, read exactly.

Accepted are a sign before or after a currency sign (``-$5``, ``$-5``, ``-(5)``), digits grouped
by commas, ``{,}``, thin or plain spaces, apostrophes or underscores, decimals (``.5``, ``18.``),
``3/4``, ``3 1/2``, ``2 and 3/4``, ``2½``, ``\frac{1}{2}``, ``{1 \over 2}``, ``0.\overline{3}``,
``1.8e1``, ``1.8 \times 10^1``, ``1.5 million``, the Unicode minus, a full hour (``4:00``) and
a percentage.

What merely begins like a number is not one: a range (``10-12``), a time (``12:30``), a date
(``5/6/2024``), a list (``1,2``), an unevaluated expression (``3 + 4``, ``2\sqrt{3}``, ``2x``). Such
text is found so that it can be shown, but has no value.

Every pattern here runs on a window of at most ``WINDOW`` characters, so that reading takes constant
time.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

WINDOW = 400
"""Characters examined for one number."""

MAX_LENGTH = 200
"""A number written with more characters has no value."""

MAX_EXPONENT = 100
"""Largest power of ten read in ``1.8e1``: above it a number has no value."""

_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_CURRENCY = "$€£¥₹"
_SEPARATOR = (
    r"(?:,|\{,\}|,\\!|\\!,|\\[,\ ]|\{\\,\}|\\text\{,\}|['’_]|[\u00a0\u2006\u2008\u2009\u202f])"
)
_SPACE = r"[ \u00a0\u2009]"
_INTEGER = (
    rf"(?:[0-9]{{1,3}}(?:{_SEPARATOR}[0-9]{{2,3}})*{_SEPARATOR}[0-9]{{3}}(?![0-9])"
    r"|[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?![0-9/⁄])|[0-9]+)"
)
_DECIMAL = rf"(?:{_INTEGER}(?:\.[0-9]+)?|(?<![0-9A-Za-z])\.[0-9]+)"
_MINUS = "-−–－‑"
_SIGN = rf"(?<![0-9A-Za-z)\]}}%])[{_MINUS}+]"
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "crore": 10**7, "k": 10**3, "m": 10**6, "b": 10**9,
}  # fmt: skip

_NUMBER = re.compile(
    rf"""
    (?= [{_MINUS}0-9.+{_CURRENCY}\\{{{_VULGAR}] )     # quickly rejects most positions
    (?P<sign> {_SIGN} (?: \( (?= [0-9.$] ) )? )?
    (?P<currency> \\? [{_CURRENCY}] (?: {_SPACE} | \\[,;!] )? (?P<inner_sign> [{_MINUS}] )? )?
    (?:
        (?P<whole> [0-9]+ )? {_SPACE}? \\[dtc]?frac \s?
        (?: \{{ \s? (?P<top_sign> [{_MINUS}] )? (?P<top> {_DECIMAL} ) \s? \}} \s?
            \{{ \s? (?P<bottom> {_DECIMAL} ) \s? \}}
          | (?P<top_digit> [0-9] ) \s? (?P<bottom_digit> [0-9] ) )
      | \{{ \s? (?P<over_top> {_DECIMAL} ) \s? \\over \s? (?P<over_bottom> {_DECIMAL} ) \s? \}}
      | (?P<before_period> [0-9]* \. [0-9]* )
        \\(?:overline|bar|dot) \s? \{{ (?P<period> [0-9]+ ) \}}
      | (?P<vulgar> (?: [0-9]+ {_SPACE}? )? [{_VULGAR}] )
      |
        (?P<number> {_DECIMAL} )
        (?: (?P<mixed> (?: {_SPACE} | {_SPACE} and {_SPACE} | \\text\{{\ and\ \}} )
                       [0-9]+ [/⁄] [0-9]+ )
          | {_SPACE}? [/⁄] {_SPACE}? (?P<divisor> {_DECIMAL} )
          | [eE] (?P<exponent> [-+]? [0-9]+ ) (?! [0-9A-Za-z] )
          | {_SPACE}? (?: \\times | \\cdot | [×x*] ) {_SPACE}? 10 {_SPACE}? \^ {_SPACE}? \{{?
            (?P<power> [-−+]? [0-9]+ ) \}}?
          | (?P<clock> :00 ) (?! [0-9:] )
        )?
    )
    (?P<scale> (?: [ \u00a0~-] | \\[,\ ] )? (?: \\text\{{\s? )?
               (?i: hundred | thousand | million | billion | trillion | lakh | crore )s? \b \}}?
             | (?<=[0-9])(?: k | M | (?(currency) [KmBb] | k ) ) (?! [0-9A-Za-z^] ) )?
    (?P<percent> (?: {_SPACE} | \\, )? (?: \\?% | per{_SPACE}?cent\b ) )?
    (?P<rest>                                        # what makes it something other than a number
        (?: (?: [{_MINUS}:/,.~] | \{{:\}} ) \\? [$]? [0-9]+ )+    # 12:30  5/6/2024  1,2  10-12
      | {_SPACE}? (?: \^ (?! \s? \{{? \s? \\circ ) | [π√{_SUPERSCRIPT}] | _ (?= [0-9{{] )
                  | \\(?: sqrt | pi | cdot | times | div | over(?:line)? | pm | mp )\b | ± | \+/- )
      | {_SPACE}? (?: [+×÷·/x] | \* (?! \* ) | {_SPACE} [-−–] ) {_SPACE}? (?= [0-9($\\] )   # 3 + 4
      | {_SPACE} : {_SPACE} (?= [0-9] )                                               # 3 : 2
      | {_SPACE}? [+*×·{_MINUS}] {_SPACE}? [b-z] (?! ['’A-Za-z] | \.[A-Za-z] )           # 5 + x
      | {_SPACE} (?: minus | plus | times | divided\ by | multiplied\ by ) {_SPACE} (?= [0-9($\\] )
      | \( (?: [0-9.]+ \) | (?= [a-z] \s? [-+*/^)] ) )                                # 2(3)  2(x+1)
      | (?: [a-fi-kn-rt-zABDEG-IO-UX-Z] | (?: {_SPACE} | \\[,;] ) [b-fi-kn-rt-z] )    # 2x
        (?! ['’A-Za-z] | \.[A-Za-z] | -[A-Za-z]{{2}} )
    )?
    """,
    re.VERBOSE,
)
_ALONE = re.compile(
    r"""[ *:]{0,9} (?P<text> \\?\$? (?P<digits> -? (?: [0-9]{1,3}(?:,[0-9]{3})+ | [0-9]{1,50} ) ) )
    (?: [ ] (?! hundred | [mb]illion | trillion | thousand | lakh | crore | minus | plus | times
              | divided | multiplied | per[ ]?cent ) [A-Za-z]{2,} [A-Za-z ,.;:!()'’*-]* )?
    \.? [*$ ]{0,9}""",
    re.VERBOSE,
)
# What may follow the number in a gold answer: a full stop, a closing dollar sign, units.
_UNIT = re.compile(
    r"""[.!]{0,3} (?: \$ | [ ]? \\text\{[^{}\\$]{0,60}\} | [ ][A-Za-z]{2}[A-Za-z. '-]{0,60} )?
        [.!$]{0,3}""",
    re.VERBOSE,
)
_NOT_DIGITS = re.compile(r"[^0-9.]")
_OTHER_DIGITS = re.compile("[\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\uff10-\uff19]")
_ASCII = {
    zero + digit: str(digit) for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xFF10) for digit in range(10)
} | {0xFF05: "%", 0xFF0C: ",", 0xFF0D: "-", 0xFF0E: "."}


class Kind(enum.Enum):
    """What is found in the place of an answer."""

    NUMBER = "a number"
    SEVERAL = "more than one value"
    RELATION = "a relation, which gives no value"
    EXPRESSION = "an expression that was not worked out"
    WORDS = "words instead of a number"
    OTHER = "not a single plain number"


class Number(NamedTuple):
    """A number found in a text, or what is in its place.

    Attributes:
        text: As written, shortened if it is longer than anyone would read.
        value: Its exact value, or None where it is not a single plain number.
        percent: It has a percent sign; ``value`` is the number before it, 50 for ``50%``.
        decimals: Digits shown after the point; 0 for an integer or a fraction.
        start: Where it begins in the text searched.
        end: Where it ends.
        kind: What it is; ``value`` is None for all but ``NUMBER``.
        expression: LaTeX to compare with math-verify, where ``kind`` is ``EXPRESSION``, or "".
    """

    text: str
    value: Fraction | None
    percent: bool
    decimals: int
    start: int
    end: int
    kind: Kind = Kind.NUMBER
    expression: str = ""


def ascii_digits(text: str) -> str:
    """Write full-width, Arabic-Indic, Devanagari and Bengali digits as 0-9, one for one."""
    if text.isascii() or not _OTHER_DIGITS.search(text):
        return text
    return text.translate(_ASCII)


def find_number(text: str, start: int = 0) -> Number | None:
    """Find the first number of a text within ``WINDOW`` characters from ``start``."""
    match = _NUMBER.search(text, start, start + WINDOW)
    return None if match is None else _read(match)


def number_alone(text: str, start: int, end_mark: str) -> Number | None:
    """Read an integer with only words up to a mark or the text's end: the usual case, fast."""
    match = _ALONE.match(text, start, start + MAX_LENGTH)
    if match is None or not (match.end() == len(text) or text[match.end()] == end_mark):
        return None
    value = Fraction(int(match["digits"].replace(",", "")))
    return Number(match["text"], value, False, 0, match.start("text"), match.end())


def number_at(text: str, start: int) -> Number | None:
    """Read the number that begins exactly at ``start``."""
    match = _NUMBER.match(text, start, start + WINDOW)
    return None if match is None else _read(match)


def numbers_between(text: str, start: int, end: int) -> Iterator[Number]:
    """Read all numbers of a window, each completely."""
    return map(_read, _NUMBER.finditer(text, start, end))


def read_number(text: str) -> Number | None:
    """Read a text that is one number with at most words and punctuation after it, else None.

    ``"18 dollars"`` and ``"$5.00"`` are; ``"2x"``, ``"(3, 4)"``, ``"5 or 7"``, ``"x = 5"`` are not.
    """
    if text.isdecimal() and text.isascii() and len(text) <= MAX_LENGTH:
        return Number(text, Fraction(int(text)), False, 0, 0, len(text))
    text = ascii_digits(text)
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
        Kind.OTHER if value is None else Kind.NUMBER,
    )


def _value(match: re.Match[str]) -> tuple[Fraction | None, int]:
    """Return the exact value, and how many decimals are shown."""
    number = match["number"]
    decimals = 0
    value: Fraction | None
    if number is None:
        value = _fraction(match)
    elif match["mixed"]:
        top, bottom = re.findall(r"[0-9]+", match["mixed"])
        improper = "and" in match["mixed"] and int(top) >= int(bottom)  # ``5 and 7/2``: two values
        value = None if "." in number or improper else _mixed(number, top, bottom)
    elif match["divisor"]:
        value = _mixed(None, number, match["divisor"])
    else:
        value = _plain(number)
        decimals = len(number) - number.index(".") - 1 if "." in number else 0
        exponent = match["exponent"] or match["power"]
        if exponent:
            power = int(exponent.replace("−", "-"))
            value = value * Fraction(10) ** power if abs(power) <= MAX_EXPONENT else None
            decimals = max(0, decimals - power)
        elif match["clock"] and not (number.isdecimal() and value <= 24):
            value = None
    if value is None:
        return None, 0
    if match["scale"]:
        value, decimals = value * _scale(match["scale"]), 0
    signs = (match["sign"], match["inner_sign"], match["top_sign"])
    negative = sum(sign is not None and sign[0] != "+" for sign in signs) % 2 == 1
    return -value if negative else value, decimals


def _fraction(match: re.Match[str]) -> Fraction | None:
    """Value of what is written as a fraction or with a period instead of decimals."""
    if match["vulgar"]:
        whole, sign = match["vulgar"][:-1].strip(), match["vulgar"][-1]
        part = Fraction(unicodedata.numeric(sign)).limit_denominator(10)
        return part + (int(whole) if whole else 0)
    if match["period"]:
        whole, _, fixed = match["before_period"].partition(".")
        head, period = int((whole + fixed) or "0"), match["period"]
        tail = Fraction(int(period), int("9" * len(period)))
        return (head + tail) / Fraction(int("1" + "0" * len(fixed)))
    top = match["top"] or match["top_digit"] or match["over_top"]
    return _mixed(
        match["whole"], top, match["bottom"] or match["bottom_digit"] or match["over_bottom"]
    )


def _scale(text: str) -> int:
    """Value of a word or letter such as ``million``, ``k``."""
    return _SCALES[re.sub(r"\\text|[^a-z]", "", text.lower()).removesuffix("s")]


def _mixed(whole: str | None, top: str, bottom: str) -> Fraction | None:
    """Value of ``whole top/bottom``, or None if the bottom is zero."""
    divisor = _plain(bottom)
    if not divisor:
        return None
    return (_plain(whole) if whole else 0) + _plain(top) / divisor


def _plain(digits: str) -> Fraction:
    """Value of digits with an optional point; thousands separators are dropped."""
    if digits.isdecimal():
        return Fraction(int(digits))
    digits = _NOT_DIGITS.sub("", digits)
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part), 10 ** len(part))


_PADDED = re.compile(r"[^\d.,]*0\d")


def is_padded(answer: str | None, gold: str) -> bool:
    """Return whether an answer is a number with zeros in front, as ``09``, and its gold is not."""
    return bool(answer and _PADDED.match(answer)) and not _PADDED.match(gold)
