"""Each figure against scipy, statsmodels, or arithmetic written out here."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from mathtune.evaluation.statistics import (
    Interval,
    holm,
    majority,
    mcnemar_exact,
    mcnemar_power,
    paired_score_interval,
    pass_at_k,
    smallest_detectable_difference,
    wilson,
)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("correct", "n"), [(0, 5), (1, 5), (5, 5), (100, 200), (658, 1319), (0, 1)]
)
def test_wilson_agrees_with_statsmodels_and_scipy(correct: int, n: int, confidence: float) -> None:
    ours = wilson(correct, n, confidence)
    low, high = proportion_confint(correct, n, alpha=1 - confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)
    theirs = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: centre (0.8 + 3.8416/20) / 1.38416 = 0.716740
    # spread 1.96 * sqrt(0.8*0.2/10 + 3.8416/400) / 1.38416 = 0.226577
    ours = wilson(8, 10)
    assert ours.low == pytest.approx(0.716740 - 0.226577, abs=2e-5)
    assert ours.high == pytest.approx(0.716740 + 0.226577, abs=2e-5)


def test_wilson_at_its_ends() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0
    for bad in [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, 0.0)]:
        with pytest.raises(ValueError, match="must be between"):
            wilson(*bad)


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (5, 5), (10, 3), (3, 10), (158, 0), (60, 40), (700, 500)]
)
def test_mcnemar_agrees_with_scipy_and_statsmodels(gained: int, lost: int) -> None:
    table = [[50, lost], [gained, 50]]
    assert mcnemar_exact(gained, lost) == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    if gained + lost:
        expected = stats.binomtest(gained, gained + lost, 0.5).pvalue
        assert mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    # 6 discordant pairs, 1 of them lost: 2 * (C(6,0) + C(6,1)) / 2^6 = 14/64
    assert mcnemar_exact(5, 1) == 14 / 64
    assert mcnemar_exact(0, 0) == 1.0


def test_mcnemar_neither_overflows_nor_fails_on_large_counts() -> None:
    assert mcnemar_exact(5000, 0) == 0.0  # 2^-4999 is under the smallest float
    expected = stats.binomtest(10_100, 20_000, 0.5).pvalue
    assert mcnemar_exact(10_100, 9_900) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="must not be negative"):
        mcnemar_exact(-1, 3)


@pytest.mark.parametrize(
    ("n", "gained", "lost", "low", "high"),
    [
        # Bentur et al. 2009 as in Fagerland, Lydersen and Laake 2014, "Recommended tests and
        # confidence intervals for paired binomial proportions": 1 and 7 discordant of 21.
        (21, 1, 7, -0.517, -0.026),
        # None discordant, by hand: the score is sqrt(n d / (1 - d)), so d = z² / (n + z²).
        (50, 0, 0, -3.84146 / 53.84146, 3.84146 / 53.84146),
        # All gained, by hand: the score is sqrt(n (1 - d) / (1 + d)), d = (n - z²) / (n + z²).
        (10, 10, 0, 6.15854 / 13.84146, 1.0),
    ],
)
def test_tango_agrees_with_published_intervals(
    n: int, gained: int, lost: int, low: float, high: float
) -> None:
    ours = paired_score_interval(n, gained, lost)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=5e-4)
    turned = paired_score_interval(n, lost, gained)
    assert (turned.low, turned.high) == pytest.approx((-ours.high, -ours.low), abs=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(21, 1, 7), (44, 9, 2), (160, 40, 20), (200, 161, 0), (1319, 66, 13)]
)
def test_tango_is_the_score_test_turned_round(
    n: int, gained: int, lost: int, confidence: float
) -> None:
    """At either end the score test, its likelihood maximised by scipy, is just at its level."""
    z = stats.norm.ppf((1 + confidence) / 2)
    ours = paired_score_interval(n, gained, lost, confidence)
    for end in (ours.low, ours.high):

        def unlikely(rate_lost: float, end: float = end) -> float:
            shares = [rate_lost + end, rate_lost, 1 - 2 * rate_lost - end]
            counts = [gained, lost, n - gained - lost]
            return -float(sum(special.xlogy(counts, np.maximum(shares, 1e-300))))

        bounds = (max(0.0, -end), (1 - end) / 2)
        fitted = optimize.minimize_scalar(unlikely, bounds=bounds, options={"xatol": 1e-12}).x
        score = (gained - lost - n * end) / math.sqrt(n * (2 * fitted + end - end * end))
        assert abs(score) == pytest.approx(z, rel=2e-4)


def test_tango_and_mcnemar_agree_on_what_is_a_difference() -> None:
    """Where the exact test finds a difference the interval leaves out 0; never the other way."""
    for gained, lost in itertools.product(range(60), range(60)):
        ours = paired_score_interval(120, gained, lost)
        if mcnemar_exact(gained, lost) < 0.05:
            assert ours.low > 0 or ours.high < 0, (gained, lost)


def test_tango_refuses_what_is_no_pairing() -> None:
    for n, gained, lost in [(0, 0, 0), (5, 4, 2), (5, -1, 2)]:
        with pytest.raises(ValueError, match="exceed n"):
            paired_score_interval(n, gained, lost)


RATES = [(0.1, 0.1), (0.2, 0.05), (0.3, 0.2), (0.05, 0.01), (0.02, 0.0)]


@pytest.mark.parametrize(("gain", "loss"), RATES)
@pytest.mark.parametrize("n", [50, 200])
def test_tango_holds_the_true_difference_in_95_of_100(n: int, gain: float, loss: float) -> None:
    """Exactly, over all outcomes; ``benchmarks/coverage.py`` does the same for 1,319."""
    coverage = 0.0
    for gained, likely in enumerate(stats.binom.pmf(range(n + 1), n, gain)):
        given = stats.binom.pmf(range(n - gained + 1), n - gained, loss / (1 - gain))
        for lost, each in enumerate(given):
            if likely * each > 1e-8:
                ours = paired_score_interval(n, gained, lost)
                coverage += likely * each * (ours.low <= gain - loss <= ours.high)
    if (n, loss) == (50, 0.0):
        # Out of reach: with nothing ever lost, gains of 0 to 2 have 92.2 %, 0 to 3 98.2 %.
        assert coverage == pytest.approx(0.9968, abs=1e-4)
        assert stats.binom.cdf([2, 3], n, gain) == pytest.approx([0.9216, 0.9822], abs=1e-4)
    else:
        assert 0.93 < coverage < 0.97


@pytest.mark.parametrize(
    "p_values", [[], [0.03], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 1.0], [0.02, 0.02, 0.02]]
)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(expected), abs=1e-15)


def test_holm_by_hand() -> None:
    # sorted 0.005*4 = 0.02, 0.01*3 = 0.03, 0.03*2 = 0.06, 0.04*1 = 0.04, never falling: 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("n", "correct"), [(5, 0), (5, 1), (5, 3), (5, 5), (1, 1)])
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(n: int, correct: int) -> None:
    samples = [True] * correct + [False] * (n - correct)
    for k in range(1, n + 1):
        choices = list(itertools.combinations(samples, k))
        expected = sum(any(choice) for choice in choices) / len(choices)
        assert pass_at_k(n, correct, k) == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_agrees_with_the_papers_own_code() -> None:
    def paper(n: int, c: int, k: int) -> float:  # Chen et al. 2021, figure 3
        if n - c < k:
            return 1.0
        return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))

    for n, c, k in [(200, 3, 100), (200, 150, 10), (1000, 1, 1), (10, 9, 2)]:
        assert pass_at_k(n, c, k) == pytest.approx(paper(n, c, k), abs=1e-12)
    for bad in [(5, 3, 0), (5, 3, 6), (5, 6, 2), (5, -1, 2)]:
        with pytest.raises(ValueError, match="must be between"):
            pass_at_k(*bad)


def test_majority() -> None:
    assert majority([1, 2, 2, 3]) == 2
    assert majority([3, 1, 1, 3]) == 3  # a tie goes to the answer given first
    assert majority([None, None, None, 4]) == 4  # no answer never votes, however often
    assert majority([None, None]) is None
    assert majority([]) is None


@pytest.mark.parametrize(("gain", "loss"), [*RATES, (0.0, 0.3), (1.0, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("n", [5, 50, 200, 1319])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_power_is_that_of_the_exact_test(n: int, gain: float, loss: float, alpha: float) -> None:
    rate, power = gain + loss, 0.0
    for pairs in range(n + 1):
        likely = stats.binom.pmf(pairs, n, rate)
        if likely < 1e-12:
            continue
        few = 0  # the largest count on one side that is still rejected, plus one
        while 2 * stats.binom.cdf(few, pairs, 0.5) < alpha:
            few += 1
        tails = stats.binom.cdf(few - 1, pairs, [gain / rate, loss / rate])
        power += likely * tails.sum()
    assert mcnemar_power(n, gain, loss, alpha) == pytest.approx(power, abs=1e-9)


def test_power_by_hand() -> None:
    # 6 pairs, all discordant with equal chances: p < 0.05 where all go one way, 2 / 2^6
    assert mcnemar_power(6, 0.5, 0.5) == pytest.approx(2 / 64)
    # 7 pairs, discordant with 0.5 and then all gained: 6 or 7 of them, (7 + 1) / 2^7
    assert mcnemar_power(7, 0.5, 0.0) == pytest.approx(8 / 128)
    assert mcnemar_power(5, 1.0, 0.0) == mcnemar_power(200, 0.0, 0.0) == 0.0
    with pytest.raises(ValueError, match="add up to 1"):
        mcnemar_power(10, 0.7, 0.4)


@pytest.mark.parametrize(("n", "rate"), [(50, 0.25), (200, 0.2), (500, 0.2), (1319, 0.06)])
def test_detectable_difference_is_found_in_4_of_5_simulated_cases(n: int, rate: float) -> None:
    d = smallest_detectable_difference(n, rate)
    assert 0 < d < rate
    shares = [(rate + d) / 2, (rate - d) / 2, 1 - rate]
    draws = np.random.default_rng(0).multinomial(n, shares, size=20_000)[:, :2]
    pairs, counts = np.unique(draws, axis=0, return_counts=True)
    found = [mcnemar_exact(int(gained), int(lost)) < 0.05 for gained, lost in pairs]
    assert counts[found].sum() / counts.sum() == pytest.approx(0.8, abs=0.01)
    assert smallest_detectable_difference(n, rate, power=0.9) > d


def test_detectable_difference_where_nothing_differed() -> None:
    # All discordance is the difference itself: 6 or more of 200 must be gained, and
    # P(X >= 6) of 200 tries at 0.03924 is 0.8
    d = smallest_detectable_difference(200, 0.0)
    assert stats.binom.sf(5, 200, d) == pytest.approx(0.8, abs=1e-4)
    assert d == pytest.approx(0.0392, abs=1e-4)
    assert smallest_detectable_difference(3, 0.0) == 1.0  # 3 pairs show nothing at this level
    with pytest.raises(ValueError, match="n=0"):
        smallest_detectable_difference(0, 0.2)


@pytest.mark.parametrize(("gained", "lost"), [(3, 4), (10, 2), (100, 50), (5_000, 5_100), (0, 9)])
def test_mcnemar_in_floating_point_is_that_in_integers(
    monkeypatch: pytest.MonkeyPatch, gained: int, lost: int
) -> None:
    exact = mcnemar_exact(gained, lost)
    monkeypatch.setattr("mathtune.evaluation.statistics.MOST_IN_INTEGERS", 0)
    assert mcnemar_exact(gained, lost) == pytest.approx(exact, rel=1e-8)


def test_a_million_pairs_take_no_time() -> None:
    start = time.process_time()
    assert mcnemar_exact(300_000, 299_000) == pytest.approx(0.19679, rel=1e-4)
    assert mcnemar_exact(300_000, 200_000) == 0.0
    assert smallest_detectable_difference(10**6, 0.5) == pytest.approx(0.00198, rel=1e-2)
    assert time.process_time() - start < 5  # 0.3 seconds here
