"""Does a training text hide a test question? A check on number-masked 13-grams.

Two questions that differ only in their numbers are one question to a model that has learned the
first, so every number is masked before 13-word windows are compared (13 as in Brown et al. 2020,
"Language Models are Few-Shot Learners", appendix C; the masking is ours).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mathtune.errors import DataError
from mathtune.records import Problem
from mathtune.text.lookalikes import plain

NUMBER = "#"
"""Replaces any number, in digits or in words; several in a row count as one."""

# A number with its separators and a fraction's second half, or a word in any script.
_WORD = re.compile(r"\d[\d.,/:]*|[^\W\d_]+")
# fmt: off
_NUMBER_WORDS = frozenset((
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    "hundred", "thousand", "million",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two questions that share a window of words.

    Attributes:
        train_id: Id of the training problem.
        test_id: Id of the test problem.
        shared: The first shared window, numbers masked.
    """

    train_id: str
    test_id: str
    shared: str


def masked_words(text: str) -> list[str]:
    """Lower-case words of a text without punctuation, every run of numbers as one ``NUMBER``."""
    words: list[str] = []
    for word in _WORD.findall(plain(text).lower().replace("'", "").replace("\u2019", "")):
        if word[0].isdigit() or word in _NUMBER_WORDS:
            if not words or words[-1] != NUMBER:
                words.append(NUMBER)
        else:
            words.append(word)
    return words


def masked_ngrams(text: str, n: int = 13) -> dict[str, None]:
    """The windows of ``n`` masked words in a text, in order of first appearance, each once.

    A text of fewer than ``n`` words is one window, so it matches only a text of the same words.

    Raises:
        DataError: ``n`` is below 1.
    """
    if n < 1:
        raise DataError(f"n is {n}; windows need at least 1 word.")
    words = masked_words(text)
    if len(words) <= n:
        return {" ".join(words): None} if words else {}
    return dict.fromkeys(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


class WindowIndex:
    """The masked windows of test questions, ready for any number of other questions.

    Raises:
        DataError: ``n`` is below 1.
    """

    def __init__(self, test: Iterable[Problem], n: int = 13) -> None:
        self._n = n
        self._holders: dict[str, list[str]] = {}
        for problem in test:
            for window in masked_ngrams(problem.question, n):
                self._holders.setdefault(window, []).append(problem.id)

    def find(self, question: str) -> dict[str, str]:
        """Return the ids of the test questions that share a window, each with the first shared."""
        found: dict[str, str] = {}
        before: list[str] | None = None
        for window in masked_ngrams(question, self._n):
            holders = self._holders.get(window)
            # Questions of one template share window after window: they are there already.
            if holders and holders != before:
                for test_id in holders:
                    found.setdefault(test_id, window)
                before = holders
        return found

    def first(self, question: str) -> tuple[str, str] | None:
        """Return one test question that shares a window, and the first shared window."""
        for window in masked_ngrams(question, self._n):
            if holders := self._holders.get(window):
                return holders[0], window
        return None


def overlap(train: Iterable[Problem], test: Iterable[Problem], n: int = 13) -> Iterator[Overlap]:
    """Find the pairs of a training and a test question that share a masked window of ``n`` words.

    Only the test side is kept in memory, and the training side is read once, so time is linear in
    both texts and in the number of pairs. Questions of one template can be paired in their
    millions, so they come one by one; whether a question is paired at all, ``WindowIndex.first``
    says in the time of reading it.

    Raises:
        DataError: ``n`` is below 1.
    """
    index = WindowIndex(test, n)
    for problem in train:
        for test_id, window in index.find(problem.question).items():
            yield Overlap(problem.id, test_id, window)
