"""Problems of one role before they become a set: what is dropped, why, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mathtune.errors import DataError
from mathtune.grading import grade
from mathtune.problems.contamination import WindowIndex
from mathtune.problems.gold import KEPT
from mathtune.problems.reading import Role
from mathtune.problems.sources import read_source
from mathtune.problems.splits import first_by_hash, mixture, question_hash
from mathtune.records import Problem, ProblemSet

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import DataConfig, SourceConfig

WINDOW = 13
"""Words in a window of the contamination check."""

SHORTEST = 8
"""A question shorter than a window counts if all its words are shared and there are at least this
many: the lower bound of Brown et al. 2020, appendix C. Otherwise ``What is 3 + 4?`` matches any
sum."""

T = TypeVar("T")

_SHARES = f"shares {WINDOW} words with a test problem, ignoring numbers"


@dataclass
class Pool:
    """Problems of one role on their way to a ``ProblemSet``, with the count of what they lost."""

    label: str
    problems: tuple[Problem, ...]
    dropped: Counter[str]
    from_outside: tuple[Problem, ...]
    """All problems read that are not generated, before any limit: what is kept out of training."""
    questions: frozenset[int]
    """Hashes of all questions read, before any limit."""
    read_as: tuple[str, ...] = ()
    """How each source was read where its format was recognised."""

    @classmethod
    def read(cls, label: str, sources: Sequence[SourceConfig], role: Role, seed: int) -> Pool:
        """Read sources one after the other; two generated ones with equal settings differ.

        Raises:
            DataError: With every fault of every source.
        """
        everything: list[Problem] = []
        from_outside: list[Problem] = []
        dropped: Counter[str] = Counter()
        read_as: list[str] = []
        reads = [partial(read_source, source, role, seed + i) for i, source in enumerate(sources)]
        taken: list[tuple[Problem, ...]] = []
        for source, loaded in zip(sources, read_all(reads), strict=True):
            taken.append(first_by_hash(loaded.problems, source.limit, source.skip))
            unskipped = first_by_hash(loaded.problems, None, source.skip)
            everything += unskipped
            from_outside += () if loaded.generated else unskipped
            dropped.update(loaded.dropped)
            read_as += [loaded.read_as] if loaded.read_as else []
        weights = [source.weight for source in sources if source.weight is not None]
        if weights:  # the schema asks for all or none
            taken = mixed(taken, weights, dropped)
        problems = [problem for each in taken for problem in each]
        keys = frozenset(question_hash(problem.question) for problem in everything)
        outside = tuple(from_outside)
        return cls(label, tuple(problems), dropped, outside, keys, tuple(dict.fromkeys(read_as)))

    def drop_duplicates(self) -> None:
        """Drop duplicates; keep different solutions to one question if their answers agree.

        Several solutions per question are what rejection sampling gives (Yuan et al. 2023).
        Arithmetic facts repeat by design: the generator draws small ones more often.
        """
        seen: set[int] = set()
        golds: dict[int, str] = {}

        def reason(problem: Problem) -> str | None:
            if problem.source == "generated facts":
                return None
            pair = question_hash(problem.question, problem.answer)
            if pair in seen:
                return "duplicate"
            seen.add(pair)
            question = question_hash(problem.question)
            first = golds.setdefault(question, problem.gold) if problem.gold else ""
            if first != problem.gold and not grade(problem.answer, first).correct:
                return "same question with a different final answer"
            return None

        self.drop(reason)

    def drop_repeated_questions(self) -> None:
        """Keep each question once; twice would double its weight in a rate."""
        seen: set[int] = set()

        def reason(problem: Problem) -> str | None:
            key = question_hash(problem.question)
            if key in seen:
                return "duplicate question"
            seen.add(key)
            return None

        self.drop(reason)

    def drop_questions_of(self, other: Pool, why: str) -> None:
        """Drop every problem whose question the other pool holds."""
        self.drop(
            lambda problem: why if question_hash(problem.question) in other.questions else None
        )

    def drop_test_questions(self, tests: Sequence[Pool]) -> None:
        """Drop every problem whose question is in a test set, also beyond that set's limit."""
        for test in tests:
            self.drop_questions_of(test, f"also in test set {test.label!r}")

    def check_contamination(self, tests: Sequence[Pool], action: str) -> None:
        """Find problems that share a masked window with an outside test problem, and act on them.

        Raises:
            DataError: There are some and ``action`` is ``error``.
        """
        questions = {test.id: test for pool in tests for test in pool.from_outside}
        windows = WindowIndex(questions.values(), WINDOW)
        found: set[str] = set()
        example: tuple[str, str] | None = None
        for problem in self.problems:
            hit = windows.first(problem.question)
            if hit is not None and len(hit[1].split()) >= SHORTEST:
                found.add(problem.id)
                example = example or hit
        if example is None:
            return
        if action == "error":
            test_id, shared = example
            raise DataError(
                f"{len(found):,} of {len(self.problems):,} {self.label} problems share {WINDOW} "
                f"words in a row with a test problem, ignoring numbers, for example {shared!r} "
                f"(test: {questions[test_id].question[:80]!r}); remove them, or set "
                "data.contamination=drop"
            )
        if action == "report":
            self.dropped[KEPT + _SHARES] = sum(problem.id in found for problem in self.problems)
            return
        self.drop(lambda problem: _SHARES if problem.id in found else None)

    def check_not_empty(self) -> None:
        """Raise DataError, with everything that was dropped, if no problem is left."""
        if not self.problems:
            raise DataError(
                f"no {self.label} problem is left; dropped: {listed(self.dropped) or 'none'}. "
                "Name a source with other problems"
            )

    def finish(self, limit: int | None) -> ProblemSet:
        """Return the set, cut to ``limit``."""
        problems = first_by_hash(self.problems, limit)
        return ProblemSet(self.label, problems, dict(self.dropped), self.read_as)

    def drop(self, reason: Callable[[Problem], str | None]) -> None:
        """Drop and count every problem for which ``reason`` gives one."""
        kept = []
        for problem in self.problems:
            why = reason(problem)
            if why is None:
                kept.append(problem)
            else:
                self.dropped[why] += 1
        self.problems = tuple(kept)


def mixed(
    taken: Sequence[tuple[Problem, ...]], weights: Sequence[float], dropped: Counter[str]
) -> list[tuple[Problem, ...]]:
    """Cut sources to their weights, and count what is left out."""
    sizes = mixture([len(each) for each in taken], weights)
    mixed = [first_by_hash(each, size) for each, size in zip(taken, sizes, strict=True)]
    for number, (all_of_it, used) in enumerate(zip(taken, mixed, strict=True), start=1):
        if len(used) < len(all_of_it):
            name = all_of_it[0].source
            dropped[f"beyond the weight of source {number} ({name})"] += len(all_of_it) - len(used)
    return mixed


def read_tests(data: DataConfig, seed: int) -> list[Pool]:
    """Read a recipe's complete test sets, each question once."""
    return read_all(test_readers(data, seed))


def test_readers(data: DataConfig, seed: int) -> list[Callable[[], Pool]]:
    """Return a reader for each test set of a recipe."""

    def read(label: str, sources: Sequence[SourceConfig], seed: int) -> Pool:
        pool = Pool.read(label, sources, Role.TEST, seed)
        pool.drop_repeated_questions()
        pool.check_not_empty()
        return pool

    return [
        partial(read, test.label, test.sources, seed + 2000 + 100 * index)
        for index, test in enumerate(data.test)
    ]


def read_all(readers: Iterable[Callable[[], T]]) -> list[T]:
    """Call every reader, even if one before it fails.

    Raises:
        DataError: With the faults of all of them.
    """
    found: list[T] = []
    faults: list[str] = []
    for read in readers:
        try:
            found.append(read())
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(list(dict.fromkeys(faults)))
    return found


def listed(counts: Mapping[str, int]) -> str:
    """Return counts as ``why: 3, other: 1``."""
    return ", ".join(f"{why}: {count:,}" for why, count in counts.items())
