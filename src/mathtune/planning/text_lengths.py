"""How many training examples there are and how long: counted where data and tokenizer are here.

Where they are not, each assumption made instead is reported in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.errors import DataError
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem

CHARACTERS_A_TOKEN = 3.0
"""For word problems and solutions; numbers are split into digits, so fewer than in prose."""

AROUND = 30
"""Characters of a prompt besides its question, without instructions."""

GSM8K_CHARACTERS = (124, 293, 344, 391, 436, 484, 537, 601, 680, 807, 1689)
"""Deciles of question and solution of GSM8K's training problems, shortest and longest included."""

QUESTION_SHARE = 0.45
"""The question's average share of these characters."""

PUBLISHED_SIZES = {"gsm8k": 7473, "gsm8k-socratic": 7473, "orca-math": 200_035}
"""Number of training problems in the known sets."""

TOKENISED = 20_000
"""At most this many problems are tokenised; the others are assumed to be like them."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """The training examples by length.

    Attributes:
        examples: All of them or a sample; assumed ones have only lengths and flags.
        count: How many there are.
        longest_known: Whether no example is longer than those in ``examples``.
        assumptions: What was assumed, one sentence each.
    """

    examples: tuple[Example, ...]
    count: int
    longest_known: bool
    assumptions: tuple[str, ...]


def lengths_of(
    recipe: Recipe, problems: Sequence[Problem], elsewhere: Sequence[str], tokenizer: Any | None
) -> Lengths:
    """Count the examples that are here and assume the rest.

    Args:
        recipe: Prompt style, what is supervised, ``max_length``.
        problems: Training problems on this machine.
        elsewhere: Names of the sources that are elsewhere.
        tokenizer: The model's, or None.

    Raises:
        DataError: If no example fits ``train.max_length``.
    """
    assumptions: list[str] = []
    sampled = problems[:: math.ceil(len(problems) / TOKENISED)] if problems else []
    if problems and tokenizer is not None:
        renderer = Renderer(
            tokenizer,
            recipe.prompt.style,
            system=recipe.prompt.system,
            completion_only=recipe.train.completion_only_loss,
        )
        examples = [renderer.example(problem) for problem in sampled]
    else:
        examples = [
            _assumed(len(problem.question), len(problem.answer), recipe) for problem in sampled
        ]
        if problems:
            assumptions.append(
                "the model's tokenizer is not on this machine: "
                f"{CHARACTERS_A_TOKEN:g} characters per token"
            )
    count = len(problems)
    for name in elsewhere:
        size = PUBLISHED_SIZES.get(name)
        count += size or PUBLISHED_SIZES["gsm8k"]
        examples += _like_gsm8k(recipe)
        assumptions.append(
            f"{name} is not on this machine: {size or PUBLISHED_SIZES['gsm8k']:,} problems"
            f"{'' if size else ' (a guess)'}, as long as GSM8K's"
            + ("" if name.startswith("gsm8k") else ", some of train.max_length tokens")
        )
    limit = recipe.train.max_length
    fitting = [example for example in examples if len(example.ids) <= limit]
    if not fitting:
        raise DataError(
            f"no training example fits train.max_length={limit} tokens; raise train.max_length to "
            f"{max(len(example.ids) for example in examples)}"
        )
    count = round(count * len(fitting) / len(examples))
    if recipe.data.max_train_samples is not None:
        count = min(count, recipe.data.max_train_samples)
    known = all(name.startswith("gsm8k") for name in elsewhere)
    return Lengths(tuple(fitting), count, known, tuple(assumptions))


def example_of(tokens: int, prompt: int, recipe: Recipe) -> Example:
    """Return an example without content."""
    supervised = [position >= prompt for position in range(tokens)]
    if not recipe.train.completion_only_loss or prompt >= tokens:
        supervised = [position > 0 for position in range(tokens)]
    return Example("", (0,) * tokens, tuple(supervised), prompt)


def _assumed(question: int, answer: int, recipe: Recipe) -> Example:
    prompt = math.ceil((question + AROUND) / CHARACTERS_A_TOKEN)
    return example_of(prompt + math.ceil(answer / CHARACTERS_A_TOKEN) + 1, prompt, recipe)


def _like_gsm8k(recipe: Recipe, number: int = 1000) -> list[Example]:
    """Return examples spread over GSM8K's lengths."""
    found = []
    for index in range(number):
        place = index / (number - 1) * (len(GSM8K_CHARACTERS) - 1)
        low = min(int(place), len(GSM8K_CHARACTERS) - 2)
        left, right = GSM8K_CHARACTERS[low : low + 2]
        characters = left + (right - left) * (place - low)
        question = round(QUESTION_SHARE * characters)
        found.append(_assumed(question, round(characters) - question, recipe))
    return found
