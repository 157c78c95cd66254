"""Samples of test problems are never learned from: found by their source, and by their questions.

What a recipe trains on is checked again when it is loaded (``problems/load.py``), against that
recipe's own test sets. This check is earlier and needs no recipe.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mathtune.config.schema import SourceConfig
from mathtune.errors import DataError
from mathtune.learning.sources import SampleFile
from mathtune.problems.known_datasets import KNOWN_SETS, find_known
from mathtune.problems.reading import Role
from mathtune.problems.sources import local_problems
from mathtune.problems.splits import question_key

log = logging.getLogger(__name__)

_TEST = re.compile(r"(?<![a-z])(?:test|testing|eval)(?![a-z])", re.IGNORECASE)


def check_not_test(files: Sequence[SampleFile], *, allow_test: bool = False) -> bool:
    """Refuse samples of test splits; return whether there are some.

    Args:
        files: The sample files.
        allow_test: Warn instead, where a user knows what they do.

    Raises:
        DataError: A file's problems come from a test split.
    """
    faults = [
        f"{file.path} has samples of {why}; what learns from them cannot be tested on that set "
        "any more"
        for file in files
        for why in map(_test_split, file.problem_sources)
        if why
    ]
    if faults and not allow_test:
        raise DataError([f"{fault}: sample training problems" for fault in faults])
    for fault in faults:
        log.warning(fault)
    return bool(faults)


def warn_of_test(sources: Iterable[SourceConfig]) -> None:
    """Warn, before problems are sampled, where no training will take the samples."""
    for why in dict.fromkeys(filter(None, map(_test_split, sources))):
        log.warning(
            f"these are problems of {why}: mathtune select refuses their samples, as what learns "
            "from them cannot be tested on that set any more"
        )


def known_test_questions(trained_on: Sequence[SourceConfig] = ()) -> dict[str, str]:
    """Return the questions of the published test sets on this machine → name of the set.

    Args:
        trained_on: Sources of a recipe's training problems. A set whose test split is one of them
            is left out: that recipe was told to train on it, and its own test sets are checked
            when it is loaded.
    """
    asked = {
        known.name
        for source in trained_on
        if source.name and source.split == "test"
        if (known := find_known(source.name.partition("@")[0], source.subset))
    }
    found: dict[str, str] = {}
    for name, known in KNOWN_SETS.items():
        if "test" not in known.splits or known.name in asked:
            continue
        try:
            problems = local_problems(SourceConfig(name=name, split="test"), Role.TEST, 0)
        except DataError:  # a damaged copy is reported by whoever evaluates on it
            continue
        for problem in problems or ():
            found.setdefault(question_key(problem.question), name)
    return found


def _test_split(source: SourceConfig) -> str:
    """Return which test problems a source has, or nothing."""
    if source.generated is not None:
        if source.templates != "train":
            return f"generated problems with templates={source.templates}"
        return f"generated problems with part={source.part}" if source.part != "train" else ""
    if source.name is not None:
        known = find_known(source.name.partition("@")[0], source.subset)
        if known is not None and known.from_gsm8k_test:
            return f"{known.name}, which is made of GSM8K test questions"
        split = source.split or "test"  # as a set to measure on is read
        return f"the {split} split of {source.name}" if _TEST.search(split) else ""
    if _TEST.search(source.split or "") or _TEST.search(Path(source.path or "").name):
        return f"{source.path}, by its name a test split"
    return ""
