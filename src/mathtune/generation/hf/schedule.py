"""Which completion takes which row and when, and what all prompts share."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mathtune.records import Prompt

MIN_SHARED = 16
"""Merging two attentions costs more than a prefix shorter than this saves."""

MIN_SAMPLES = 4
"""So many samples of a prompt make it worth storing once for all of them."""


class Task(NamedTuple):
    """One completion to make: the index of its prompt, and its sample number."""

    prompt: int
    sample: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What starts in one step; rows are filled in this order after the running ones.

    Attributes:
        starts: Tasks whose prompt is computed in this step.
        copies: Further samples of a prompt that is already computed, each with the row to copy.
        keep: The row to copy to the spare row afterwards, because samples of it are still waiting.
    """

    starts: tuple[Task, ...]
    copies: tuple[tuple[Task, int], ...]
    keep: int | None


class Scheduler:
    """Hands out tasks, longest prompt first, so that no long one runs alone at the end.

    The samples of a prompt follow each other, so at most one prompt at a time has some samples
    started and some waiting. That one is kept in a spare row, number ``rows``.

    Args:
        lengths: Tokens to compute for each prompt.
        samples: Completions per prompt.
        rows: Number of rows.
        prefill_tokens: Most prompt tokens to compute in a step; one prompt may always start.
    """

    def __init__(
        self, lengths: Sequence[int], samples: int, rows: int, prefill_tokens: int
    ) -> None:
        self._lengths, self._rows, self._prefill_tokens = lengths, rows, prefill_tokens
        order = sorted(range(len(lengths)), key=lambda prompt: -lengths[prompt])
        self._waiting = deque(Task(prompt, sample) for prompt in order for sample in range(samples))
        self._spare: int | None = None  # the prompt in the spare row

    def __bool__(self) -> bool:
        """Return whether tasks are waiting."""
        return bool(self._waiting)

    def admit(self, running: int) -> Admission:
        """Take as many tasks as free rows and prefill tokens allow."""
        starts: list[Task] = []
        copied: list[Task] = []
        sources: list[int] = []
        fed = 0
        while self._waiting and running + len(starts) + len(copied) < self._rows:
            task = self._waiting[0]
            if starts and starts[-1].prompt == task.prompt:
                copied.append(task)
                sources.append(running + len(starts) - 1)
            elif self._spare == task.prompt:
                copied.append(task)
                sources.append(self._rows)
            else:
                fed += self._lengths[task.prompt]
                if starts and fed > self._prefill_tokens:
                    break
                starts.append(task)
            self._waiting.popleft()
        keep = None
        if starts and self._waiting and self._waiting[0].prompt == starts[-1].prompt:
            keep, self._spare = running + len(starts) - 1, starts[-1].prompt
        return Admission(tuple(starts), tuple(zip(copied, sources, strict=True)), keep)


def shared_prefix(prompts: Sequence[Prompt]) -> int:
    """Return how many leading ids of all prompts to compute once, leaving each at least one.

    0 where fewer than ``MIN_SHARED`` are shared.
    """
    low, high = min(p.ids for p in prompts), max(p.ids for p in prompts)
    most = min(len(prompt.ids) for prompt in prompts) - 1
    # The lexicographically first and last prompts differ wherever any two do.
    shared = next((i for i in range(most) if low[i] != high[i]), most)
    return shared if shared >= MIN_SHARED else 0


def worth_sharing(lengths: Sequence[int], samples: int) -> bool:
    """Return whether to store each prompt once for all its samples.

    Args:
        lengths: Tokens of each prompt after the prefix of all.
        samples: Completions per prompt.
    """
    return samples >= MIN_SAMPLES and sum(lengths) >= MIN_SHARED * len(lengths)
