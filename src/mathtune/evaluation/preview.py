"""What a model would be asked, shown before anything is loaded or generated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mathtune.config.schema import EvalConfig
from mathtune.evaluation.measure import measured_decoding
from mathtune.generation.engine import Decoding
from mathtune.prompts.render import Renderer
from mathtune.records import ProblemSet

RULE = "-" * 80


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """One prompt: the problem's id, its text with every token visible, its number of tokens."""

    problem_id: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be asked on one set.

    Attributes:
        set: Its label.
        problems: How many problems.
        style: Name of the prompt style.
        shots: Ids of the solved problems shown before each question.
        tokens: The fewest and the most tokens that a prompt has.
        context: How many tokens the model's context holds, where that is known.
        decoding: As in the headline figures.
        first: The first prompts.
    """

    set: str
    problems: int
    style: str
    shots: tuple[str, ...]
    tokens: tuple[int, int]
    context: int | None
    decoding: Decoding
    first: tuple[ShownPrompt, ...]

    def lines(self) -> Iterator[str]:
        """Yield the preview for people, the prompts between rules and to the letter."""
        low, high = self.tokens
        yield f"set {self.set}: {self.problems:,} problems, prompts of {low:,} to {high:,} tokens"
        yield f"style {self.style}, {len(self.shots)} solved examples" + (
            f": {' '.join(self.shots)}" if self.shots else ""
        )
        yield _in_words(self.decoding)
        context = "" if self.context is None else f"; the model's context has {self.context:,}"
        yield (
            f"the longest prompt with an answer of full length has "
            f"{high + self.decoding.max_new_tokens:,} tokens{context}"
        )
        for number, prompt in enumerate(self.first, 1):
            yield f"prompt {number}, problem {prompt.problem_id}, {prompt.tokens:,} tokens:"
            yield RULE
            yield prompt.text
            yield RULE


def preview_set(
    renderer: Renderer,
    test_set: ProblemSet,
    config: EvalConfig,
    *,
    context: int | None,
    seed: int,
    show: int = 2,
) -> Preview:
    """Render a set's prompts as an evaluation would, and keep the first ``show`` to look at."""
    prompts = [renderer.prompt(problem.question, problem.id) for problem in test_set.problems]
    lengths = [len(prompt.ids) for prompt in prompts]
    return Preview(
        set=test_set.label,
        problems=len(prompts),
        style=renderer.style,
        shots=tuple(shot.id for shot in renderer.shots),
        tokens=(min(lengths), max(lengths)),
        context=context,
        decoding=measured_decoding(config, renderer, calculator=config.calculator, seed=seed),
        first=tuple(
            ShownPrompt(prompt.problem_id, renderer.visible(prompt), len(prompt.ids))
            for prompt in prompts[:show]
        ),
    )


def _in_words(decoding: Decoding) -> str:
    how = "greedy"
    if decoding.temperature > 0:
        how = (
            f"{decoding.samples} samples a problem at temperature {decoding.temperature:g}, "
            f"top-p {decoding.top_p:g}, seed {decoding.seed}"
        )
    stop = " or ".join(map(repr, decoding.stop)) or "nothing but the end"
    first, then = ("on", "off") if decoding.calculator else ("off", "on")
    return (
        f"decoding: {how}, at most {decoding.max_new_tokens:,} new tokens, stopped by {stop}; "
        f"calculator {first} for the headline, then {then}"
    )
