r"""Split a solution's running text into the tokens that equations are read from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Token(NamedTuple):
    """A piece of text with its position.

    Attributes:
        kind: ``number``, ``fraction``, ``operator``, ``open``, ``close``, ``equals``, ``word``,
            ``per`` (a unit after a slash, as in ``pencils/box``) or ``other``.
        text: As ``mathtune.arithmetic`` reads it for the first five kinds, else as written.
        start: Where it begins in the text.
        end: Where it ends.
    """

    kind: str
    text: str
    start: int
    end: int


OPERAND = frozenset({"number", "fraction"})
OPERAND_END = OPERAND | {"close"}

_TOKEN = re.compile(
    r"""
      (?P<number> (?: (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
                  (?: (?: \.{2,3} | … )? \ ? (?: \\?% | per\ ?cent\b ) )? )
    | (?P<fraction> \\[dt]?frac \s? \{ [0-9.]{1,20} \} \s? \{ [0-9.]{1,20} \} )
    | (?P<per> / [ ]? [A-Za-z][A-Za-z.]* )
    | (?P<operator> // | [-+/×÷·−–] | \*(?!\*) | \\times\b | \\cdot\b | \\div\b
                  | [xX] (?= \s{0,9} (?: \\? [$€£¥] \s? )? (?: \( | \.?[0-9] ) ) )
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
_ELLIPSIS = re.compile(r"\.{2,}|…|\\")
_PERCENT = re.compile(r" ?per ?cent")


def token_lines(text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each line, without blanks, currency signs and markup."""
    line: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "line":
            yield line
            line = []
        elif kind != "blank":
            _append(line, Token(kind, match.group(), match.start(), match.end()), text)
    yield line


def _append(line: list[Token], token: Token, text: str) -> None:
    """Add a token, and write out what it means with its neighbours.

    ``50% of 80`` and ``2(16)`` are products; ``2 1/2`` is one number.
    """
    last = line[-1] if line else None
    if token.kind == "fraction":
        token = token._replace(text=_FRACTION.sub(r"(\1/\2)", token.text))
    elif token.kind == "number":
        if not token.text.isdecimal():
            token = token._replace(text=_PERCENT.sub("%", _ELLIPSIS.sub("", token.text)))
    elif token.text == "of" and last and _is_share(line):
        token = token._replace(kind="operator")
    if last and last.end == token.start and last.kind in OPERAND_END:
        implied = token.kind == "open" or (last.kind == "close" and token.kind in OPERAND)
        if implied:
            line.append(Token("operator", "*", token.start, token.start))
    line.append(token)
    if len(line) >= 4 and token.kind == "number":
        whole, top, slash, bottom = line[-4:]
        if (
            slash.text == "/"
            and whole.kind == top.kind == "number"
            and whole.text.isdigit()
            and top.end == slash.start
            and slash.end == bottom.start
            and text[whole.end : top.start] == " "
        ):
            mixed = f"({whole.text} + {top.text}/{bottom.text})"
            line[-4:] = [Token("number", mixed, whole.start, bottom.end)]


def _is_share(line: Sequence[Token]) -> bool:
    """True after ``50%`` or ``1/4``, where "of" means times."""
    last = line[-1]
    return last.kind == "fraction" or (
        last.kind == "number"
        and (last.text.endswith("%") or (len(line) > 1 and line[-2].text == "/"))
    )
