r"""Find the equations that a solution states: ``48/2 = <<48/2=24>>24``, ``16 - 3 = 13``, ``5 x 12 = $60``.

Two kinds are found: calculator annotations (``<<48/2=24>>``) and equations in the running text, which is
read with the annotations blanked out. In running text the left side is the longest arithmetic
expression that ends at the equals sign, the right side the longest that begins there. Units after a
number are read over: ``3 apples + 4 apples = 7 apples``, ``160 pencils / 20 pencils/box = 8 boxes``.

An equation is left out, never guessed at, where its context makes it something else: a variable stands
in it (``2x + 3 = 13``), a power, a root or a time of day touches it, numbers stand side by side
(``2 1/2 * 4``, ``100 000 + 5``), or the right side goes on in another unit (``2 and 1/2``, ``2 million``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Equation(NamedTuple):
    """One equation as stated.

    Attributes:
        expression: The left side, in the grammar of ``mathtune.arithmetic``.
        stated: Readings of the right side in that grammar, the longest first: in ``2+3 = 5+4 = 9`` the
            first right side is ``5 + 4``, and ``5`` to those who write equations as they go.
        unit: The word after the right side in lower case, or "".
        annotation: True for ``<<…>>``.
        start: Where the left side begins in the solution.
        end: Where the right side ends.
    """

    expression: str
    stated: tuple[str, ...]
    unit: str
    annotation: bool
    start: int
    end: int


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


_ANNOTATION = re.compile(r"<<([^<>\n]{1,400})>>")
_TOKEN = re.compile(
    r"""
      (?P<number> (?: (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
                  (?: \ ? \\?% )? )
    | (?P<fraction> \\[dt]?frac \s? \{ [0-9.]{1,20} \} \s? \{ [0-9.]{1,20} \} )
    | (?P<per> / [ ]? [A-Za-z][A-Za-z.]* )
    | (?P<operator> // | [-+/×÷·−–] | \*(?!\*) | \\times\b | \\cdot\b | \\div\b
                  | [xX] (?= \s{0,9} \\? [$€£¥(.0-9] ) )
    | (?P<open> \( ) | (?P<close> \) )
    | (?P<equals> = )
    | (?P<line> \n )
    | (?P<blank> (?: [^\S\n] | \\?[$€£¥] | \\[,;!()\[\]] | \*\* | \\left\b | \\right\b )+ )
    | (?P<word> [A-Za-z][A-Za-z'-]* | \\text\s?\{[^{}\n]{0,60}\} )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([0-9.]+)\}\s?\{([0-9.]+)\}")
_ARITHMETIC = frozenset({"number", "fraction", "operator", "open", "close"})
_OPERAND_END = frozenset({"number", "fraction", "close"})
_TOUCHING = frozenset("^_}]{[!|√²³<>~≈≤≥≠&#π°'\\")
_FACTOR_WORDS = frozenset(
    {"twice", "thrice", "double", "triple", "half", "times", "minus", "plus", "and", "squared", "per"}
)
_SCALE = frozenset(
    "remainder rem r k m thousand thousands million billion hundred hundreds dozen dozens".split()
)
_MAX_UNIT_WORDS = 4


def find_equations(text: str) -> Iterator[Equation]:
    """Yield the equations of a solution, annotations first, in time linear in its length."""
    if "=" not in text:
        return
    for match in _ANNOTATION.finditer(text):
        yield from _in_annotation(match)
    masked = _ANNOTATION.sub(lambda match: " " * len(match.group()), text)
    line: list[_Token] = []
    for match in _TOKEN.finditer(masked):
        kind = match.lastgroup or ""
        if kind == "line":
            yield from _in_line(line, masked)
            line = []
        elif kind != "blank":
            token = _Token(kind, match.group(), match.start(), match.end())
            if token.text == "of" and _is_share(line):
                token = token._replace(kind="operator")
            line.append(token)
    yield from _in_line(line, masked)


def _is_share(tokens: Sequence[_Token]) -> bool:
    """True after ``50%`` or ``1/4``, where "of" means times."""
    if not tokens or tokens[-1].kind not in ("number", "fraction"):
        return False
    return (
        tokens[-1].kind == "fraction"
        or tokens[-1].text.endswith("%")
        or (len(tokens) > 1 and tokens[-2].text == "/")
    )


def _in_annotation(match: re.Match[str]) -> Iterator[Equation]:
    start = match.start(1)
    members = match[1].split("=")
    for left, right in zip(members, members[1:], strict=False):
        end = start + len(left) + 1 + len(right)
        yield Equation(left.strip(), (right.strip(),), "", True, start, end)
        start += len(left) + 1


def _in_line(tokens: Sequence[_Token], text: str) -> Iterator[Equation]:
    signs = [index for index, token in enumerate(tokens) if token.kind == "equals"]
    floors = [0, *(sign + 1 for sign in signs)]
    ends = [*signs[1:], len(tokens)]
    for floor, sign, end in zip(floors, signs, ends, strict=False):
        left = _left_side(tokens, floor, sign, text)
        right = _right_side(tokens, sign + 1, end) if left else []
        if left and right:
            shorter = [
                right[:index]
                for index, token in enumerate(right)
                if token.kind == "operator" and index and right[index - 1].kind in _OPERAND_END
            ]
            after = tokens.index(right[-1]) + 1
            unit = tokens[after].text.lower() if after < len(tokens) else ""
            yield Equation(
                _written(left),
                tuple(_written(side) for side in [right, *reversed(shorter)]),
                unit,
                False,
                left[0].start,
                right[-1].end,
            )


def _left_side(
    tokens: Sequence[_Token], floor: int, sign: int, text: str
) -> Sequence[_Token]:
    """Give the expression that ends at the equals sign; nothing where it is not clear."""
    if text[tokens[sign].start - 1] in "<>!~≈":
        return []
    side: list[_Token] = []  # backwards
    words = 0
    index = sign
    while index > floor:
        token = tokens[index - 1]
        if token.kind in ("word", "per"):
            # A unit stands after its number; before one, words end the expression.
            if (side and side[-1].kind not in ("operator", "close")) or words == _MAX_UNIT_WORDS:
                break
            if token.text.lower() in _SCALE or token.text.lower() in _FACTOR_WORDS - {"per"}:
                return []
            words += 1
        elif token.kind in _ARITHMETIC:
            if words and token.kind not in _OPERAND_END:
                return []  # words in the place of a number
            words = 0
            side.append(token)
        else:
            break
        index -= 1
    if words:
        return []
    side.reverse()
    return _trimmed(side, tokens[index - 1] if index > floor else None, index == 0, text)


def _trimmed(side, context, begins_line, text):
    if not side: return []
    # ``(16 - 3 = 13)`` and ``2) 16 - 3 = 13``: a parenthesis without its partner is not part of it.
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
        if opened != list(range(start, start+len(opened))): return []
        start = opened[-1] + 1
    if start: context = None
    side = side[start:]
    if side and side[0].kind == "operator":
        touches = len(side) > 1 and side[0].end == side[1].start
        if begins_line and not touches:
            side = side[1:]
        elif side[0].text not in "-−" or not touches:
            return []
    if not side: return []
    if context and _changes_meaning(context, side[0], text):
        return []
    return side if any(token.kind == "operator" for token in side[1:]) else []


def _changes_meaning(before: _Token, first: _Token, text: str) -> bool:
    if before.kind == "word":
        return before.end == first.start or before.text.lower() in _FACTOR_WORDS
    if before.end != first.start:
        return before.text in "√∑^" or (before.text in ".," and False)
    return before.text in _TOUCHING or (before.text in ":.," and text[before.start - 1].isdigit())


def _right_side(tokens: Sequence[_Token], start: int, end: int) -> Sequence[_Token]:
    """Give the expression that begins after the equals sign; nothing where it is not clear."""
    stop = start
    depth = 0
    while stop < end and tokens[stop].kind in _ARITHMETIC:
        depth += (tokens[stop].kind == "open") - (tokens[stop].kind == "close")
        if depth < 0:
            break
        stop += 1
    full = stop
    while stop > start and tokens[stop - 1].kind in ("operator", "open"):
        stop -= 1
    if stop == start:
        return []
    after = tokens[full] if full < len(tokens) else None
    if after and after.kind == "word":
        if full != stop or after.text.lower() in _SCALE:
            return []
        if len(after.text) == 1 and after.start == tokens[stop - 1].end:
            return []
        if after.text == "and" and any(t.text == "/" for t in tokens[full + 1 : full + 5]):
            return []
    elif after and after.start == tokens[stop - 1].end and after.text in "^_√²³/:":
        return []
    return tokens[start:stop]


def _written(tokens: Sequence[_Token]) -> str:
    return " ".join(_FRACTION.sub(r"(\1/\2)", token.text) for token in tokens)
