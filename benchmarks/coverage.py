"""How often the interval of a difference holds the true one, and the power of McNemar's exact test.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --only 50 --draws 100000

Two models answer the same n problems; a share `gain` of them is truly gained and a share `loss`
lost. `coverage_exact` sums the probability of each outcome (gained, lost) whose interval holds
`gain - loss`, `coverage` counts them among seeded draws, and `bootstrap` does the same for the
percentile bootstrap with 2,000 resamples. Where few answers change an exact 95 % may be out of
reach: `attainable` are the coverages around 95 % that a set of consecutive gains can have when
nothing is ever lost. `power` is `mcnemar_power`, `power_simulated` the share of the draws in which
the test reaches 0.05; `detectable_power` is simulated at the smallest detectable difference, which
is to be found in 80 % of cases. Prints one JSON line a setting.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from mathtune.evaluation.statistics import (
    mcnemar_exact,
    mcnemar_power,
    paired_score_interval,
    smallest_detectable_difference,
)

SIZES = (50, 200, 1319)
RATES = ((0.1, 0.1), (0.2, 0.05), (0.3, 0.2), (0.05, 0.01), (0.02, 0.0))
RESAMPLES = 2_000
NEGLIGIBLE = 1e-9
"""Outcomes less likely than this are left out of the exact sum."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, nargs="*", default=SIZES, help="Numbers of problems.")
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for n in options.only:
        for gain, loss in RATES:
            print(json.dumps(measure(n, gain, loss, options.draws, options.seed)), flush=True)


def measure(n: int, gain: float, loss: float, draws: int, seed: int) -> dict[str, Any]:
    start = time.process_time()
    random = np.random.default_rng(seed)
    true = gain - loss

    @cache
    def holds(gained: int, lost: int) -> bool:
        found = paired_score_interval(n, gained, lost)
        return found.low <= true <= found.high

    @cache
    def bootstrap_holds(gained: int, lost: int) -> bool:
        shares = [gained / n, lost / n, (n - gained - lost) / n]
        resampled = random.multinomial(n, shares, size=RESAMPLES)
        low, high = np.quantile((resampled[:, 0] - resampled[:, 1]) / n, [0.025, 0.975])
        return bool(low <= true + 1e-12 and true - 1e-12 <= high)

    @cache
    def rejects(gained: int, lost: int) -> bool:
        return mcnemar_exact(gained, lost) < 0.05

    detectable = smallest_detectable_difference(n, gain + loss)
    rate = max(gain + loss, detectable)
    at_detectable = (rate + detectable) / 2, (rate - detectable) / 2
    exact = sum(p for gained, lost, p in outcomes(n, gain, loss) if holds(gained, lost))
    few = min(draws, 4_000)
    return {
        "benchmark": "coverage",
        "n": n,
        "gain": gain,
        "loss": loss,
        "coverage_exact": round(exact, 4),
        "coverage": share(random, draws, n, gain, loss, holds),
        "bootstrap": share(random, few, n, gain, loss, bootstrap_holds),
        **({} if loss else {"attainable": attainable(n, gain)}),
        "power": round(mcnemar_power(n, gain, loss), 4),
        "power_simulated": share(random, draws, n, gain, loss, rejects),
        "detectable": round(detectable, 4),
        "detectable_power": share(random, draws, n, *at_detectable, rejects),
        "draws": draws,
        "cpu_seconds": round(time.process_time() - start, 2),
    }


def outcomes(n: int, gain: float, loss: float) -> Iterator[tuple[int, int, float]]:
    """Yield each likely outcome with its probability, from the trinomial distribution."""
    gained_rates = binomial(n, gain)
    for gained, likely in enumerate(gained_rates):
        if likely < NEGLIGIBLE:
            continue
        for lost, given in enumerate(binomial(n - gained, loss / (1 - gain))):
            if likely * given >= NEGLIGIBLE:
                yield gained, lost, likely * given


def attainable(n: int, gain: float) -> list[float]:
    """Return the coverages next to 95 % of sets 0..k or j..k of gains, where nothing is lost."""
    summed = np.concatenate([[0.0], np.cumsum(binomial(n, gain))])
    sets = {summed[k] - summed[j] for j in range(len(summed)) for k in range(j, len(summed))}
    return [
        round(float(max(each for each in sets if each <= 0.95)), 4),
        round(float(min(each for each in sets if each >= 0.95)), 4),
    ]


@cache
def binomial(n: int, p: float) -> tuple[float, ...]:
    if p == 0:
        return (1.0, *[0.0] * n)
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1))
    logs = (w + k * math.log(p) + (n - k) * math.log1p(-p) for k, w in enumerate(ways))
    return tuple(map(math.exp, logs))


def share(
    random: np.random.Generator,
    draws: int,
    n: int,
    gain: float,
    loss: float,
    found: Callable[[int, int], bool],
) -> float:
    """Return the share of seeded draws of which something is found."""
    drawn = random.multinomial(n, [gain, loss, max(0.0, 1 - gain - loss)], size=draws)
    pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    hits = [found(int(gained), int(lost)) for gained, lost in pairs]
    return round(float(counts[hits].sum() / draws), 4)


if __name__ == "__main__":
    main()
