"""What a recipe would train on, token by token, before anything is trained.

What Axolotl's ``preprocess --debug`` shows: whole examples as the model sees them, which tokens are
supervised, how long examples are, and what is left out and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mathtune import problems, progress, prompts
from mathtune.config.schema import Recipe
from mathtune.records import Problem, ProblemSet, RenderedExample, Splits

BINS = 12
"""Bars of the histogram, at most."""


@dataclass(frozen=True, slots=True)
class ShownToken:
    """One token.

    Attributes:
        id: Its id.
        text: What it stands for; the texts of an example joined are the whole text with its special
            tokens. ``""`` for the later tokens of one character.
        supervised: Whether it is a training target.
        special: Whether it is a special token, such as BOS, EOS or a chat template's.
    """

    id: int
    text: str
    supervised: bool
    special: bool


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One training example as the model sees it.

    Attributes:
        problem_id: Its problem.
        source: Where the problem came from.
        gold: The final answer.
        tokens: Its tokens.
        prompt_tokens: The first so many are what the model is prompted with later.
        targets: How many tokens are supervised.
        fits: Whether it has at most ``train.max_length`` tokens; otherwise it is left out.
    """

    problem_id: str
    source: str
    gold: str
    tokens: tuple[ShownToken, ...]
    prompt_tokens: int
    targets: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of all training examples in tokens.

    Attributes:
        least: The shortest.
        median: Half are at most this long.
        p95: 95 % are at most this long.
        most: The longest.
        bins: ``(from, to, examples)``, both ends included.
        targets: Share of the tokens that are supervised.
    """

    least: int
    median: int
    p95: int
    most: int
    bins: tuple[tuple[int, int, int], ...]
    targets: float


@dataclass(frozen=True, slots=True)
class SetPreview:
    """One set after loading: its size, and what was left out or only noted, by reason."""

    label: str
    problems: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DataPreview:
    """What a recipe would train on.

    Attributes:
        recipe: Its name.
        model: Whose tokenizer was used.
        style: Prompt style.
        objective: ``train.objective``; only ``sft`` trains on the solutions shown.
        read_as: How each source's columns were read.
        sets: Training, validation and test sets.
        sources: Source → training problems from it.
        max_length: ``train.max_length``.
        too_long: Training examples with more tokens, which are left out, or refused with
            ``train.overlong=error``.
        unknown: Training examples with characters that the tokenizer does not know.
        lengths: Of the training examples.
        examples: The first ones.
    """

    recipe: str
    model: str
    style: str
    objective: str
    read_as: tuple[str, ...]
    sets: tuple[SetPreview, ...]
    sources: Mapping[str, int]
    max_length: int
    too_long: int
    unknown: int
    lengths: Lengths
    examples: tuple[ShownExample, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def data_preview(recipe: Recipe, *, show: int = 3) -> DataPreview:
    """Load a recipe's problems, render every training example, and keep the first ``show``.

    Raises:
        DataError: As ``mathtune.problems.load``.
        ModelError: The tokenizer cannot be loaded, or cannot render the prompt style.
    """
    splits = problems.load(recipe.data, seed=recipe.seed)
    tokenizer = _tokenizer(recipe, splits.train.problems)
    renderer = prompts.Renderer(
        tokenizer,
        recipe.prompt.style,
        system=recipe.prompt.system,
        completion_only=recipe.train.completion_only_loss,
    )
    lengths, targets, unknown = [], 0, 0
    shown: list[ShownExample] = []
    with progress.bar("rendering examples", len(splits.train)) as bar:
        for number, problem in enumerate(splits.train.problems, start=1):
            rendered = renderer.rendered(problem)
            example = rendered.example
            lengths.append(len(example.ids))
            targets += example.targets
            fits = len(example.ids) <= recipe.train.max_length
            unknown += fits and renderer.unknown([example])
            if len(shown) < show:
                shown.append(shown_example(problem, rendered, tokenizer, fits=fits))
            bar.update(number)
    return DataPreview(
        recipe=recipe.name,
        model=recipe.model.name_or_path or "a tokenizer trained on the data",
        style=recipe.prompt.style,
        objective=recipe.train.objective,
        read_as=splits.train.read_as,
        sets=tuple(_sets(splits)),
        sources=_sources(splits.train.problems),
        max_length=recipe.train.max_length,
        too_long=sum(length > recipe.train.max_length for length in lengths),
        unknown=unknown,
        lengths=_lengths(lengths, targets),
        examples=tuple(shown),
    )


def _tokenizer(recipe: Recipe, texts: Sequence[Problem]) -> Any:
    from mathtune.models.loading import load_tokenizer
    from mathtune.models.train_tokenizer import train_tokenizer, training_texts

    model = recipe.model
    if model.train_tokenizer is not None:
        return train_tokenizer(training_texts(texts), model.train_tokenizer)
    return load_tokenizer(model.name_or_path or "", model.revision, trust=model.trust_remote_code)


def shown_example(
    problem: Problem, rendered: RenderedExample, tokenizer: Any, *, fits: bool
) -> ShownExample:
    """Return an example token by token.

    Args:
        problem: The problem.
        rendered: What became of it.
        tokenizer: The renderer's.
        fits: Whether ``train.max_length`` has room for it.
    """
    example = rendered.example
    special = set(tokenizer.all_special_ids)
    tokens, reached = [], 0
    for index, (token, (low, high)) in enumerate(zip(example.ids, rendered.offsets, strict=True)):
        if low == high:  # BOS or EOS, which the text does not show
            text = str(tokenizer.convert_ids_to_tokens(token))
        else:  # a character of several tokens is shown with the first
            text = rendered.text[reached:high] if high > reached else ""
            reached = max(reached, high)
        supervised = example.supervised[index] and index > 0
        tokens.append(ShownToken(token, text, supervised, token in special))
    return ShownExample(
        problem.id,
        problem.source,
        problem.gold,
        tuple(tokens),
        example.prompt_tokens,
        example.targets,
        fits,
    )


def _lengths(lengths: Sequence[int], targets: int) -> Lengths:
    ordered = np.sort(np.array(lengths))
    low, high = int(ordered[0]), int(ordered[-1])
    width = max(1, -(-(high - low + 1) // BINS))
    starts = range(low, high + 1, width)
    bins = tuple(
        (start, start + width - 1, int(((ordered >= start) & (ordered < start + width)).sum()))
        for start in starts
    )
    return Lengths(
        low,
        int(ordered[(len(ordered) - 1) // 2]),
        int(ordered[int(np.ceil(0.95 * len(ordered))) - 1]),
        high,
        bins,
        targets / int(ordered.sum()),
    )


def _sets(splits: Splits) -> list[SetPreview]:
    def of(label: str, found: ProblemSet) -> SetPreview:
        return SetPreview(label, len(found), dict(found.dropped))

    tests = [of(f"test: {test.label}", test) for test in splits.test]
    return [of("train", splits.train), of("validation", splits.validation), *tests]


def _sources(train: Sequence[Problem]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for problem in train:
        counts[problem.source] = counts.get(problem.source, 0) + 1
    return counts
