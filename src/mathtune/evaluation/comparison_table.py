"""Comparisons as tables: Markdown whose columns are aligned, so that it reads as plain text too."""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.evaluation.difference import (
    INTERVAL_METHOD,
    Comparison,
    Difference,
    hundredfold,
    percent,
    points,
    verdict,
)
from mathtune.evaluation.summary import Rate
from mathtune.text.visible import visible_line

_LONGEST = 80
"""Longest name in a table, in characters."""


def table(comparisons: Sequence[Comparison], *, as_list: bool = False) -> str:
    """Return several models as one Markdown table, each after the first compared with the first.

    Comparisons with another first side, those of each model with the one before it, follow in a
    second table. The last column says which true difference, in points, this many problems would
    show in 4 of 5 cases. The verdicts are below, and a last line names intervals and test.

    Args:
        comparisons: As ``compare_files`` returns them.
        as_list: Write the verdicts as a Markdown list, else one per line.
    """
    first = comparisons[0]
    baseline = [c for c in comparisons if c.labels[0] == first.labels[0]]
    stepwise = [c for c in comparisons if c.labels[0] != first.labels[0]]
    head = ["", "n", "exact match", _interval(first), *_difference_heads(first), "detectable"]
    rows = [head, [first.labels[0], str(first.overall.n), *_rate_cells(first.overall.before)]]
    rows[1] += [""] * (len(head) - len(rows[1]))
    for c in baseline:
        rows.append([c.labels[1], str(c.overall.n), *_rate_cells(c.overall.after), *_test_cells(c)])
    blocks = ["\n".join(_aligned(rows))]
    if stepwise:
        rows = [["against the one before", "n", *_difference_heads(first), "detectable"]]
        for c in (baseline[0], *stepwise):
            rows.append([f"{c.labels[0]} → {c.labels[1]}", str(c.overall.n), *_test_cells(c)])
        blocks.append("\n".join(_aligned(rows)))
    bullet = "- " if as_list else ""
    blocks.append("\n".join(bullet + verdict(c) for c in comparisons))
    if as_list:
        blocks.append(_methods(comparisons))
    else:
        blocks[-1] += "\n" + _methods(comparisons)
    return "\n\n".join(blocks)


def _methods(comparisons: Sequence[Comparison]) -> str:
    text = (
        f"Interval of exact match: Wilson; of a difference: {INTERVAL_METHOD}. p: McNemar's exact "
        "test"
    )
    if len(comparisons) == 1:
        return text + "."
    return f"{text}; Holm p: adjusted for the {len(comparisons)} comparisons made (Holm 1979)."


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


def _interval(comparison: Comparison) -> str:
    return f"{100 * comparison.confidence:g} % interval"


def _rate_cells(rate: Rate) -> list[str]:
    return [
        percent(rate["value"]),
        f"{hundredfold(rate['low'])} to {hundredfold(rate['high'])}",
    ]


def _test_cells(comparison: Comparison) -> list[str]:
    detectable = hundredfold(comparison.smallest_detectable_difference)
    return [*_difference_cells(comparison.overall), detectable]


def _difference_heads(comparison: Comparison) -> list[str]:
    return ["difference", _interval(comparison), "gained", "lost", "McNemar p", "Holm p"]


def _difference_cells(found: Difference) -> list[str]:
    return [
        points(found.difference),
        f"{hundredfold(found.low)} to {hundredfold(found.high)}",
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
