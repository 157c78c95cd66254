"""What a comparison found, and its wording in plain English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.evaluation.summary import Rate
from mathtune.records import PredictionRow
from mathtune.text.counts import counted
from mathtune.text.visible import visible_line

_LONGEST = 80
"""Longest name in a table, in characters."""

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
        f"{_hundredfold(found.low)} to {_hundredfold(found.high)}; {_p_value(c)}"
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
            f"{_hundredfold(c.smallest_detectable_difference)} points in 4 of 5 cases, a smaller "
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


def table(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons against one first side as a Markdown table, with the verdicts below.

    Its columns are aligned, so that it can be read as plain text. The last says which true
    difference, in points, this many problems would show in 4 of 5 cases. A last line names interval
    and test.
    """
    first = comparisons[0]
    head = ["", "n", "exact match", *_difference_heads(first), "detectable"]
    rows = [head, [first.labels[0], str(first.overall.n), percent(first.overall.before["value"])]]
    rows[1] += [""] * (len(head) - len(rows[1]))
    for c in comparisons:
        detectable = _hundredfold(c.smallest_detectable_difference)
        shown = percent(c.overall.after["value"])
        rows.append(
            [c.labels[1], str(c.overall.n), shown, *_difference_cells(c.overall), detectable]
        )
    methods = f"Interval of a difference: {INTERVAL_METHOD}. p: McNemar's exact test."
    return "\n".join([*_aligned(rows), "", *(verdict(c) for c in comparisons), methods])


def type_table(comparison: Comparison) -> str:
    """Return the differences by type of problem as such a table, p-values adjusted for the types.

    It is empty where the set knows no types.
    """
    if not comparison.by_type:
        return ""
    rows = [["type", "n", *comparison.labels, *_difference_heads(comparison)]]
    for name, part in comparison.by_type.items():
        sides = (percent(part.before["value"]), percent(part.after["value"]))
        rows.append([name, str(part.n), *sides, *_difference_cells(part)])
    return "\n".join(_aligned(rows))


def _difference_heads(comparison: Comparison) -> list[str]:
    interval = f"{100 * comparison.confidence:g} % interval"
    return ["difference", interval, "gained", "lost", "p (McNemar)", "p (Holm)"]


def _difference_cells(found: Difference) -> list[str]:
    return [
        points(found.difference),
        f"{_hundredfold(found.low)} to {_hundredfold(found.high)}",
        str(found.gained),
        str(found.lost),
        f"{found.mcnemar_p:.2g}",
        f"{found.holm_p:.2g}",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[visible_line(cell, _LONGEST).replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    ruler = _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return [lines[0], ruler, *lines[1:]]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def percent(share: float) -> str:
    """Return a share as for example ``"81.5 %"``."""
    return f"{_hundredfold(share)} %"


def points(difference: float) -> str:
    """Return a difference of shares in signed percentage points, for example ``"+80.5"``."""
    return _hundredfold(difference, "+.1f")


def _hundredfold(share: float, form: str = ".1f") -> str:
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
