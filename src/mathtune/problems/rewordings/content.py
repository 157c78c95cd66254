"""What a question says, without how it says it: content words, relations, what is asked.

Names and numbers are masked, everyday synonyms count as one word, the order of sentences plays no
role. So a question keeps most of its content when someone rewords it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from math import log
from typing import NamedTuple

from mathtune.problems.rewordings.word_forms import (
    FUNCTION_WORDS,
    NUMBER_WORDS,
    RELATIONS,
    SAME_WORD,
)
from mathtune.text.lookalikes import plain

_TOKEN = re.compile(r"\$?\d[\d.,/:]*%?|[^\W\d_]+(?:['\u2019][a-z]+)?|[.!?]")
_STEM = 6
"""Letters kept of a word: a truncating stemmer, which joins ``collect`` and ``collector``."""
_REPEATS = 3
"""A word counts up to this often."""
_LONGEST = 20_000
"""Characters of a question that are looked at; no word problem is longer."""


class Feature(NamedTuple):
    """One thing that a question contains.

    Attributes:
        kind: ``word``; ``again``, a word's second and third occurrence; ``asked``, a word in the
            sentence with the question mark; ``relation``.
        word: The stem, or the relation.
        number: Which occurrence.
    """

    kind: str
    word: str
    number: int = 1


FACTORS = {"word": 1.0, "again": 0.25, "asked": 0.25}
"""What a feature of a kind weighs, in units of its word's rarity; a relation weighs 1."""


class Content(NamedTuple):
    """A question's content: its features, and how many numbers of each kind it states."""

    features: frozenset[Feature]
    numbers: Mapping[str, int]


def content(question: str) -> Content:
    """Return what a question contains."""
    words: Counter[str] = Counter()
    relations: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    features: set[Feature] = set()
    sentence: list[str] = []
    begins = True
    known = _counts()[1]
    for token in _TOKEN.findall(plain(question[:_LONGEST])):
        if token in ".!?":
            if token == "?":
                features.update(Feature("asked", word) for word in sentence)
            sentence, begins = [], True
            continue
        word = token.lower().replace("\u2019", "'").partition("'")[0]
        if token[0] == "$" or token[0].isdigit() or word in NUMBER_WORDS:
            numbers[_kind(token)] += 1
            begins = False
            continue
        name = token[0].isupper() and not (begins and (word in _COMMON or stem(word) in known))
        begins = False
        if name:
            continue
        if word in RELATIONS:
            relations[word] += 1
        if word in FUNCTION_WORDS or len(word) < 2:
            continue
        found = stem(word)
        words[found] += 1
        sentence.append(found)
    for word, count in words.items():
        features.add(Feature("word", word))
        features.update(Feature("again", word, n) for n in range(2, min(count, _REPEATS) + 1))
    for word, count in relations.items():
        features.update(Feature("relation", word, n) for n in range(1, count + 1))
    return Content(frozenset(features), numbers)


def stem(word: str) -> str:
    """Return what a lower-case word is compared by: its group of synonyms, or its beginning."""
    same = SAME_WORD.get(word)
    if same is not None:
        return same
    if word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return word[:_STEM]


def weight(feature: Feature) -> float:
    """Return how much a feature tells: its word's rarity in nats times the kind's factor."""
    if feature.kind == "relation":
        return 1.0
    return FACTORS[feature.kind] * rarity(feature.word)


def rarity(word: str) -> float:
    """Return the inverse document frequency of a stem among GSM8K's training questions, in nats."""
    total, known = _counts()
    return log((total + 1) / (known.get(word, 0) + 0.5))


_COMMON = FUNCTION_WORDS | RELATIONS | SAME_WORD.keys()


def _kind(token: str) -> str:
    if token[0] == "$":
        return "money"
    if token[-1] == "%":
        return "percent"
    return "fraction" if "/" in token else "number"


@lru_cache(maxsize=1)
def _counts() -> tuple[int, Mapping[str, int]]:
    """Return the number of questions counted, and in how many of them each stem occurs."""
    text = resources.files(__package__).joinpath("word_counts.txt").read_text("utf-8")
    total, *lines = text.splitlines()
    pairs = (line.split() for line in lines)
    return int(total), {word: int(count) for word, count in pairs}
