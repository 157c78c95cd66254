"""Test questions in other words: what two questions share when both wording and numbers differ."""

from mathtune.problems.rewordings.index import (
    THRESHOLD,
    Rewording,
    RewordingIndex,
    rewordings,
)

__all__ = ["THRESHOLD", "Rewording", "RewordingIndex", "rewordings"]
