"""The paired table of two or more predictions files, as ``mathtune compare`` makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mathtune as mt
from mathtune.evaluation.difference import verdict
from mathtune.report import wording


def paired_table(files: list[Path]) -> dict[str, Any]:
    """Return the comparison of each file with the first: rates, differences, tests, verdicts.

    Raises:
        DataError: They were not evaluated alike; the sentence says in what they differ.
    """
    found = mt.compare(*files).comparisons
    first = found[0]
    lines = [
        {
            "label": c.labels[1],
            "n": wording.count(c.overall.n),
            "rate": wording.percent(c.overall.after["value"]),
            "rate_interval": wording.rate_interval(c.overall.after),
            "difference": wording.signed_points(c.overall.difference),
            "interval": wording.difference_interval(c.overall.low, c.overall.high),
            "gained": wording.count(c.overall.gained),
            "lost": wording.count(c.overall.lost),
            "p": wording.p_value(c.overall.mcnemar_p),
            "holm": wording.p_value(c.overall.holm_p),
            "verdict": wording.typeset(verdict(c)),
        }
        for c in found
    ]
    base = {
        "label": first.labels[0],
        "n": wording.count(first.overall.n),
        "rate": wording.percent(first.overall.before["value"]),
        "rate_interval": wording.rate_interval(first.overall.before),
    }
    names = [first.labels[0], *(c.labels[1] for c in found)]
    return {
        "base": base,
        "others": lines,
        "names": names,
        "set": first.set,
        "confidence": wording.percent(first.confidence, 0),
    }
