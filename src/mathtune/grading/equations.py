r"""Finds the equations that a solution states.

Two kinds are found: calculator annotations (``48/2 = <<48/2=24>>24``) and equations in the running
text (``16 - 3 = 13``, ``5 x 12 = $60``), which is read with the annotations blanked out. In running
text the left side is the longest arithmetic expression that ends at the equals sign, the right side
the longest that begins there. Units after a number are skipped: ``3 apples + 4 apples = 7
apples``, ``160 pencils / 20 pencils/box = 8 boxes``.

An equation is left out, never guessed at, where its context makes it something else: it has a
variable (``2x + 3 = 13``), words take the place of a number (``cost - 5 = 10``), a power, a root or
a time of day touches it, or the right side goes on (``2 and 1/2``, ``2 million``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mathtune.grading.tokens import OPERAND_END, Token, token_lines


class Equation(NamedTuple):
    """One equation as stated, both sides in the grammar of ``mathtune.arithmetic``.

    Attributes:
        left: Readings of the left side, the plain one first. ``2 cups / 1/4 cup`` is also read as
            ``2 / (1/4)``.
        right: Readings of the right side, the longest first. ``2+3 = 5+4 = 9`` states ``5 + 4``, or
            ``5`` when written as a running chain.
        unit: The word after the right side in lower case, or "".
        annotation: True for ``<<…>>``.
        start: Where the left side begins in the solution.
        end: Where the right side ends.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    unit: str
    annotation: bool
    start: int
    end: int


_ANNOTATION = re.compile(r"<<([^<>\n]{1,400})>>")
_COPY = re.compile(r" ?\\?[$€£¥]? ?(-?[0-9][0-9,]*(?:\.[0-9]+)?)(?P<goes_on>\s?[0-9%]|/[0-9])?")
_NESTED_QUOTIENT = re.compile(r"/ (\S+) / (\S+)")
_CODE = re.compile(r"0[0-9]")  # 0730: a time or a number plate

_ARITHMETIC = OPERAND_END | {"operator", "open"}
_TOUCHING = frozenset("^_}]{[!|√²³<>~≈≤≥≠&#π°'\\")
_MAX_UNIT_WORDS = 4

_SCALES = frozenset(
    {"remainder", "rem", "thousand", "thousands", "million", "billion", "hundred", "hundreds"}
    | {"dozen", "dozens"}
)
_FACTORS = frozenset({"twice", "thrice", "double", "triple", "half", "times", "minus", "plus"})
_LABELS = frozenset(  # ``Weeks 1-2``, ``day 1 * 2``
    {"day", "days", "week", "weeks", "month", "months", "year", "years", "step", "steps"}
    | {"page", "pages", "chapter", "chapters", "part", "parts"}
)
_NO_UNITS = (
    _SCALES
    | _FACTORS
    | {"squared", "and", "or", "so", "then", "because", "is", "are", "was", "were", "be", "if"}
    | {"which", "that", "we", "he", "she", "they", "it", "get", "gets", "gives", "have", "has"}
    | {"to", "than", "from", "with"}
)


def find_equations(text: str) -> Iterator[Equation]:
    """Yield the equations of a solution, annotations first, in time linear in its length."""
    if "=" not in text:
        return
    for match in _ANNOTATION.finditer(text):
        yield from _in_annotation(match, text)
    masked = _ANNOTATION.sub(lambda match: " " * len(match.group()), text)
    for line in token_lines(masked):
        yield from _in_line(line, masked)


def _in_annotation(match: re.Match[str], text: str) -> Iterator[Equation]:
    start = match.start(1)
    members = match[1].split("=")
    for left, right in pairwise(members):
        end = start + len(left) + 1 + len(right)
        yield Equation((left.strip(),), (right.strip(),), "", True, start, end)
        start += len(left) + 1
    # After ``<<48/2=24>>`` the text repeats 24; anything else is a statement that 24 equals it.
    copy = _COPY.match(text, match.end())
    if copy and not copy["goes_on"] and len(members) > 1:
        result, repeated = members[-1].strip(), copy[1].rstrip(",")
        if result != repeated:
            yield Equation((result,), (repeated,), "", True, start, copy.end())


def _in_line(line: Sequence[Token], text: str) -> Iterator[Equation]:
    signs = [index for index, token in enumerate(line) if token.kind == "equals"]
    floors = [0, *(sign + 1 for sign in signs)]
    ends = [*signs[1:], len(line)]
    for floor, sign, end in zip(floors, signs, ends, strict=False):
        if text[line[sign].start - 1] in "<>!~≈":
            continue
        left = _left_side(line, floor, sign, text)
        if left:
            right, unit = _right_side(line, sign + 1, end)
            if right:
                yield Equation(
                    _left_readings(left),
                    _right_readings(right),
                    unit,
                    False,
                    left[0].start,
                    right[-1].end,
                )


def _left_side(line: Sequence[Token], floor: int, sign: int, text: str) -> list[Token]:
    """Return the expression before the equals sign, without units; empty if it is unclear."""
    side: list[Token] = []  # from right to left
    words = 0
    index = sign
    while index > floor:
        token = line[index - 1]
        if token.kind in ("word", "per"):
            # A unit comes after its number: words before a number end the expression.
            after = side[-1].kind if side else "operator"
            if after not in ("operator", "close") or words == _MAX_UNIT_WORDS:
                break
            if token.text.lower() in _NO_UNITS or len(token.text.strip("-")) == 1:
                if len(side) > 1 and _is_sign(token, side[-1], side[-2]):
                    break
                return []
            words += 1
        elif token.kind in _ARITHMETIC:
            if words and token.kind not in OPERAND_END:
                return []
            rate = token.text == "/" and index > 1 and line[index - 2].kind == "word"
            if rate and line[index - 2].end == token.start:
                return []  # ``5 minutes/100 meters``
            words = 0
            side.append(token)
        else:
            break
        index -= 1
    if words or not side:
        return []
    side.reverse()
    if not _begins_clearly(line, index, side[0], text):
        return []
    return _balanced(side, begins_line=index == 0)


def _is_sign(before: Token, operator: Token, first: Token) -> bool:
    """Distinguish ``is -5`` from ``is - 5``."""
    return (
        operator.text in ("-", "−") and before.end < operator.start and operator.end == first.start
    )


def _begins_clearly(line: Sequence[Token], index: int, first: Token, text: str) -> bool:
    """Return whether nothing before an expression changes its meaning."""
    if index == 0:
        return True
    before = line[index - 1]
    if before.kind == "word":
        if before.end == first.start or before.text.lower() in _FACTORS | _LABELS:
            return False
        if before.text == "and" and index > 1 and line[index - 2].kind == "number":
            return False  # ``1 and 1/4``
        while index and line[index - 1].kind == "word":
            index -= 1
        # ``adults + Shonda (1) + 2 = 10``
        return not (index and line[index - 1].kind == "operator")
    if before.end == first.start:
        digit = before.start > 0 and text[before.start - 1].isdigit()
        return before.text not in _TOUCHING and not (before.text in ":.," and digit)
    # ``14, 400 / 80`` and ``.8 + . 84 + .82``
    if before.text == "," and len(first.text) == 3:
        return False
    return before.text not in "√^" and not (index > 1 and line[index - 2].kind == "operator")


def _balanced(side: list[Token], *, begins_line: bool) -> list[Token]:
    """Drop a list's bullet and unmatched parentheses: ``2) 5 + 3 = 8``, ``(5 + 3 = 8)``."""
    opened: list[int] = []
    start = 0
    for index, token in enumerate(side):
        if token.kind == "open":
            opened.append(index)
        elif token.kind == "close":
            if opened:
                opened.pop()
            else:
                start = index + 1
    if opened:
        if opened != list(range(start, start + len(opened))):
            return []  # it opens in the middle: ``100 + (100 * 0.1 = 110``
        start = opened[-1] + 1
    side = side[start:]
    if side and side[0].kind == "operator":
        touches = len(side) > 1 and side[0].end == side[1].start
        if start == 0 and begins_line and not touches:
            side = side[1:]
        elif side[0].text not in ("-", "−") or not touches:
            return []
    return side if _is_calculation(side) else []


def _is_calculation(side: Sequence[Token]) -> bool:
    if not any(token.kind == "operator" for token in side[1:]):
        return False
    if any(_CODE.match(token.text) for token in side if token.kind == "number"):
        return False
    return not any(
        one.kind == two.kind == "operator" and two.text not in ("-", "−")
        for one, two in pairwise(side)
    )


def _right_side(line: Sequence[Token], start: int, end: int) -> tuple[list[Token], str]:
    """Return the expression after the equals sign and the word after it; empty if unclear."""
    side: list[Token] = []
    index = start
    depth = 0
    while index < end:
        token = line[index]
        follows_operand = bool(side) and side[-1].kind in OPERAND_END
        if token.kind in ("word", "per"):
            words = index
            while index < end and line[index].kind in ("word", "per"):
                if len(line[index].text.strip("/ .-")) == 1 and line[index].text != "a":
                    return [], ""  # ``90/x``, ``2x + 5``
                index += 1
            if not follows_operand or index == end or line[index].kind != "operator":
                index = words
                break
        elif token.kind not in _ARITHMETIC or (
            follows_operand and token.kind not in ("operator", "close")  # ``5 $10 bills``
        ):
            break
        else:
            depth += (token.kind == "open") - (token.kind == "close")
            if depth < 0:
                break  # ``(16 - 3 = 13)``
            side.append(token)
            index += 1
    dangling = False
    while side and side[-1].kind in ("operator", "open"):
        side.pop()
        dangling = True
    after = line[index] if index < len(line) else None
    if not side or (after and _goes_on(side[-1], after, line[index + 1 : index + 5], dangling)):
        return [], ""
    return side, after.text.lower() if after and after.kind == "word" else ""


def _goes_on(last: Token, after: Token, next_ones: Sequence[Token], dangling: bool) -> bool:
    """Return whether the right side goes on beyond what was read."""
    touches = last.end == after.start
    if after.kind == "word":
        return (
            dangling  # ``32 + x``
            or after.text.lower() in _SCALES
            or (touches and len(after.text) == 1)  # ``2x``
            or (after.text == "and" and any(token.text == "/" for token in next_ones))  # 2 and 1/2
        )
    if after.kind == "number":
        return len(after.text) == 3  # ``3 000``
    return touches and after.text in "^_√²³:"


def _left_readings(side: Sequence[Token]) -> tuple[str, ...]:
    plain = _written(side)
    if plain.count("/") < 2:
        return (plain,)
    # ``2 cups / 1/4 cup``: a fraction written without blanks is one number.
    texts = [token.text for token in side]
    for index in range(len(side) - 3, 0, -1):
        top, slash, bottom = side[index : index + 3]
        if (
            slash.text == "/"
            and top.end == slash.start
            and slash.end == bottom.start
            and side[index - 1].end < top.start
        ):
            texts[index : index + 3] = [f"({top.text}/{bottom.text})"]
    return plain, " ".join(texts), _NESTED_QUOTIENT.sub(r"/ (\1 / \2)", plain)


def _right_readings(side: Sequence[Token]) -> tuple[str, ...]:
    operators = [i for i, token in enumerate(side) if i and token.kind == "operator"]
    ends = [len(side), *operators[:1]]
    if len(operators) > 1 and side[operators[0]].text == "/":
        ends.insert(1, operators[1])  # ``1/3 of 150`` begins with a third
    return tuple(_written(side[:end]) for end in ends)


def _written(side: Sequence[Token]) -> str:
    return " ".join(token.text for token in side)
