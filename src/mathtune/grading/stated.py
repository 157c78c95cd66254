"""How a gold solution states its final answer: marked, alone, or somewhere in its prose.

Prose has no final answer that a rule can find: the last number of "Nora has 12 pens in 3 boxes." is
3. So a gold answer from prose is never used silently: the caller learns how it was stated.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from mathtune.grading.grade import gold_from_answer, grade
from mathtune.grading.numbers import read_number
from mathtune.grading.visible import without_thoughts

_SHORT = 40  # characters; a longer text without a marked answer is a solution in prose
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")  # LaTeX commands left out
_PLAIN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_DIGITS = re.compile(r"([0-9])")
_MARKS = ("####", "\\boxed")
_MARKER = re.compile(r"(?i:\banswers?\b)|</")
_TAIL = 4000  # characters at the end of a solution in which its last sentence is looked for
_SENTENCE = re.compile(r"(?:[.!?][\"')*]*\s|\n|</?\w{1,20}>)+")
_NUMBER = re.compile(r"[0-9](?:[0-9.,]*[0-9])?")
_NUMBER_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|"
    r"seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|"
    r"half|twice|dozen|none|zero)\b",
    re.IGNORECASE,
)


class Stated(enum.Enum):
    """How a final answer was stated."""

    ALONE = "alone"
    """The whole text is the answer."""
    MARKED = "marked"
    r"""After ``####``, in ``\boxed{}``, or after "the answer is"."""
    PROSE = "prose"
    """The one number of the last sentence that has a number."""
    UNSURE = "unsure"
    """The last of several numbers in such a sentence."""


class StatedGold(NamedTuple):
    """A final answer as written, and how it was stated."""

    text: str
    stated: Stated


def is_marked(answer: str) -> bool:
    r"""Return whether a text has ``####`` or ``\boxed``."""
    return any(mark in answer for mark in _MARKS)


def is_bare(answer: str) -> bool:
    r"""Distinguish ``\frac{\pi}{2}``, ``(3, 4)`` and ``New York`` from ``She has 12 apples.``."""
    if len(answer) > _SHORT or _MARKER.search(answer):
        return False
    before, digits, _ = _DIGITS.split(answer, maxsplit=1) if _has_digit(answer) else ("", "", "")
    return not digits or (len(_WORD.findall(answer)) < 2 and not _PLAIN.search(before))


def _has_digit(text: str) -> bool:
    return _DIGITS.search(text) is not None


def stated_gold(answer: str) -> StatedGold:
    """Return the final answer of a gold solution after any thought, and how it is stated.

    Raises:
        DataError: It states no answer (``gold_from_answer``).
    """
    answer = without_thoughts(answer).strip()
    if not is_marked(answer):
        if read_number(answer) is not None:
            return StatedGold(answer, Stated.ALONE)
        if is_bare(answer) and _has_digit(answer):
            return StatedGold(answer, Stated.ALONE)
    text = gold_from_answer(answer)
    if grade(answer, text).method != "last_number":
        return StatedGold(text, Stated.MARKED)
    return StatedGold(text, Stated.PROSE if _is_sure(answer) else Stated.UNSURE)


def _is_sure(answer: str) -> bool:
    """Return whether the last sentence that has a number has just one."""
    for sentence in reversed(_SENTENCE.split(answer[-_TAIL:])):
        found = {number.replace(",", "") for number in _NUMBER.findall(sentence)}
        if found:
            return len(found) == 1 and not _NUMBER_WORD.search(sentence)
    return False
