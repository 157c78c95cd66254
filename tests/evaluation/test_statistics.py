"""Each figure against scipy, statsmodels, or arithmetic written out here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from mathtune.evaluation.statistics import (
    Interval,
    bootstrap_counts,
    holm,
    majority,
    mcnemar_exact,
    paired_bootstrap,
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


def test_bootstrap_agrees_with_scipy_resampling_problem_by_problem() -> None:
    random = np.random.default_rng(1)
    before = random.random(150) < 0.4
    after = np.where(random.random(150) < 0.3, ~before, before)
    theirs = stats.bootstrap(
        (before.astype(float), after.astype(float)),
        lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    ours = paired_bootstrap(list(before), list(after), resamples=20_000)
    # Differences are multiples of 1/150; Monte Carlo error may move an end by one of them.
    assert ours.low == pytest.approx(theirs.low, abs=1.01 / 150)
    assert ours.high == pytest.approx(theirs.high, abs=1.01 / 150)


def test_bootstrap_spreads_as_the_exact_variance_says() -> None:
    # 1000 pairs, 300 gained, 100 lost. Per problem the change is +1, -1 or 0 with mean 0.2 and
    # variance 0.3 + 0.1 - 0.2^2 = 0.36; over 1000 problems the standard error is
    # 0.6/sqrt(1000) = 0.01897, so the 95 % interval is 0.2 -+ 1.96 * 0.01897 = 0.1628 to 0.2372.
    ours = bootstrap_counts(1000, 300, 100, resamples=50_000)
    assert ours.low == pytest.approx(0.1628, abs=0.0016)
    assert ours.high == pytest.approx(0.2372, abs=0.0016)
    wider = bootstrap_counts(1000, 300, 100, resamples=50_000, confidence=0.99)
    assert wider.low < ours.low < ours.high < wider.high


def test_bootstrap_is_seeded_and_signed() -> None:
    before, after = [True] * 5 + [False] * 15, [False] * 2 + [True] * 10 + [False] * 8
    one = paired_bootstrap(before, after, seed=3)
    assert one == paired_bootstrap(before, after, seed=3)
    # 2 lost, 7 gained, 11 unchanged
    assert one == bootstrap_counts(20, gained=7, lost=2, seed=3)
    turned = bootstrap_counts(20, gained=2, lost=7, seed=3)
    assert one.low > turned.low
    assert bootstrap_counts(20, 0, 0) == Interval(0.0, 0.0)
    assert bootstrap_counts(20, 20, 0) == Interval(1.0, 1.0)


def test_bootstrap_refuses_what_is_no_pairing() -> None:
    for before, after in [([True], []), ([], [])]:
        with pytest.raises(ValueError, match="at least one"):
            paired_bootstrap(before, after)
    with pytest.raises(ValueError, match="exceed n"):
        bootstrap_counts(5, 4, 2)


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


def test_detectable_difference_inverts_the_sample_size_formula() -> None:
    # 200 pairs, 20 % discordant, 5 % level, 80 % power: d = 0.08808 solves
    # sqrt(200) d = 1.95996 sqrt(0.2) + 0.84162 sqrt(0.2 - d^2):
    # 1.24564 = 0.87652 + 0.84162 * sqrt(0.2 - 0.00776) = 0.87652 + 0.36901
    assert smallest_detectable_difference(200, 0.2) == pytest.approx(0.0881, abs=5e-5)
    for n, rate in [(50, 0.5), (200, 0.2), (1319, 0.1), (1319, 1.0)]:
        d = smallest_detectable_difference(n, rate)
        assert 0 < d < rate
        needed = (1.959964 * math.sqrt(rate) + 0.841621 * math.sqrt(rate - d * d)) ** 2 / d**2
        assert needed == pytest.approx(n, rel=1e-4)


def test_detectable_difference_has_the_power_it_promises() -> None:
    n, rate = 500, 0.2
    d = smallest_detectable_difference(n, rate)
    random = np.random.default_rng(0)
    shares = [(rate + d) / 2, (rate - d) / 2, 1 - rate]
    draws = random.multinomial(n, shares, size=2000)
    found = np.mean([mcnemar_exact(int(g), int(lost)) < 0.05 for g, lost, _ in draws])
    # The formula is for the large-sample test; the exact one is a little more careful.
    assert 0.74 < found < 0.83


def test_detectable_difference_where_nothing_differed() -> None:
    # All discordance is the difference itself: n d = (1.95996 + 0.84162 sqrt(1 - d))^2,
    # for n = 200: d = 0.0388, as (1.95996 + 0.84162 * 0.98046)^2 = 7.758 = 200 * 0.0388
    assert smallest_detectable_difference(200, 0.0) == pytest.approx(0.0388, abs=1e-4)
    assert smallest_detectable_difference(3, 0.0) == 1.0  # 3 pairs show nothing at this level
    assert smallest_detectable_difference(200, 0.2, power=0.9) > 0.0881
    with pytest.raises(ValueError, match="n=0"):
        smallest_detectable_difference(0, 0.2)
