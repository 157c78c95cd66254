"""Figures of a training that learns from its own answers: means since the last training line."""

from __future__ import annotations

from typing import Any

from mathtune import ranks


class Figures:
    """Adds up figures over answers, tokens or groups, on all ranks.

    What has been added since the last training line is part of a checkpoint, so that the lines of a
    resumed run are those of an uninterrupted one.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, total: float, count: int = 1) -> None:
        """Add the sum of a figure over ``count`` answers, tokens or groups of this rank."""
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._counts[name] = self._counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        """Return each figure's mean over all ranks, and start again from nothing."""
        sums, counts = self._over_ranks()
        self._sums, self._counts = {}, {}
        return {name: sums[name] / count for name, count in counts.items() if count}

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs, for JSON."""
        sums, counts = self._over_ranks()
        return {"sums": sums, "counts": counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state, which is that of all ranks together."""
        first = ranks.is_first()
        self._sums = dict(state["sums"]) if first else {}
        self._counts = dict(state["counts"]) if first else {}

    def _over_ranks(self) -> tuple[dict[str, float], dict[str, int]]:
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for own_sums, own_counts in ranks.gather((dict(self._sums), dict(self._counts))):
            for name, count in own_counts.items():
                sums[name] = sums.get(name, 0.0) + own_sums[name]
                counts[name] = counts.get(name, 0) + count
        return sums, counts
