"""What a training would take: ``mathtune plan``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mathtune as mt
from mathtune.planning.facts import USES
from mathtune.report import wording


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the plan of ``recipe`` with ``overrides``, as lines to show."""
    plan = mt.plan(request["recipe"], request["overrides"])
    facts, seconds = plan.facts, plan.facts["seconds"]
    available = facts["memory"]["available"]
    yield {
        "event": "done",
        "model": facts["model"] or "random weights",
        "device": facts["device"],
        "parameters": (
            f"{wording.count(plan.parameters['trainable'])} of "
            f"{wording.count(plan.parameters['total'])} trained"
        ),
        "peak": gigabytes(plan.peak),
        "available": gigabytes(available) if available else None,
        "share": min(1.0, plan.peak / available) if available else None,
        "fits": plan.fits,
        "time": wording.estimated_duration(seconds["usual"]) if seconds else None,
        "range": (
            f"{wording.estimated_duration(seconds['best'])} to "
            f"{wording.estimated_duration(seconds['worst'])}"
            if seconds
            else None
        ),
        "steps": wording.count(facts["work"]["steps"]),
        "examples": wording.count(facts["work"]["examples"]),
        "memory": [[USES[use], gigabytes(size)] for use, size in facts["memory"]["bytes"].items()],
        "remedies": [
            [each["change"], gigabytes(each["peak"]), each["fits"]] for each in plan.remedies
        ],
        "assumptions": facts["assumptions"],
    }


def gigabytes(size: float) -> str:
    """Return bytes as ``1.23 GB``, or as ``4.5 MB`` where that says more."""
    if 0 < size < 2**30 / 100:
        return f"{wording.number(size / 2**20, 1)} MB"
    return f"{wording.number(size / 2**30, 2)} GB"
