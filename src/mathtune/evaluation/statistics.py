"""Intervals and tests for rates of right answers, each with its paper.

Two models that answered the same problems are compared in pairs: what counts are the problems that
one of them gets right and the other wrong. Everything here takes counts or plain sequences and
returns plain numbers; only the bootstrap needs numpy, and loads it when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

Answer = TypeVar("Answer", bound=Hashable)


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
        correct: Successes, 0 to ``n``. Need not be whole: the mean over several samples of a
            problem varies less than one try does, so the interval is then rather too wide.
        n: Tries. With none the interval is 0 to 1.
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
    # At the ends the exact bounds are 0 and 1; rounding must not put them a hair beside.
    low = 0.0 if correct == 0 else (centre - spread) / scale
    high = 1.0 if correct == n else (centre + spread) / scale
    return Interval(low, high)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value that gains and losses are equally likely (McNemar 1947).

    Of ``gained + lost`` discordant pairs, the smaller count is held against a fair coin. The sum is
    done in whole numbers, so no count is too large; a p-value under 5e-324 is returned as 0.0.

    Args:
        gained: Problems wrong before and right after.
        lost: Problems right before and wrong after.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"gained={gained} and lost={lost} must not be negative")
    pairs = gained + lost
    term = tail = 1  # term is C(pairs, i), tail their sum up to the smaller count
    for i in range(min(gained, lost)):
        term = term * (pairs - i) // (i + 1)
        tail += term
    ways: int = 2**pairs
    return min(1.0, 2 * tail / ways)


def paired_bootstrap(
    before: Sequence[bool],
    after: Sequence[bool],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of ``mean(after) - mean(before)`` (Efron 1979; Koehn 2004).

    Drawing ``n`` problems with replacement and counting the gained, lost and unchanged ones among
    them is one draw from a multinomial distribution over these three counts. So each resample is
    drawn as such: distributed as if problems were picked one by one, in time independent of ``n``.

    Where all problems changed alike (none gained and none lost, say) every resample is equal and
    the interval is a point; ``smallest_detectable_difference`` says what such a set could show.

    Raises:
        ValueError: If the two differ in length, are empty, or ``resamples`` is less than 1.
    """
    if len(before) != len(after) or not before:
        raise ValueError(
            f"before has {len(before)} and after {len(after)} values; "
            "pairs need the same problems on both sides, and at least one"
        )
    gained = sum(not old and bool(new) for old, new in zip(before, after, strict=True))
    lost = sum(bool(old) and not new for old, new in zip(before, after, strict=True))
    return bootstrap_counts(
        len(before), gained, lost, resamples=resamples, confidence=confidence, seed=seed
    )


def bootstrap_counts(
    n: int,
    gained: int,
    lost: int,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """``paired_bootstrap`` from the counts alone: ``n`` pairs, of which some gained, some lost."""
    if min(gained, lost, n - gained - lost) < 0 or n < 1 or resamples < 1:
        raise ValueError(
            f"n={n}, gained={gained}, lost={lost}, resamples={resamples}: counts must not be "
            "negative or exceed n, and n and resamples must be at least 1"
        )
    _two_sided_z(confidence)
    import numpy as np

    shares = [gained / n, lost / n, (n - gained - lost) / n]
    draws = np.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3)
    differences = (draws[:, 0] - draws[:, 1]) / n
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having made several tests (Holm 1979), in the order given.

    An adjusted value under 0.05 keeps the chance of even one false alarm among all under 5 %.
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

    None stands for a sample without a valid answer and never votes. Of answers given equally often
    the one that came first wins, so the result depends on the samples' order alone.
    """
    votes: dict[Answer, int] = {}
    for answer in answers:
        if answer is not None:
            votes[answer] = votes.get(answer, 0) + 1
    # A dict keeps insertion order and max the first of equals: together the rule for ties.
    return max(votes, key=lambda answer: votes[answer], default=None)


def smallest_detectable_difference(
    n: int, discordant_rate: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true difference that ``n`` pairs show with the given power.

    From the sample size formula for McNemar's test (Miettinen 1968; Connor 1987),
    ``n d² = (z_alpha √r + z_power √(r - d²))²`` for a difference ``d`` at a discordant rate ``r``,
    solved for ``d``. A difference of ``d`` makes at least a share ``d`` of the pairs discordant, so
    where few or none were seen, ``r`` is taken as ``d`` itself.

    Args:
        n: Pairs.
        discordant_rate: Share of pairs on which the two models differ, as seen or expected.
        alpha: Two-sided level of the test.
        power: Chance to find the difference where it is there, at least 0.5.

    Returns:
        The difference as a rate, at most 1.0: then ``n`` is too small to show anything else.
    """
    if n < 1 or not 0 <= discordant_rate <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(
            f"n={n} must be at least 1, discordant_rate={discordant_rate} between 0 and 1, "
            f"alpha={alpha} between 0 and 1 and power={power} from 0.5 to 1"
        )
    z_alpha = _two_sided_z(1 - alpha)
    z_power = NormalDist().inv_cdf(power)

    def shortfall(difference: float) -> float:
        rate = max(discordant_rate, difference)
        spread = z_power * math.sqrt(max(0.0, rate - difference**2))
        return math.sqrt(n) * difference - z_alpha * math.sqrt(rate) - spread

    if shortfall(1.0) < 0:
        return 1.0
    low, high = 0.0, 1.0  # the shortfall is negative at low and not at high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if shortfall(middle) < 0 else (low, middle)
    return high


def _two_sided_z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
