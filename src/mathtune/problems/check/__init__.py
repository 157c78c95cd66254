"""Look through a source before training on it: answers, duplicates, steps, test questions."""

from mathtune.problems.check.check import check_source
from mathtune.problems.check.overlaps import Pair
from mathtune.problems.check.result import DataCheck

__all__ = ["DataCheck", "Pair", "check_source"]
