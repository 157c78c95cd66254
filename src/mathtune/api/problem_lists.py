"""Problems to look at: loaded, checked and split as in a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

from mathtune import config, problems
from mathtune.api.arguments import whole_number
from mathtune.api.display import data_frame, html_table
from mathtune.config.schema import Recipe
from mathtune.records import Problem, ProblemSet
from mathtune.text.counts import counted

if TYPE_CHECKING:
    import pandas

_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Problems(Sequence[Problem]):
    """A list of problems with a label.

    Attributes:
        label: Name of the set.
        items: The problems.
        dropped: How many rows were left out, by reason.
    """

    label: str
    items: tuple[Problem, ...]
    dropped: Mapping[str, int]

    @classmethod
    def of(cls, found: ProblemSet) -> Problems:
        """Wrap a set."""
        return cls(found.label, found.problems, found.dropped)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Problems: ...
    def __getitem__(self, index: int | slice) -> Problem | Problems:
        if isinstance(index, slice):
            return Problems(self.label, self.items[index], {})
        return self.items[index]

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per problem: ``question``, ``answer``, ``gold``, ``type``, …"""
        return data_frame(map(asdict, self.items))

    def __repr__(self) -> str:
        left_out = f", {sum(self.dropped.values()):,} left out" if self.dropped else ""
        return f"Problems({self.label!r}, {counted(len(self), 'problem')}{left_out})"

    def _repr_html_(self) -> str:
        rows = [(each.question, each.answer, each.gold) for each in self.items[:_SHOWN]]
        rest = len(self) - len(rows)
        title = repr(self) + (f"; the first {_SHOWN}" if rest else "")
        return html_table(title, ("question", "answer", "gold"), rows)


@dataclass(frozen=True)
class ProblemSplits:
    """What a recipe trains on, chooses the checkpoint by, and reports on.

    Attributes:
        train: Training problems.
        validation: Validation problems.
        test: Test sets; the first is the headline.
    """

    train: Problems
    validation: Problems
    test: tuple[Problems, ...]


@overload
def load_problems(source: Recipe, *, limit: int | None = None, seed: int = 42) -> ProblemSplits: ...
@overload
def load_problems(
    source: str | os.PathLike[str] | Mapping[str, Any], *, limit: int | None = None, seed: int = 42
) -> Problems: ...
def load_problems(
    source: Recipe | str | os.PathLike[str] | Mapping[str, Any],
    *,
    limit: int | None = None,
    seed: int = 42,
) -> ProblemSplits | Problems:
    """Load problems, each with a gold answer that the grader accepts.

    Args:
        source: A known set, hub id or file (``"gsm8k:test"``, ``"mine.jsonl"``), the settings of a
            source (``{"generated": "problems", "n": 100}``), or a recipe, whose problems are also
            split and checked for contamination.
        limit: Take at most this many, the first by content hash. For a recipe: of each split.
        seed: Seed of generated problems; a recipe has its own.

    Raises:
        DataError: The problems cannot be found, read or used.
        ConfigError: The source is not written correctly.
    """
    if limit is not None:
        limit = whole_number("limit", limit)
    seed = whole_number("seed", seed)
    limits = (
        {}
        if limit is None
        else dict.fromkeys(
            (f"data.max_{split}_samples" for split in ("train", "validation", "test")), limit
        )
    )
    if isinstance(source, Recipe):
        recipe = config.load(source, config.overrides_from_python(limits, {}))
        splits = problems.load(recipe.data, seed=recipe.seed)
        return ProblemSplits(
            Problems.of(splits.train),
            Problems.of(splits.validation),
            tuple(map(Problems.of, splits.test)),
        )
    named = os.fspath(source) if isinstance(source, os.PathLike) else source
    given = {**limits, "seed": seed, "data.test": [named]}
    recipe = config.load("gsm8k-eval", config.overrides_from_python(given, {}))
    return Problems.of(problems.load_tests(recipe.data, seed=seed)[0])
