"""What a comparison found, and its wording in plain English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mathtune.evaluation.summary import Rate
from mathtune.records import PredictionRow
from mathtune.text.counts import counted

INTERVAL_METHOD = "paired score (Tango 1998)"
"""Method for the interval of a difference, as reports and ``results.json`` name it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One problem's row on either side; of several samples, the majority's."""

    before: PredictionRow
    after: PredictionRow

    @property
    def gained(self) -> bool:
        """Wrong before and right after."""
        return bool(self.after["correct"] and not self.before["correct"])

    @property
    def lost(self) -> bool:
        """Right before and wrong after."""
        return bool(self.before["correct"] and not self.after["correct"])


@dataclass(frozen=True, slots=True)
class Difference:
    """How often each side is right on the same problems, and how they differ.

    Attributes:
        n: Problems.
        before: Rate of the first side with its Wilson interval.
        after: Rate of the second.
        gained: Number of problems wrong before and right after.
        lost: Number of problems right before and wrong after.
        low: Lower end of the paired score interval of ``difference`` (Tango 1998).
        high: Upper end.
        mcnemar_p: Two-sided p-value of McNemar's exact test.
        holm_p: ``mcnemar_p`` adjusted for the other tests made with it; equal where there are none.
    """

    n: int
    before: Rate
    after: Rate
    gained: int
    lost: int
    low: float
    high: float
    mcnemar_p: float
    holm_p: float

    @property
    def difference(self) -> float:
        """Rate after minus rate before."""
        return (self.gained - self.lost) / self.n


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second of two evaluations against the first.

    Attributes:
        labels: Names of the two sides.
        set: Label of the problem set.
        calculator: Whether the calculator was on; None where the sides differ in it.
        samples: Samples per problem on either side; above 1 the majority's answer was compared.
        overall: The difference over all problems.
        by_type: The difference for each type of problem that the set knows.
        pairs: All problems, in the first side's order.
        left_out: Problems that only the first, and only the second side has.
        differing: Which of ``ALLOWABLE`` differ, allowed by the caller.
        confidence: Confidence of the intervals; the tests are at one minus it.
        smallest_detectable_difference: What this many problems show in 4 of 5 cases.
        tests: How many comparisons ``overall.holm_p`` is adjusted for.
    """

    labels: tuple[str, str]
    set: str
    calculator: bool | None
    samples: tuple[int, int]
    overall: Difference
    by_type: Mapping[str, Difference]
    pairs: tuple[Pair, ...]
    left_out: tuple[int, int]
    differing: tuple[str, ...]
    confidence: float
    smallest_detectable_difference: float
    tests: int = 1

    @property
    def gained(self) -> tuple[Pair, ...]:
        """Problems wrong before and right after, with both answers."""
        return tuple(pair for pair in self.pairs if pair.gained)

    @property
    def lost(self) -> tuple[Pair, ...]:
        """Problems right before and wrong after, with both answers."""
        return tuple(pair for pair in self.pairs if pair.lost)

    def result(self) -> dict[str, Any]:
        """Return the ``comparisons[]`` object of ``results.json``, keyed by the sides' labels.

        Both sides are also there, with intervals, as ``before`` and ``after``.
        """
        before, after = self.labels
        return {
            before: {"exact_match": self.overall.before["value"]},
            after: {"exact_match": self.overall.after["value"]},
            # After the labels: a file called n.jsonl must not take the place of n.
            "set": self.set,
            "calculator": self.calculator,
            "labels": [before, after],
            "samples": list(self.samples),
            "before": self.overall.before,
            "after": self.overall.after,
            **_result(self.overall),
            "confidence": self.confidence,
            "interval_method": INTERVAL_METHOD,
            "smallest_detectable_difference": self.smallest_detectable_difference,
            "tests": self.tests,
            "left_out": list(self.left_out),
            "differing": list(self.differing),
            "by_type": {
                name: {
                    "before": part.before["value"],
                    "after": part.after["value"],
                    **_result(part),
                }
                for name, part in self.by_type.items()
            },
            "verdict": verdict(self),
        }


def verdict(comparison: Comparison) -> str:
    """Return the finding in one sentence, a loss or no finding as plainly as a gain.

    If the sides differ in more than the model, a second sentence says in what.
    """
    sentence = _finding(comparison)
    if not comparison.differing:
        return sentence
    return f"{sentence} The two also differ in {', '.join(comparison.differing)}."


def _finding(comparison: Comparison) -> str:
    c, found = comparison, comparison.overall
    before, after = c.labels
    tuned = c.labels == ("base", "tuned")
    old, new = percent(found.before["value"]), percent(found.after["value"])
    measure = "exact match" if c.samples == (1, 1) else "the majority answer's exact match"
    numbers = (
        f"{points(found.difference)} points, {100 * c.confidence:g} % interval "
        f"{hundredfold(found.low)} to {hundredfold(found.high)}; {_p_value(c)}"
    )
    level = 1 - c.confidence
    if found.holm_p < level:
        verb = "raised" if found.difference > 0 else "lowered"
        subject = "Tuning" if tuned else f"Against {before}, {after}"
        kind = "gain" if found.difference > 0 else "loss"
        return (
            f"{subject} {verb} {measure} on {c.set} from {old} to {new} ({numbers}): a real {kind}."
        )
    problems = counted(found.n, "problem")
    detectable = f"{problems} can never show one"
    if c.smallest_detectable_difference < 1:
        detectable = (
            f"{problems} show a true difference of "
            f"{hundredfold(c.smallest_detectable_difference)} points in 4 of 5 cases, a smaller "
            "one less often"
        )
    if found.gained == found.lost == 0:
        return (
            f"No difference can be shown with {problems}: {before} and {after} have the "
            f"same ones of {c.set} right ({old}); {detectable}."
        )
    sides = f"{measure} on {c.set} is {old} for {before} and {new} for {after} ({numbers})"
    if found.low > 0 or found.high < 0:
        return (
            f"Undecided with {problems}: {sides}; the interval leaves out 0, but the exact "
            f"test does not reach {level:.2g}."
        )
    return f"No difference can be shown with {problems}: {sides}; {detectable}."


def percent(share: float) -> str:
    """Return a share as for example ``"81.5 %"``."""
    return f"{hundredfold(share)} %"


def points(difference: float) -> str:
    """Return a difference of shares in signed percentage points, for example ``"+80.5"``."""
    return hundredfold(difference, "+.1f")


def hundredfold(share: float, form: str = ".1f") -> str:
    """Return a share times 100 with one decimal, never as ``"-0.0"``."""
    return format(round(100 * share, 1) + 0.0, form)  # + 0.0 turns -0.0 into 0.0


def _p_value(comparison: Comparison) -> str:
    p = comparison.overall.holm_p
    name = "McNemar p"
    if comparison.tests > 1:
        name += f" adjusted for {comparison.tests} comparisons"
    return f"{name} = {p:.2g}" if p >= 1e-300 else f"{name} < 1e-300"


def _result(difference: Difference) -> dict[str, Any]:
    return {
        "n": difference.n,
        "difference": difference.difference,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "mcnemar_p": difference.mcnemar_p,
        "holm_p": difference.holm_p,
        "gained": difference.gained,
        "lost": difference.lost,
    }
