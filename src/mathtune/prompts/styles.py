"""What the text around a problem looks like: one ``Style`` per prompt format."""

from __future__ import annotations

from dataclasses import dataclass

from mathtune.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Style:
    """A prompt format without roles.

    The text is ``before + question + after``, and the solution follows after ``space``. The prompt
    carries no trailing space: tokenizers join a space to the word after it, so ``Answer: `` would
    be prompted with a token that never occurred in training.

    Attributes:
        name: As in ``prompt.style``.
        before: Text before the question.
        after: Text between the question and the solution.
        space: What separates ``after`` from the solution; part of the completion.
        stop: Strings that show that the model has gone on to another problem.
    """

    name: str
    before: str
    after: str
    space: str
    stop: tuple[str, ...]


# lm-evaluation-harness' gsm8k task (v3), prompt and stop strings verbatim.
QA = Style("qa", "Question: ", "\nAnswer:", " ", stop=("Question:", "</s>", "<|im_end|>"))

# lm-evaluation-harness' gsm8k_cot task (v3), prompt and stop strings verbatim.
COT = Style("cot", "Q: ", "\nA:", " ", stop=("Q:", "</s>", "<|im_end|>"))

# Stanford Alpaca's prompt without input.
INSTRUCT = Style(
    "instruct",
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n",
    "\n\n### Response:",
    "\n",
    stop=("### Instruction:",),
)

# The headings of the Gemma-2B on Orca-Math project.
ORCA = Style("orca", "### Question:\n", "\n\n### Answer:", "\n", stop=("### Question:",))

CHAT = "chat"
CHAT_STOP = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")

STYLES = {style.name: style for style in (QA, COT, INSTRUCT, ORCA)}


def stop_strings(name: str) -> tuple[str, ...]:
    """Return the stop strings of a style by name.

    Raises:
        ConfigError: If there is no such style.
    """
    if name == CHAT:
        return CHAT_STOP
    return style_of(name).stop


def style_of(name: str) -> Style:
    """Return a style by name.

    Raises:
        ConfigError: If there is no such style.
    """
    if name not in STYLES:
        known = [*STYLES, CHAT]
        raise ConfigError(
            f"prompt style {name!r} does not exist{did_you_mean(name, known) or '.'} "
            f"Known: {', '.join(known)}"
        )
    return STYLES[name]
