"""From a recipe's ``data`` section to training, validation and test problems; the one way in.

Guarantees, in this order:

1. Every problem that is trained on or graded has a gold answer that the grader accepts in the
   problem's own solution.
2. No training or validation question is a test question, of any of the recipe's test sets.
3. No training or validation question shares a number-masked window of 13 words with a test
   question from outside. Between two *generated* sets that would mean nothing, since problems of
   one template share all words but numbers and names; there the generator's parts keep them apart.
4. No training question is a validation question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mathtune.problems.gold import KEPT
from mathtune.problems.pool import Pool, listed, mixed, read_all, read_tests, test_readers
from mathtune.problems.reading import Role
from mathtune.problems.sources import local_problems, source_faults
from mathtune.problems.splits import first_by_hash, hold_out
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.text.counts import counted

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import DataConfig


def load(data: DataConfig, *, seed: int = 42) -> Splits:
    """Read, check and split all problems of a recipe.

    Training problems come in the order of their sources. What was dropped from a set, and why, is
    counted in its ``dropped``.

    Args:
        data: The recipe's ``data`` section.
        seed: The recipe's seed; each generated source takes one of its own from it.

    Raises:
        DataError: Sources cannot be used (all of them are named), a set ends up empty, or training
            problems overlap with test problems and ``data.contamination`` is ``error``.
    """
    readers: list[Callable[[], Pool]] = [
        partial(Pool.read, "train", data.train, Role.TRAIN, seed),
        partial(Pool.read, "validation", data.validation, Role.VALIDATION, seed + 1000),
        *test_readers(data, seed),
    ]
    train, validation, *tests = read_all(readers)
    train.drop_duplicates()
    for pool in (train, validation):
        pool.drop_test_questions(tests)
        pool.check_contamination(tests, data.contamination)
    if data.validation:
        train.drop_questions_of(validation, "also in validation")
        train.check_not_empty()
        validation.check_not_empty()
    else:
        train.check_not_empty()
        train.problems, validation.problems = hold_out(train.problems, data.validation_fraction)
    return Splits(
        train=train.finish(data.max_train_samples),
        validation=validation.finish(data.max_validation_samples),
        test=tuple(pool.finish(data.max_test_samples) for pool in tests),
    )


def load_tests(data: DataConfig, *, seed: int = 42) -> tuple[ProblemSet, ...]:
    """Read and check the test sets alone, to evaluate a model without training.

    Raises:
        DataError: As ``load``.
    """
    return tuple(pool.finish(data.max_test_samples) for pool in read_tests(data, seed))


def load_local(data: DataConfig, *, seed: int = 42, trains: bool) -> Splits | None:
    """Read a recipe's problems as ``load`` does if all of them are on this machine, else None.

    Args:
        data: The recipe's ``data`` section.
        seed: The recipe's seed.
        trains: Whether training and validation problems are wanted, or the test sets alone.

    Raises:
        DataError: As ``load``.
    """
    uses = [(source, Role.TEST) for test in data.test for source in test.sources]
    if trains:
        uses += [(source, Role.TRAIN) for source in data.train]
        uses += [(source, Role.VALIDATION) for source in data.validation]
    for source, role in uses:
        here = source.path is None or Path(source.path).expanduser().exists()
        is_known = source.generated is None and source.name is not None
        if not here or (is_known and local_problems(source, role, seed) is None):
            return None
    if trains:
        return load(data, seed=seed)
    empty = ProblemSet("none", ())
    return Splits(empty, empty, load_tests(data, seed=seed))


class LocalCheck(NamedTuple):
    """What reading a recipe's local sources found.

    Attributes:
        faults: What is wrong with them.
        on_hub: Names of those that were not read, because the hub has them.
    """

    faults: list[str]
    on_hub: list[str]


def check_local(data: DataConfig, *, seed: int = 42, trains: bool = True) -> LocalCheck:
    """Read a recipe's sources to the end, as far as they are on this machine."""
    uses = [(source, Role.TEST) for test in data.test for source in test.sources]
    if trains:
        uses += [(source, Role.TRAIN) for source in data.train]
        uses += [(source, Role.VALIDATION) for source in data.validation]
    faults: list[str] = []
    on_hub: list[str] = []
    for source, role in uses:
        found = source_faults(source, role, seed)
        faults += found or ()
        on_hub += [source.name or ""] if found is None else ()
    return LocalCheck(list(dict.fromkeys(faults)), list(dict.fromkeys(on_hub)))


def local_training(
    data: DataConfig, *, seed: int = 42
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Return a recipe's local training problems, and the names of sources that are not local.

    The network is not used. Overlaps with the test sets are not dropped.

    Raises:
        DataError: With every fault of every source.
    """
    taken: list[tuple[Problem, ...]] = []
    elsewhere: list[str] = []
    readers = [
        partial(local_problems, source, Role.TRAIN, seed + i) for i, source in enumerate(data.train)
    ]
    for source, problems in zip(data.train, read_all(readers), strict=True):
        if problems is None:
            elsewhere.append(source.name or "")
        else:
            taken.append(first_by_hash(problems, source.limit, source.skip))
    weights = [source.weight for source in data.train if source.weight is not None]
    if weights and not elsewhere:
        taken = mixed(taken, weights, Counter())
    found = [problem for each in taken for problem in each]
    if found and not data.validation:
        found = list(hold_out(found, data.validation_fraction)[0])
    return first_by_hash(found, data.max_train_samples), tuple(elsewhere)


def summary_lines(splits: Splits) -> list[str]:
    """Return lines for the terminal: how each source was read, then each set with its counts."""
    named = [("train", splits.train), ("validation", splits.validation)]
    named += [(f"test: {test.label}", test) for test in splits.test]
    lines = [line for _, found in named for line in found.read_as]
    lines += [f"{name}: {counted(len(found), 'problem')}{_counts(found)}" for name, found in named]
    return list(dict.fromkeys(lines))


def read_as_lines(sets: Iterable[ProblemSet]) -> list[str]:
    """Return how each source of some sets was read, and what was left out of them."""
    lines = [line for found in sets for line in found.read_as]
    lines += [f"{found.label}: {counted(len(found), 'problem')}{_counts(found)}" for found in sets]
    return list(dict.fromkeys(lines))


def _counts(found: ProblemSet) -> str:
    dropped, kept = _told_apart(found)
    said = [f"left out: {listed(dropped)}"] if dropped else []
    said += [listed(kept)] if kept else []
    return f" ({'; '.join(said)})" if said else ""


def _told_apart(found: ProblemSet) -> tuple[dict[str, int], dict[str, int]]:
    """Return the counts of what was dropped, and of what was only noted."""
    dropped = {why: n for why, n in found.dropped.items() if not why.startswith(KEPT)}
    kept = {why: n for why, n in found.dropped.items() if why.startswith(KEPT)}
    return dropped, kept


def describe(splits: Splits) -> dict[str, Any]:
    """Return what a manifest records: sizes, fingerprints, sources and what was dropped."""
    return {
        "train": _describe(splits.train),
        "validation": _describe(splits.validation),
        "test": [{"label": test.label, **_describe(test)} for test in splits.test],
    }


def _describe(found: ProblemSet) -> dict[str, Any]:
    dropped, kept = _told_apart(found)
    return {
        "n": len(found),
        "fingerprint": found.fingerprint,
        "sources": list(dict.fromkeys(problem.source for problem in found.problems)),
        "dropped": dropped,
        **({"kept": kept} if kept else {}),
        **({"read_as": list(found.read_as)} if found.read_as else {}),
    }
