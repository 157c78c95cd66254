"""From a recipe's ``data`` section to problems that train, choose and test; the one way in.

What is guaranteed, in this order:

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mathtune.errors import DataError
from mathtune.grading import grade
from mathtune.problems.contamination import overlap
from mathtune.problems.sources import Role, read_source
from mathtune.problems.splits import first_by_hash, hold_out, question_key
from mathtune.records import Problem, ProblemSet, Splits

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import DataConfig, SourceConfig

WINDOW = 13
"""Words in a window of the contamination check."""

SHORTEST = 8
"""A question shorter than a window counts where all its words are shared and are at least so
many: the lower bound of Brown et al. 2020, appendix C. Else ``What is 3 + 4?`` matches any sum."""

KEPT = "kept: "
"""Begins a reason in ``ProblemSet.dropped`` whose problems were counted and not dropped."""

_SHARES = f"shares {WINDOW} words with a test problem, numbers aside"


def load(data: DataConfig, *, seed: int = 42) -> Splits:
    """Read, check and split all problems of a recipe.

    Training problems come in the order of their sources. What a set lost on the way, and why, is
    counted in its ``dropped``.

    Args:
        data: The recipe's ``data`` section.
        seed: The recipe's seed; each generated source takes one of its own from it.

    Raises:
        DataError: A source cannot be used, a set ends up empty, or training problems overlap with
            test problems and ``data.contamination`` is ``error``.
    """
    tests = _read_tests(data, seed)
    train = _Pool.read("train", data.train, Role.TRAIN, seed)
    validation = _Pool.read("validation", data.validation, Role.VALIDATION, seed + 1000)
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
    """Read and check the test sets alone, for measuring a model that is not trained here.

    Raises:
        DataError: As ``load``.
    """
    return tuple(pool.finish(data.max_test_samples) for pool in _read_tests(data, seed))


def _read_tests(data: DataConfig, seed: int) -> list[_Pool]:
    tests = [
        _Pool.read(test.label, test.sources, Role.TEST, seed + 2000 + 100 * index)
        for index, test in enumerate(data.test)
    ]
    for pool in tests:
        pool.drop_repeated_questions()
        pool.check_not_empty()
    return tests


def summary_lines(splits: Splits) -> list[str]:
    """Return one line a set for the terminal: how many problems, and what was left out and why."""
    named = [("train", splits.train), ("validation", splits.validation)]
    named += [(f"test: {test.label}", test) for test in splits.test]
    return [
        f"{name}: {len(found):,} problems"
        + (f" (left out: {_listed(found.dropped)})" if found.dropped else "")
        for name, found in named
    ]


def describe(splits: Splits) -> dict[str, Any]:
    """Return what a manifest records: sizes, fingerprints, sources and what was dropped."""
    return {
        "train": _describe(splits.train),
        "validation": _describe(splits.validation),
        "test": [{"label": test.label, **_describe(test)} for test in splits.test],
    }


def _describe(found: ProblemSet) -> dict[str, Any]:
    dropped = {why: n for why, n in found.dropped.items() if not why.startswith(KEPT)}
    kept = {why: n for why, n in found.dropped.items() if why.startswith(KEPT)}
    return {
        "n": len(found),
        "fingerprint": found.fingerprint,
        "sources": list(dict.fromkeys(problem.source for problem in found.problems)),
        "dropped": dropped,
        **({"kept": kept} if kept else {}),
    }


@dataclass
class _Pool:
    """Problems of one role on their way to a ``ProblemSet``, with the count of what they lost."""

    label: str
    problems: tuple[Problem, ...]
    dropped: Counter[str]
    from_outside: tuple[Problem, ...]
    """All problems read that are not generated, before any limit: what is kept out of training."""
    questions: frozenset[str]
    """Keys of all questions read, before any limit."""

    @classmethod
    def read(cls, label: str, sources: Sequence[SourceConfig], role: Role, seed: int) -> _Pool:
        """Read sources one after the other; two generated ones of equal settings differ."""
        problems: list[Problem] = []
        everything: list[Problem] = []
        from_outside: list[Problem] = []
        dropped: Counter[str] = Counter()
        for index, source in enumerate(sources):
            loaded = read_source(source, role, seed + index)
            problems += first_by_hash(loaded.problems, source.limit)
            everything += loaded.problems
            from_outside += () if loaded.generated else loaded.problems
            dropped.update(loaded.dropped)
        keys = frozenset(question_key(problem.question) for problem in everything)
        return cls(label, tuple(problems), dropped, tuple(from_outside), keys)

    def drop_duplicates(self) -> None:
        """Drop what says nothing new; keep different solutions to one question, if they agree.

        Several solutions a question are what rejection sampling gives (Yuan et al. 2023).
        Arithmetic facts repeat by design: the generator draws small ones more often.
        """
        seen: set[tuple[str, str]] = set()
        golds: dict[str, str] = {}

        def reason(problem: Problem) -> str | None:
            if problem.source == "generated facts":
                return None
            question = question_key(problem.question)
            pair = (question, " ".join(problem.answer.split()))
            if pair in seen:
                return "duplicate"
            seen.add(pair)
            first = golds.setdefault(question, problem.gold) if problem.gold else ""
            if first != problem.gold and not grade(problem.answer, first).correct:
                return "same question with another final answer"
            return None

        self._drop(reason)

    def drop_repeated_questions(self) -> None:
        """Ask each question once, or its weight in a rate would be double."""
        seen: set[str] = set()

        def reason(problem: Problem) -> str | None:
            key = question_key(problem.question)
            if key in seen:
                return "duplicate question"
            seen.add(key)
            return None

        self._drop(reason)

    def drop_questions_of(self, other: _Pool, why: str) -> None:
        """Drop every problem whose question the other pool holds."""
        self._drop(
            lambda problem: why if question_key(problem.question) in other.questions else None
        )

    def drop_test_questions(self, tests: Sequence[_Pool]) -> None:
        """Drop every problem whose question is in a test set, also beyond that set's limit."""
        for test in tests:
            self.drop_questions_of(test, f"also in test set {test.label!r}")

    def check_contamination(self, tests: Sequence[_Pool], action: str) -> None:
        """Find problems that share a masked window with a test problem from outside, and act.

        Raises:
            DataError: There are some and ``action`` is ``error``.
        """
        questions = {test.id: test for pool in tests for test in pool.from_outside}
        found = {
            hit.train_id: hit
            for hit in overlap(self.problems, questions.values(), n=WINDOW)
            if len(hit.shared.split()) >= SHORTEST
        }
        if not found:
            return
        if action == "error":
            hit = next(iter(found.values()))
            raise DataError(
                f"{len(found):,} of {len(self.problems):,} {self.label} problems share {WINDOW} "
                f"words in a row with a test problem, numbers aside, for example {hit.shared!r} "
                f"(test: {questions[hit.test_id].question[:80]!r}); remove them, or set "
                "data.contamination=drop"
            )
        if action == "report":
            self.dropped[KEPT + _SHARES] = sum(problem.id in found for problem in self.problems)
            return
        self._drop(lambda problem: _SHARES if problem.id in found else None)

    def check_not_empty(self) -> None:
        """Raise DataError, with everything that was dropped, if no problem is left."""
        if not self.problems:
            raise DataError(
                f"no {self.label} problem is left; dropped: {_listed(self.dropped) or 'none'}. "
                "Name a source with other problems"
            )

    def finish(self, limit: int | None) -> ProblemSet:
        """Return the set, cut to ``limit``."""
        return ProblemSet(self.label, first_by_hash(self.problems, limit), dict(self.dropped))

    def _drop(self, reason: Callable[[Problem], str | None]) -> None:
        kept = []
        for problem in self.problems:
            why = reason(problem)
            if why is None:
                kept.append(problem)
            else:
                self.dropped[why] += 1
        self.problems = tuple(kept)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{why}: {count:,}" for why, count in counts.items())
