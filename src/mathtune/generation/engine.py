"""The protocol every engine follows: prompts in, completions out as they finish."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mathtune.errors import ConfigError
from mathtune.records import Completion, Prompt

UNKNOWN_TOKEN = -1
"""Placeholder in ``Completion.ids`` for tokens that were counted but not returned."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to decode. Two runs can be compared only if these are equal.

    Attributes:
        max_new_tokens: Limit on new tokens per completion, calculator insertions included.
        temperature: 0 is greedy.
        top_p: Nucleus sampling mass; 1 keeps the whole distribution.
        samples: Completions per problem.
        seed: Sampling seed. The same seed gives the same samples whatever the batch size.
        stop: Strings that end a completion; they are not part of its text.
        calculator: Insert the exact result after ``<<expression=`` (Cobbe et al. 2021, appendix B).
        stop_repetition: End a completion that repeats itself (``StopReason.REPETITION``); see
            ``mathtune.generation.repetition``. Only the hf engine can.
        logprobs: Also return the log-probability of each new token, under the model itself
            (temperature 1, no top-p).

    Raises:
        ConfigError: A value is outside its range; all such faults are reported at once.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()
    calculator: bool = False
    stop_repetition: bool = False
    logprobs: bool = False

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}; give 1 or more"
            for name in ("max_new_tokens", "samples")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.temperature < math.inf:
            faults.append(f"temperature is {self.temperature}; give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            faults.append(f"top_p is {self.top_p}; give more than 0 and at most 1")
        if isinstance(self.stop, str):
            faults.append(f"stop is the string {self.stop!r}; give a tuple of strings")
        elif "" in self.stop:
            faults.append("stop holds an empty string, which would end every completion at once")
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True, slots=True)
class StreamedCompletion:
    """A completion while it is written.

    Attributes:
        text: Its text so far, without what may turn out to be the beginning of a stop string.
        inserted: Where in the text the calculator wrote, as ``(start, end)`` in its order.
        completion: The completion, once it is complete; ``text`` is then its text.
    """

    text: str
    inserted: tuple[tuple[int, int], ...] = ()
    completion: Completion | None = None


class Engine(Protocol):
    """Anything that can continue prompts."""

    @property
    def name(self) -> str:
        """Short name for reports, for example ``"hf"``."""
        ...

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield ``len(prompts) * decoding.samples`` completions, each as soon as it is complete.

        The order is the engine's own; ``problem_id`` and ``sample`` identify each one.
        """
        ...


class StreamingEngine(Engine, Protocol):
    """An engine that shows a completion while it is written."""

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[StreamedCompletion]:
        """Yield one completion after each of its tokens, the whole one last.

        The tokens are those that ``generate`` returns for the prompt's first sample.
        """
        ...
