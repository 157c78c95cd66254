"""Splits and limits by content hash: no seed, the same in any order, stable when a file grows."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from mathtune.errors import DataError
from mathtune.records import Problem


def question_key(question: str) -> str:
    """Return what makes two questions the same: their text up to white space and case."""
    return " ".join(question.split()).casefold()


def question_hash(question: str, solution: str = "") -> int:
    """Return 128 bits that stand for ``question_key`` where ten million texts would not fit.

    With a solution, they stand for both; its white space does not count.
    """
    text = f"{question_key(question)}\x1f{' '.join(solution.split())}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest, "big")


def hash_share(text: str, salt: str) -> float:
    """Return a number in [0, 1) that depends on the text alone.

    Two salts give two unrelated numbers. Splitting and limiting need one each, or the first
    problems by hash would all be validation problems.
    """
    digest = hashlib.sha256(f"{salt}\x1f{text}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def hold_out(
    problems: Sequence[Problem], fraction: float
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Split into training and validation problems, both in their original order.

    A question is held out when its hash share is below ``fraction``, so it stays on its side
    whatever is added, removed or reordered; all solutions to one question share a side. If that
    would leave a side empty, the question with the lowest share goes to validation, or the one with
    the highest to training.

    Raises:
        DataError: There are fewer than two different questions.
    """
    # A share has 48 bits: two questions with the same one would only have to share a side.
    shares = array("d", (hash_share(_key(problem), "validation") for problem in problems))
    different = set(shares)
    if len(different) < 2:
        raise DataError(
            f"{len(different)} different training questions cannot be split into training and "
            "validation; add problems or name validation sources of their own (data.validation)"
        )
    lowest, highest = min(different), max(different)
    sides: tuple[list[Problem], list[Problem]] = [], []
    for problem, share in zip(problems, shares, strict=True):
        held = share == lowest or (share < fraction and share != highest)
        sides[held].append(problem)
    return tuple(sides[0]), tuple(sides[1])


def first_by_hash(
    problems: Sequence[Problem], limit: int | None, skip: int = 0
) -> tuple[Problem, ...]:
    """Return at most ``limit`` problems, the lowest by hash after ``skip``, in their first order.

    A larger limit keeps all problems of a smaller one. What one source limits itself to, another
    can skip.
    """
    if not skip and (limit is None or len(problems) <= limit):
        return tuple(problems)
    shares = array("d", (hash_share(problem.id, "limit") for problem in problems))
    ranks = sorted(range(len(problems)), key=shares.__getitem__)
    end = None if limit is None else skip + limit
    return tuple(problems[i] for i in sorted(ranks[skip:end]))


def mixture(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return how many problems to take of each source so that they keep their weights.

    It is the largest mixture that repeats none: the source that runs out first is used up, as in
    ``datasets.interleave_datasets`` with ``stopping_strategy="first_exhausted"``, but in exact
    proportions instead of drawn ones. Of a source that is not empty at least one is taken.
    """
    scale = min(size / weight for size, weight in zip(sizes, weights, strict=True))
    wanted = (max(1, round(scale * weight)) for weight in weights)
    return [min(size, want) for size, want in zip(sizes, wanted, strict=True)]


def _key(problem: Problem) -> str:
    return question_key(problem.question)
