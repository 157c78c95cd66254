"""Solved problems shown before a question: drawn from training problems, or a user's own file.

A shot is never a test problem of the recipe, even beyond the limits of its test sets: what would be
dropped from training is not shown either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mathtune.errors import DataError
from mathtune.problems.pool import Pool, listed, read_tests
from mathtune.problems.reading import Role
from mathtune.problems.sources import read_source
from mathtune.problems.splits import hash_share, question_hash
from mathtune.records import Problem
from mathtune.text.counts import counted

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import DataConfig, SourceConfig


def draw_shots(data: DataConfig, k: int, *, seed: int) -> tuple[Problem, ...]:
    """Return ``k`` of a recipe's training problems, the first by a hash of their ids and the seed.

    The same seed draws the same ones, whatever the order of the files, and ``k + 1`` adds one.

    Raises:
        DataError: A source cannot be read, or fewer than ``k`` solved problems are left.
    """
    pool = Pool.read("example", data.train, Role.TRAIN, seed)
    pool.drop_duplicates()
    pool.drop(
        lambda p: None if p.answer and p.source != "generated facts" else "not a solved problem"
    )
    _without_tests(pool, data, seed)
    if len(pool.problems) < k:
        raise DataError(
            f"prompt.shots={k}, but only {counted(len(pool.problems), 'training problem')} can be "
            f"shown (left out: {listed(pool.dropped) or 'none'}); lower prompt.shots or add "
            "problems to data.train"
        )
    ranked = sorted(pool.problems, key=lambda p: hash_share(p.id, f"shots {seed}"))
    return tuple(ranked[:k])


def file_shots(source: SourceConfig, k: int) -> tuple[Problem, ...]:
    """Return the first ``k`` problems of a file, in its order.

    Raises:
        DataError: It cannot be read or holds fewer.
    """
    problems = read_source(source, Role.TRAIN, seed=0).problems
    if len(problems) < k:
        raise DataError(
            f"prompt.shots={k}, but {source.path} holds {len(problems)}; lower prompt.shots or add "
            "problems to the file"
        )
    return problems[:k]


def check_shots(shots: Sequence[Problem], data: DataConfig, *, seed: int) -> None:
    """Make sure that no example to be shown is a test problem or shares 13 words with one.

    Raises:
        DataError: One does; its question is named.
    """
    keys = frozenset(question_hash(problem.question) for problem in shots)
    pool = Pool("example", tuple(shots), Counter(), tuple(shots), keys)
    _without_tests(pool, data, seed)
    shown = [problem for problem in shots if problem not in pool.problems]
    if shown:
        raise DataError(
            f"{len(shown)} of {len(shots)} solved examples cannot be shown ({listed(pool.dropped)}"
            f"), for example {shown[0].question[:80]!r}; choose another prompt.shot_source or "
            "another test set"
        )


def _without_tests(pool: Pool, data: DataConfig, seed: int) -> None:
    tests = read_tests(data, seed)
    pool.drop_test_questions(tests)
    pool.check_contamination(tests, "drop")
