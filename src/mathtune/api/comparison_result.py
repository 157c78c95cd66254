"""What ``compare`` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mathtune.api.display import data_frame, html_table
from mathtune.evaluation.difference import Comparison, verdict
from mathtune.report import wording

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """One or more models against a baseline; properties are those of the first comparison.

    Attributes:
        comparisons: Each with rates, difference, interval, p-values and the problems themselves.
    """

    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> str:
        """What was found, one sentence per comparison."""
        return "\n".join(map(verdict, self.comparisons))

    @property
    def difference(self) -> float:
        """Exact match after minus before, from −1 to 1."""
        return self.comparisons[0].overall.difference

    @property
    def interval(self) -> tuple[float, float]:
        """Tango's paired score interval of ``difference``."""
        found = self.comparisons[0].overall
        return found.low, found.high

    @property
    def p_value(self) -> float:
        """McNemar's exact test, adjusted for the number of comparisons (Holm)."""
        return self.comparisons[0].overall.holm_p

    @property
    def gained(self) -> int:
        """Problems wrong before and right after."""
        return self.comparisons[0].overall.gained

    @property
    def lost(self) -> int:
        """Problems right before and wrong after."""
        return self.comparisons[0].overall.lost

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per comparison and problem, with both completions."""
        return data_frame(
            {
                **dict(zip(("before", "after"), found.labels, strict=True)),
                **{key: pair.before[key] for key in ("problem_id", "question", "gold")},
                "before_completion": pair.before["completion"],
                "after_completion": pair.after["completion"],
                "before_correct": pair.before["correct"],
                "after_correct": pair.after["correct"],
            }
            for found in self.comparisons
            for pair in found.pairs
        )

    def __repr__(self) -> str:
        return f"ComparisonResult({self.verdict})"

    def _repr_html_(self) -> str:
        head = ("", "before", "after", "difference in points", "gained", "lost", "p")
        rows = (
            (
                " → ".join(found.labels),
                wording.percent(found.overall.before["value"]),
                wording.percent(found.overall.after["value"]),
                f"{wording.signed_points(found.overall.difference)} "
                f"({wording.difference_interval(found.overall.low, found.overall.high)})",
                wording.count(found.overall.gained),
                wording.count(found.overall.lost),
                wording.p_value(found.overall.holm_p),
            )
            for found in self.comparisons
        )
        return html_table(self.verdict, head, rows)
