r"""What a marked answer says: one number, several, a relation, an expression, or words.

The number is read completely (``numbers``), then its surroundings decide. Before it may come filler
or a name (``x = 18``), not a relation, a root or an operator. After it may come a unit, a remark or
the end, not a second value: ``5 to 7``, ``5, 7``, ``18 eggs and 3 boxes``, ``x = 18, y = 3``. Two
units of one amount (``3 hours and 20 minutes``) are read as the first, and values that say the same
(``1.5 hours or 90 minutes``) are one. In an equation (``9 eggs * $2 = $18``) the side that is a
number counts.
"""

from __future__ import annotations

import re

from mathtune.grading.numbers import (
    WINDOW,
    Kind,
    Number,
    find_number,
    number_at,
)
from mathtune.grading.reading.number_words import find_spoken
from mathtune.grading.reading.several import FUNCTION_WORDS, has_another

_CURRENCY = "$€£¥₹"

# --- Before a number -----------------------------------------------------------------------------

_RAISED = re.compile(
    r"""(?: [\^_√] \{? | \\(?:sqrt|log|ln|sin|cos|tan|binom|overline|lfloor|lceil) [^A-Za-z]* \s?
          | \\[dtc]?frac [^A-Za-z] .* | \b(?:sqrt|log|ln) [ ]? \(? ) \Z""",
    re.VERBOSE | re.DOTALL,
)
_RELATED = re.compile(
    r"""(?: [A-Za-z0-9)}$] [ ]? (?: [<>] =? | != ) | [≤≥≠≮≯]
          | \\(?: ne | neq | lt | gt | leq? | geq? | leqslant | geqslant )
          | (?<![A-Za-z]) (?: not | isn['’]t ) ) [\s${(\\]* \Z""",
    re.VERBOSE,
)
_RELATED_AT_START = re.compile(r"[\s${]*(?:[<>]=?|!=)[\s${(\\]*\Z")
_RELATED_BEHIND = re.compile(
    r"\s*(?:<(?![/|<]|[A-Za-z]{2})=?|>(?!>)=?|[≤≥≠]|!="
    r"|\\(?:lt|gt|leq?|geq?|neq?|leqslant|geqslant)\b)"
    r"\s*\\?[A-Za-z]"
)
_TAG_END = re.compile(r"<[A-Za-z/][^<>]{0,60}>\s*\Z")
_OPERATED = re.compile(
    r"(?:(?:(?<![A-Za-z'\\])[A-Za-z]|[)}²])[ ]?[+*/×·^][ ]?|(?<![A-Za-z'\\])[a-z][ ]?[-−][ ]?"
    r"|(?<![A-Za-z'\\])[A-Za-z]\()\Z"
)
_ABSOLUTE = re.compile(r"[\s$]*\|[^|\n]{1,40}\|")
_MATRIX = re.compile(r"\\begin\{(?:[pbvBV]?matrix|cases|array)")
_INTERVAL = re.compile(r"\\infty\b|∞|\\in\b")
_PLUS_MINUS = re.compile(r"(?:±|\\pm|\\mp|\+/-)[\s${(]*\Z")
_MINUS_WORD = re.compile(
    r"(?:(?:\A|[=:#*(\n]|\b(?:is|was|be|equals|to|of|about|answer|exactly))\s*minus"
    r"|(?<![A-Za-z])negative)[ ]\$?\Z",
    re.IGNORECASE,
)
# Nothing, a line's beginning or a word before the number, which is the usual case.
_PLAIN_WORD = re.compile(
    r"(?:\A|\n|(?<![<>!])=[ ]?|[:.,][ ]?"
    r"|(?<![A-Za-z\\])(?!not\b|or\b|log\b|ln\b|sqrt\b|minus\b|negative\b)[A-Za-z]{2,} )\$?\Z"
)


def kind_by_context(text: str, start: int) -> Kind:
    """Return the kind implied by the text before a number: ``x > 5``, ``√5``, ``x + 5``, ``±5``."""
    before = text[max(0, start - 80) : start]
    if _PLAIN_WORD.search(before):
        return Kind.NUMBER
    if _RELATED.search(before) and not _TAG_END.search(before):
        return Kind.RELATION
    if _RAISED.search(before) or _OPERATED.search(before):
        return Kind.EXPRESSION
    return Kind.SEVERAL if _PLUS_MINUS.search(before) else Kind.NUMBER


def negated(number: Number, text: str) -> Number:
    """Apply a sign that is a word before the number: ``minus 5``, ``negative 5``."""
    if number.value is None or not _MINUS_WORD.search(
        text, max(0, number.start - 12), number.start
    ):
        return number
    return number._replace(text=f"-{number.text}", value=-number.value)


# --- A marked place ------------------------------------------------------------------------------

_DIGIT = re.compile(r"[0-9]")


def read_value(text: str) -> Number | None:
    """Read a marked place.

    Args:
        text: What follows the mark, at most ``WINDOW`` characters of it.

    Returns:
        The number, or what is in its place; ``start`` is where the first digit's number begins.
        None if there are neither digits nor a number in words.
    """
    first = find_number(text)
    if first is None:
        return _spoken(text)
    number = _through_equations(text, first)
    if number is first:
        kind = kind_by_context(text, first.start)
        if _RELATED_AT_START.match(text[: first.start]) or _RELATED_BEHIND.match(text, first.end):
            kind = Kind.RELATION
        elif _ABSOLUTE.match(text):
            kind = Kind.EXPRESSION
        elif _MATRIX.search(text, 0, first.start) or _INTERVAL.search(text):
            kind = Kind.SEVERAL
        if kind is not Kind.NUMBER:
            return _last_side(text, first) or _no_value(text, first, kind)
        number = negated(first, text)
    if number.value is None:
        return _last_side(text, first) or _no_value(text, number, Kind.OTHER)
    if _DIGIT.search(text, number.end) and has_another(
        text, number, in_prose=_in_prose(text, first)
    ):
        return _no_value(text, number, Kind.SEVERAL)
    return number if number.start == first.start else number._replace(start=first.start)


def _in_prose(text: str, number: Number) -> bool:
    return len(_LONG_WORD.findall(_TEXT_COMMAND.sub(" ", text[: number.start]))) > 2


def _spoken(text: str) -> Number | None:
    spoken = find_spoken(text)
    if spoken is None or spoken.value is None:
        return None
    said = text[spoken.start : spoken.end]
    return Number(said, spoken.value, spoken.percent, 0, spoken.start, spoken.end)


_ARITHMETIC = re.compile(r"[-−+*/×÷·().,\s0-9$%]*\Z")
_FORMULA = re.compile(
    r"\\[A-Za-z]+|[\^_√π²³⁰-⁹]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|\b(?:sqrt|log|ln)\b"
)
_INLINE = re.compile(r"(?<!\\)\$([^$]+)\$|\\\((.+?)\\\)")
_TEXT_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s?\{([^{}]*)\}")
_LONG_WORD = re.compile(r"(?<![A-Za-z\\])(?!(?:sqrt|log|ln)\b)[A-Za-z]{2,}")


def _no_value(text: str, number: Number, kind: Kind) -> Number:
    """Return what is there instead of a number; with its LaTeX if it is an expression."""
    if kind in (Kind.SEVERAL, Kind.RELATION):
        return number._replace(text=_shown(text), value=None, kind=kind)
    formula = expression_in(text, number)
    if formula:
        return number._replace(
            text=_shown(formula), value=None, kind=Kind.EXPRESSION, expression=formula
        )
    return number._replace(value=None, kind=kind)


def expression_in(text: str, number: Number) -> str:
    r"""Return the formula that a number is part of, as LaTeX; empty if it is mere arithmetic.

    Unevaluated sums are not an answer, but ``\sqrt{16}``, ``10^2`` and ``2x + 3`` are for
    math-verify.
    """
    formula = text.strip(" .*")
    for inline in _INLINE.finditer(text):
        if inline.start() <= number.start < inline.end():
            formula = (inline[1] or inline[2]).strip()
    formula = formula.strip("$ ")
    if len(formula) > WINDOW // 2 or _ARITHMETIC.match(formula) or _RELATION.search(formula):
        return ""
    if _LONG_WORD.search(re.sub(r"\\[A-Za-z]+", " ", _TEXT_COMMAND.sub(" ", formula))):
        return ""
    return formula if _FORMULA.search(_without_operators(formula)) else ""


_RELATION = re.compile(
    r"[<>≤≥≠]|\\(?:ne|neq|lt|gt|leq?|geq?)\b|=|\\pm|±|\\times\s?10\s?\^|[eE][+-]?[0-9]|[0-9]_"
)


def _without_operators(formula: str) -> str:
    return re.sub(
        r"\\(?:times|cdot|div|left|right|text|[,;! ])|(?<=[0-9) ])[x×](?=\s?[0-9(])", " ", formula
    )


def _shown(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 80 else text[:79] + "…"


# --- Equations -----------------------------------------------------------------------------------

_JOINS = re.compile(r"[-−–+*/×÷·^]")
_UNKNOWN = re.compile(r"(?<![A-Za-z\\])[b-z](?![A-Za-z])")
_EQUALS = re.compile(r"=|≈|\\approx")
_CALCULATION = re.compile(
    rf"(?: [-−–0-9\s.,{_CURRENCY}%+*/x×÷·()] | \\(?:times|cdot|div|%|\$) ){{1,{WINDOW}}}\Z",
    re.VERBOSE,
)
_OPERATOR = re.compile(r"[+*/×÷·]|\s(?:minus|plus|times)\s|\s[-−–x]\s|\\(?:times|cdot|div)\b")
_WORD = re.compile(r"(?<!\\)[A-Za-z]+")
_FRAME = re.compile(r"[\s*\\(${]*(?=[-−0-9.+$€£¥₹\\])")
_MATH_ONLY = re.compile(r"(?:\\[A-Za-z]+|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[^A-Za-z\n])*\Z")


def _through_equations(text: str, first: Number) -> Number:
    """Follow an equation that begins at a number to the side that is a number."""
    number = first
    position = first.start
    while equals := _EQUALS.search(text, max(position, number.end), WINDOW):
        if not _is_calculation(text[position : equals.start()]):
            break
        frame = _FRAME.match(text, equals.end())
        following = number_at(text, frame.end()) if frame else None
        if following is None:
            break
        number = following
        position = following.start
    if number.value is None and first.value is not None:
        head, _, tail = text[first.end :].partition("=")
        if not _JOINS.search(head) and not _UNKNOWN.search(_without_operators(tail)):
            return first  # ``18 = 9 * 2``, not ``26 = 5 + 3x``
    return number


def _is_calculation(side: str) -> bool:
    """True for arithmetic, with units only where there is an operator: ``9 eggs * $2``."""
    if _CALCULATION.match(side):
        return True
    if "\n" in side or not _OPERATOR.search(side):
        return False
    words = {word.lower() for word in _WORD.findall(side)}
    return not words & (FUNCTION_WORDS - {"times"})


def _last_side(text: str, first: Number) -> Number | None:
    r"""Read ``\log_2 8 = 3`` and ``2^3 = 8`` by what follows the last equals sign."""
    head, equals, tail = text.rpartition("=")
    if (
        not equals
        or _stands_before(head, first)
        or not _MATH_ONLY.match(_TEXT_COMMAND.sub("", head))
    ):
        return None
    if _RELATION.search(head.replace("=", "")):
        return None
    side = read_value(tail)
    return None if side is None or side.value is None else side._replace(start=first.start)


def _stands_before(head: str, first: Number) -> bool:
    """True if the equals sign is before the number that was read."""
    return len(head) <= first.start
