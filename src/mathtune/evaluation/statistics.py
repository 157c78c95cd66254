"""Intervals and tests for rates of right answers, each with its paper.

Two models that answered the same problems are compared in pairs: what counts are the problems that
one of them gets right and the other wrong. Everything here takes counts or plain sequences and
returns plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

from mathtune.evaluation.binomial import LowerTail, binomial, critical_counts

Answer = TypeVar("Answer", bound=Hashable)

MOST_IN_INTEGERS = 20_000
"""Discordant pairs up to which McNemar's test is computed in integers: within 0.1 seconds."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float


def wilson(correct: float, n: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of a rate (Wilson 1927, "Probable inference").

    It keeps its coverage for small ``n`` and for rates near 0 and 1, where the textbook interval
    (Wald) collapses to a point.

    Args:
        correct: Successes, 0 to ``n``. Need not be an integer: the mean over several samples of a
            problem varies less than one try does, so the interval is then too wide rather than too
            narrow.
        n: Tries. With 0 the interval is 0 to 1.
        confidence: For example 0.95.

    Raises:
        ValueError: If ``correct`` is not between 0 and ``n``, or ``confidence`` between 0 and 1.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} must be between 0 and n={n}")
    z = _two_sided_z(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    rate = correct / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the exact bounds are 0 and 1; rounding must not shift them.
    low = 0.0 if correct == 0 else (centre - spread) / scale
    high = 1.0 if correct == n else (centre + spread) / scale
    return Interval(low, high)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value that gains and losses are equally likely (McNemar 1947).

    Of ``gained + lost`` discordant pairs, the smaller count is compared with a fair coin. The sum
    is done in integers up to ``MOST_IN_INTEGERS`` pairs, whose time grows with the square; beyond,
    in floating point, which agrees to eight digits. A p-value under 5e-324 is returned as 0.0.

    Args:
        gained: Problems wrong before and right after.
        lost: Problems right before and wrong after.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"gained={gained} and lost={lost} must not be negative")
    pairs = gained + lost
    if pairs > MOST_IN_INTEGERS:
        return min(1.0, 2 * LowerTail.at(0.5, pairs, min(gained, lost)).up_to)
    term = tail = 1  # term is C(pairs, i), tail their sum up to the smaller count
    for i in range(min(gained, lost)):
        term = term * (pairs - i) // (i + 1)
        tail += term
    ways: int = 2**pairs
    return min(1.0, 2 * tail / ways)


def paired_score_interval(n: int, gained: int, lost: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of the difference of two rates measured on the same ``n`` problems.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design". It holds every difference that the score test does not reject at ``1 -
    confidence``; at a difference of 0 this test is McNemar's without correction. Like Wilson's
    interval it keeps its coverage where few answers change, and gives one even where none does: 0
    gained and 0 lost of 50 is -7.1 to +7.1 points.

    Args:
        n: Problems.
        gained: Problems wrong before and right after.
        lost: Problems right before and wrong after.
        confidence: For example 0.95.

    Raises:
        ValueError: If counts are negative, exceed ``n``, or ``n`` is less than 1, or ``confidence``
            is not between 0 and 1.
    """
    if min(gained, lost, n - gained - lost) < 0 or n < 1:
        raise ValueError(
            f"n={n}, gained={gained}, lost={lost}: counts must not be negative or exceed n, and n "
            "must be at least 1"
        )
    z = _two_sided_z(confidence)

    def score(difference: float) -> float:
        # The maximum-likelihood rate of losses if this were the true difference:
        # a root of a x² + b x + c.
        b = (2 * n - gained + lost) * difference - gained - lost
        c = -lost * difference * (1 - difference)
        root = math.sqrt(max(0.0, b * b - 8 * n * c))
        loss = (root - b) / (4 * n) if b < 0 else (-2 * c / (root + b) if c else 0.0)
        distance = gained - lost - n * difference
        variance = n * (2 * loss + difference * (1 - difference))
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    found = (gained - lost) / n  # the score falls with the difference and is 0 here
    low = -1.0 if lost == n else _crossing(lambda d: score(d) <= z, -1.0, found)
    high = 1.0 if gained == n else _crossing(lambda d: score(d) < -z, found, 1.0)
    return Interval(low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having made several tests (Holm 1979), in the order given.

    Rejecting at adjusted values under 0.05 keeps the chance of any false alarm under 5 %.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased chance that one of ``k`` samples is right (Chen et al. 2021, "Codex").

    ``1 - C(n - correct, k) / C(n, k)``, of ``n`` samples drawn for a problem.

    Raises:
        ValueError: If ``k`` is not between 1 and ``n``, or ``correct`` between 0 and ``n``.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must be between 1 and the n={n} samples drawn")
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} must be between 0 and n={n}")
    misses, draws = math.comb(n - correct, k), math.comb(n, k)
    return (draws - misses) / draws


def majority(answers: Sequence[Answer | None]) -> Answer | None:
    """Return the answer given most often (Wang et al. 2022, "Self-consistency"), or None.

    None is a sample without a valid answer and never votes. Of equally frequent answers the first
    one wins, so the result depends on the samples' order alone.
    """
    votes: dict[Answer, int] = {}
    for answer in answers:
        if answer is not None:
            votes[answer] = votes.get(answer, 0) + 1
    # A dict keeps insertion order and max returns the first maximum: the rule for ties.
    return max(votes, key=lambda answer: votes[answer], default=None)


def mcnemar_power(n: int, gain: float, loss: float, alpha: float = 0.05) -> float:
    """Return the chance that ``mcnemar_exact`` is under ``alpha`` on ``n`` pairs.

    Of the pairs a binomial number is discordant, and of these a binomial number is gained; the
    power is summed over the first (Duffy 1984; Connor 1987), with no normal approximation.

    Args:
        n: Pairs.
        gain: True rate of pairs that are wrong before and right after.
        loss: True rate of pairs that are right before and wrong after.
        alpha: Two-sided level of the test.
    """
    if n < 1 or min(gain, loss) < 0 or gain + loss > 1 + 1e-12 or not 0 < alpha < 1:
        raise ValueError(
            f"n={n} must be at least 1, gain={gain} and loss={loss} rates that add up to 1 at "
            f"most, and alpha={alpha} between 0 and 1"
        )
    rate = gain + loss
    if rate == 0:
        return 0.0
    power = 0.0
    # Fewer or more pairs are discordant in under 1e-12 of the cases.
    spread = 10 * math.sqrt(n * rate) + 10
    first, last = max(0, int(n * rate - spread)), min(n, int(n * rate + spread))
    critical = critical_counts(first, last, alpha)
    few_gained, few_lost = (LowerTail.at(part / rate, first, critical[0]) for part in (gain, loss))
    for discordant, fewest in enumerate(critical, first):
        tails = few_gained.of(discordant, fewest) + few_lost.of(discordant, fewest)
        power += tails * binomial(n, discordant, rate)
    return min(1.0, power)


def smallest_detectable_difference(
    n: int, discordant_rate: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true difference that McNemar's exact test shows with the given power.

    It is found by ``mcnemar_power``. A difference of ``d`` makes at least a share ``d`` of the
    pairs discordant, so if few or none were observed, the rate is taken as ``d`` itself.

    Args:
        n: Pairs.
        discordant_rate: Share of pairs on which the two models differ, as observed or expected.
        alpha: Two-sided level of the test.
        power: Chance of finding the difference if it exists.

    Returns:
        The difference as a rate, at most 1.0: then ``n`` is too small to show any smaller one.
    """
    if n < 1 or not 0 <= discordant_rate <= 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(
            f"n={n} must be at least 1, discordant_rate={discordant_rate} between 0 and 1, "
            f"alpha={alpha} between 0 and 1 and power={power} between 0 and 1"
        )

    def shown(difference: float) -> bool:
        rate = max(discordant_rate, difference)
        gain = (rate + difference) / 2
        return mcnemar_power(n, gain, rate - gain, alpha) >= power

    return _crossing(shown, 0.0, 1.0, halvings=24)


def _crossing(
    reached: Callable[[float], bool], low: float, high: float, halvings: int = 60
) -> float:
    """Return where ``reached`` turns true between ``low`` and ``high``, ``high`` if nowhere."""
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _two_sided_z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
