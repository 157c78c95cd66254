"""Tails of the binomial distribution, a step at a time, for McNemar's test and its power."""

from __future__ import annotations

import math
from functools import lru_cache


class LowerTail:
    """P(X <= k) of a binomial X over m draws; k and m may each grow by one per call.

    So a sum over many m takes one step each, instead of one for each term of each tail.
    """

    def __init__(self, probability: float) -> None:
        self._p = min(1.0, probability)
        self._m, self._k = 0, -1
        self._at = self.up_to = 0.0  # P(X = k) and P(X <= k)

    @classmethod
    def at(cls, probability: float, m: int, k: int) -> LowerTail:
        """Return it for m draws and k at once, summing the shorter tail as far as it counts."""
        tail = cls(probability)
        tail._m, tail._k = m, k
        if k < 0:
            return tail
        p = tail._p
        tail._at = term = binomial(m, k, p)
        if k + 1 > m * p:
            beyond, j = 0.0, k
            while j < m and p < 1:
                term *= (m - j) / (j + 1) * p / (1 - p)
                beyond, j = beyond + term, j + 1
                if term <= 1e-17 * beyond:
                    break
            tail.up_to = 1 - beyond
        else:
            while term > 1e-17 * tail.up_to:
                tail.up_to += term
                term *= k / (m - k + 1) * (1 - p) / p
                k -= 1
        return tail

    def of(self, m: int, k: int) -> float:
        """Return P(X <= k) over m draws."""
        if m > self._m:
            self.up_to -= self._p * self._at
            self._at *= (1 - self._p) * m / (m - self._k)
            self._m = m
        if k > self._k:
            self._at = self.next_term()
            self.up_to += self._at
            self._k = k
        return self.up_to

    def next_term(self) -> float:
        """Return P(X = k + 1)."""
        if self._k < 0 or self._p == 1.0:
            return (1 - self._p) ** self._m if self._k < 0 else 0.0
        return self._at * (self._m - self._k) / (self._k + 1) * self._p / (1 - self._p)


@lru_cache(maxsize=8)
def critical_counts(first: int, last: int, alpha: float) -> tuple[int, ...]:
    """Return how many gained, or lost, still have p < alpha, or -1: for each number of discordant
    pairs from ``first`` to ``last``.
    """
    low, high = -1, first // 2
    while low < high:  # the largest k with 2 P(X <= k) < alpha, or -1
        middle = (low + high + 1) // 2
        if 2 * LowerTail.at(0.5, first, middle).up_to < alpha:
            low = middle
        else:
            high = middle - 1
    fewest, coin = low, LowerTail.at(0.5, first, low)
    counts = []
    for discordant in range(first, last + 1):
        tail = coin.of(discordant, fewest)
        if 2 * (tail + coin.next_term()) < alpha:
            fewest += 1
            coin.of(discordant, fewest)
        counts.append(fewest)
    return tuple(counts)


def binomial(n: int, k: int, p: float) -> float:
    """Return the probability of ``k`` of ``n``, each with probability ``p``."""
    if p >= 1 or p <= 0:
        return float(k == (n if p >= 1 else 0))
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
