r"""Is there a second value after a number? ``5 to 7``, ``18 eggs, 3 boxes``, ``x = 18, y = 3``.

A second value is joined by a comma, ``and``, ``or``, ``to``, a dash or ``±``, with at most a unit
between. It does not count where prose goes on (``18 eggs, 3 of them broken``), where it is part of
the first amount (``3 hours and 20 minutes``) or says the same (``1.5 hours or 90 minutes``).
"""

from __future__ import annotations

import re

from mathtune.grading.numbers import Number, number_at
from mathtune.grading.reading.units import unit_of

# Words that are not units: where one follows a number, what comes next is prose.
_FUNCTION_WORDS = """
    a about after ago all also an and apart apiece are as at away be because before but by can
    does during each else every extra fewer for from had has have he her his if in into is it
    its left less more much not of off on or other out over per remaining she since so such than
    that the their then they this times to total under until was we were when where which while
    who will with would you
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())

_JOINED = re.compile(
    r"""(?P<unit> (?: [ ]{0,2}-? (?! (?:and|or|to|through|until|versus|vs) \b )
                      [A-Za-z°%¢][A-Za-z0-9'./²³^-]{0,30} ){0,4} )
    \s* (?P<join> ,\s*(?:and|or)\b | [,;&±~–—-]
                | (?<![A-Za-z]) (?:and/or|and|or|to|through|versus|vs\.?) (?![A-Za-z]) )
    \s* (?P<name> [A-Za-z]\w{0,12} \s*=\s* )? (?= [-−\\$€£¥₹.0-9] )""",
    re.VERBOSE,
)
# After the unit these make it a clause or a rate.
_CLAUSE_WORDS = """
    each per apiece
    are can could did do does had has have is make makes must need needs remain should was were
    will would
"""
_CLAUSE = frozenset(_CLAUSE_WORDS.split())
_AFTER = re.compile(r"[ -]{0,2}(?P<word>[A-Za-z]+)?(?:[ ]+(?P<second>[A-Za-z]+))?")
_SPACING = re.compile(r"\\(?:quad|qquad|[,;!: ])|~(?![0-9])|\\text\s?\{|[{}]|\*\*|\$(?![0-9.-])")
_BARE_NUMBER = re.compile(r"\s+[0-9][0-9.,]*\s*(?:[.;)]?\s*\Z)")
_OPERATORS = re.compile(r"\s*(?:[+*/×÷^=]|[-−]\s|\\(?:times|cdot|div)|x\s?[0-9])")


def has_another(text: str, number: Number, *, in_prose: bool) -> bool:
    """Return whether a second value is joined to the number.

    Args:
        text: What was marked.
        number: The number read from it.
        in_prose: Words come before the number. A comma then ends a clause (``After 9 days, 20
            cakes are left``) and does not make a list.
    """
    end = text.find("\n", number.end)
    tail = text[number.end : min(end if end >= 0 else len(text), number.end + 120)]
    if "\\" in tail or "$" in tail or "{" in tail or "~" in tail:
        tail = _spelled(tail)
    if _BARE_NUMBER.match(tail):
        return True
    joined = _JOINED.match(tail)
    if joined is None:
        return False
    unit, join = joined["unit"].split(), joined["join"].lower().strip(", ")
    if any(word.lower().strip(".-") in FUNCTION_WORDS for word in unit):
        return False
    other = number_at(tail, joined.end())
    if other is None:
        return False
    after = _AFTER.match(tail, other.end)
    word = (after and after["word"]) or ""
    if not joined["name"]:
        if other.value is None or _OPERATORS.match(tail, other.end):
            return False  # ``18, 9 * 2 = 18``
        second = (after and after["second"]) or ""
        if join in ("", ";", "and", "&") and (
            word.lower() in FUNCTION_WORDS or second.lower() in _CLAUSE or (in_prose and not join)
        ):
            return False  # ``18 eggs, 3 of them broken``, ``18 eggs and 3 hens are left``
        if join in ("-", "–", "—") and unit and unit[0].lower() != word.lower():
            return False  # ``18 dollars - 3 more than before``
    return not _same_amount(number, unit, join, other, word)


def _spelled(tail: str) -> str:
    """Write LaTeX between two values as plain text."""
    tail = tail.replace("\\pm", "±").replace("\\mp", "±").replace("\\lor", " or ")
    return _SPACING.sub(lambda match: " " if match[0][0] in "\\~" else "", tail)


def _same_amount(number: Number, unit: list[str], join: str, other: Number, word: str) -> bool:
    """Return whether the second value is part of the first amount, or repeats it."""
    first = unit_of(unit[0]) if unit else None
    second = unit_of(word) if word else None
    if first is None and "$" in number.text:
        first = unit_of("$")
    if second is None and "$" in other.text:
        second = unit_of("$")
    if number.value is None or other.value is None:
        return False
    values = {number.value, number.value / 100} if number.percent else {number.value}
    others = {other.value, other.value / 100} if other.percent else {other.value}
    if first and second and first[0] == second[0] and first[1] != second[1]:
        if join in ("", "and"):  # ``3 hours and 20 minutes``
            return first[1] > second[1]
        return number.value * first[1] == other.value * second[1]
    if join not in ("or", "and/or", ""):
        return False
    scale = 10**other.decimals
    return any(
        value == one or (other.decimals > 0 and abs(value - one) * scale * 2 <= 1)
        for value in values
        for one in others
    )
