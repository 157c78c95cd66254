"""What a model would be asked, shown before anything is loaded or generated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mathtune.config.schema import EvalConfig
from mathtune.evaluation.measure import PromptRenderer, measured_decoding, settings
from mathtune.generation.engine import Decoding
from mathtune.records import ProblemSet
from mathtune.text.counts import counted

RULE = "-" * 80


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """One prompt: the problem's id, its text with every token visible, its number of tokens.

    The number is None where a server has the tokenizer.
    """

    problem_id: str
    text: str
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be asked on one set.

    Attributes:
        set: Its label.
        problems: How many problems.
        style: Name of the prompt style.
        shots: Ids of the solved problems shown before each question.
        tokens: The fewest and the most tokens that a prompt has; None where a server counts them.
        context: How many tokens the model's context holds, where that is known.
        decoding: As in the headline figures.
        calculator: The settings to measure, the headline's first.
        first: The first prompts.
    """

    set: str
    problems: int
    style: str
    shots: tuple[str, ...]
    tokens: tuple[int, int] | None
    context: int | None
    decoding: Decoding
    calculator: tuple[bool, ...]
    first: tuple[ShownPrompt, ...]

    def lines(self) -> Iterator[str]:
        """Yield the preview for people, prompts verbatim between rules."""
        lengths = "the server counts tokens"
        if self.tokens is not None:
            lengths = f"prompts of {self.tokens[0]:,} to {self.tokens[1]:,} tokens"
        yield f"set {self.set}: {counted(self.problems, 'problem')}, {lengths}"
        yield f"style {self.style}, {counted(len(self.shots), 'solved example')}" + (
            f": {' '.join(self.shots)}" if self.shots else ""
        )
        yield _decoding_text(self.decoding, self.calculator)
        if self.tokens is not None:
            context = "" if self.context is None else f"; the model's context has {self.context:,}"
            yield (
                f"the longest prompt with an answer of full length has "
                f"{self.tokens[1] + self.decoding.max_new_tokens:,} tokens{context}"
            )
        for number, prompt in enumerate(self.first, 1):
            length = "" if prompt.tokens is None else f", {prompt.tokens:,} tokens"
            yield f"prompt {number}, problem {prompt.problem_id}{length}:"
            yield RULE
            yield prompt.text
            yield RULE


def preview_set(
    renderer: PromptRenderer,
    test_set: ProblemSet,
    config: EvalConfig,
    *,
    context: int | None,
    seed: int,
    show: int = 2,
) -> Preview:
    """Render a set's prompts as an evaluation would, and keep the first ``show`` to look at."""
    prompts = [renderer.prompt(problem.question, problem.id) for problem in test_set.problems]
    lengths = [len(prompt.ids) for prompt in prompts if prompt.ids]
    return Preview(
        set=test_set.label,
        problems=len(prompts),
        style=renderer.style,
        shots=tuple(shot.id for shot in renderer.shots),
        tokens=(min(lengths), max(lengths)) if lengths else None,
        context=context,
        decoding=measured_decoding(config, renderer, calculator=config.calculator, seed=seed),
        calculator=settings(config),
        first=tuple(
            ShownPrompt(prompt.problem_id, renderer.visible(prompt), len(prompt.ids) or None)
            for prompt in prompts[:show]
        ),
    )


def _decoding_text(decoding: Decoding, calculator: tuple[bool, ...]) -> str:
    how = "greedy"
    if decoding.temperature > 0:
        how = (
            f"{decoding.samples} samples per problem at temperature {decoding.temperature:g}, "
            f"top-p {decoding.top_p:g}, seed {decoding.seed}"
        )
    stop = " or ".join(map(repr, decoding.stop)) or "the end of the text only"
    first, *then = ("on" if setting else "off" for setting in calculator)
    return (
        f"decoding: {how}, at most {decoding.max_new_tokens:,} new tokens, stopped by {stop}; "
        f"calculator {first}" + (f" for the headline, and {then[0]}" if then else "")
    )
