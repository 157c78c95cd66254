"""Is a question a test question in other words? A weighted comparison of content words.

The second measure beside the masked 13-grams of ``problems.contamination``. Two questions are as
similar as the weight of what they share (``content.weight``), divided by the geometric mean of
their weights plus ``EVIDENCE``, so that two short questions of common words are not called the
same; times the fourth root of how far their numbers agree in kind. Weights are inverse document
frequencies (Spärck Jones 1972). Only the test side is in memory, as an inverted index: the other
side streams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mathtune.problems.rewordings.content import Content, Feature, content, weight
from mathtune.records import Problem

THRESHOLD = 0.445
"""Similarity from which two questions are reported. See docs/decisions.md for its false alarms."""

EVIDENCE = 20.0
"""Nats: what is shared must weigh several times the rarity of one rare word."""


@dataclass(frozen=True, slots=True)
class Rewording:
    """A question that seems to be a test question in other words.

    Attributes:
        train_id: Id of the training problem.
        test_id: Id of the test problem.
        similarity: From ``THRESHOLD`` to below 1.
    """

    train_id: str
    test_id: str
    similarity: float


class RewordingIndex:
    """Test questions, ready to be compared with any number of others."""

    def __init__(self, test: Iterable[Problem]) -> None:
        self._ids: list[str] = []
        self._numbers: list[Mapping[str, int]] = []
        weights: list[float] = []
        holders: dict[Feature, list[int]] = {}
        for problem in test:
            found = content(problem.question)
            for feature in found.features:
                holders.setdefault(feature, []).append(len(self._ids))
            self._ids.append(problem.id)
            self._numbers.append(found.numbers)
            weights.append(_total(found))
        self._weights = np.array(weights)
        self._holders: dict[Feature, tuple[Any, float]] = {
            feature: (np.array(ids), weight(feature)) for feature, ids in holders.items()
        }

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, question: str, threshold: float = THRESHOLD) -> list[tuple[str, float]]:
        """Return the ids and similarities of the test questions from ``threshold``, best first."""
        asked = content(question)
        shared = np.zeros(len(self._ids))
        for feature in asked.features:
            held = self._holders.get(feature)
            if held is not None:
                shared[held[0]] += held[1]
        similarity = shared / (np.sqrt(self._weights * _total(asked)) + EVIDENCE)
        found = []
        for index in np.flatnonzero(similarity >= threshold):  # agreement can only lower it
            agreed = _agreement(asked.numbers, self._numbers[index])
            value = float(similarity[index]) * agreed**0.25
            if value >= threshold:
                found.append((self._ids[index], value))
        return sorted(found, key=lambda each: (-each[1], each[0]))


def rewordings(train: Iterable[Problem], test: Iterable[Problem]) -> list[Rewording]:
    """Find the pairs of a training and a test question that say the same; each pair comes once."""
    index = RewordingIndex(test)
    return [
        Rewording(problem.id, test_id, similarity)
        for problem in train
        for test_id, similarity in index.find(problem.question)
    ]


def _total(found: Content) -> float:
    return sum(map(weight, found.features))


def _agreement(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Return how far two questions state as many numbers of each kind, from near 0 to 1."""
    both = Counter(one) & Counter(other)
    either = Counter(one) | Counter(other)
    return (both.total() + 1) / (either.total() + 1)
