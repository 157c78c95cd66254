"""Problems shared out to workers that may die; nothing here knows Ray.

Few problems are divided evenly, since a worker's batch runs empty at the end of each shard. Of many
each worker is given a shard, and another when it is done: large shards first, and small ones last,
so that all workers end together (guided self-scheduling, Polychronopoulos and Kuck 1987).
Completions come back while a shard is decoded. Of a worker that is lost, only what had not come is
asked again.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mathtune.errors import ModelError
from mathtune.generation.engine import Decoding
from mathtune.records import Completion, Prompt
from mathtune.text.counts import counted

log = logging.getLogger(__name__)

LEAST_COMPLETIONS = 64
"""Completions in the smallest shards: fewer leave a worker's batch half empty."""

EVEN_COMPLETIONS = 192
"""Where an even share has no more completions than this, each worker is given just that."""

MOST_LOSSES = 5
"""Workers lost one after the other, with no completion in between, before it is given up."""


@dataclass(frozen=True, slots=True)
class Came:
    """Completions that a worker sent."""

    worker: int
    completions: Sequence[Completion]


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker is done with its shard."""

    worker: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died, or its machine did."""

    worker: int
    why: str


class Workers(Protocol):
    """Numbered workers, each of which decodes one shard at a time."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def ask(self, worker: int, prompts: Sequence[Prompt], decoding: Decoding) -> None:
        """Let a worker decode a shard; returns at once."""
        ...

    def next_event(self) -> Came | Finished | Lost:
        """Return the next thing that happens, waiting for it.

        Raises:
            MathtuneError: The engine of a worker raised it; asking again would not help.
        """
        ...

    def replace(self, worker: int) -> None:
        """Start another worker in the place of one that was lost."""
        ...

    def stop(self) -> None:
        """End what is being decoded."""
        ...


def share_out(
    workers: Workers, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[Completion]:
    """Yield each completion once, as it comes.

    Raises:
        ModelError: ``MOST_LOSSES`` workers were lost one after the other.
        MathtuneError: As the engine of a worker raised it.
    """
    waiting = deque(prompts)
    held: dict[int, Sequence[Prompt]] = {}
    came: set[tuple[str, int]] = set()
    losses = 0

    def feed() -> None:
        for worker in range(workers.count):
            if waiting and worker not in held:
                size = shard_size(len(prompts), len(waiting), workers.count, decoding.samples)
                held[worker] = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                workers.ask(worker, held[worker], decoding)

    def is_missing(prompt: Prompt) -> bool:
        return any((prompt.problem_id, s) not in came for s in range(decoding.samples))

    try:
        feed()
        while held:
            event = workers.next_event()
            if isinstance(event, Came):
                losses = 0
                for completion in event.completions:
                    key = (completion.problem_id, completion.sample)
                    if key not in came:  # of a problem that is asked again, some may be here
                        came.add(key)
                        yield completion
                continue
            shard = held.pop(event.worker)
            if isinstance(event, Lost):
                losses += 1
                again = [prompt for prompt in shard if is_missing(prompt)]
                if losses >= MOST_LOSSES:
                    raise ModelError(
                        f"{losses} workers were lost one after the other, the last because "
                        f"{event.why}; the answers before are saved: give each worker more memory "
                        "(fewer workers, a smaller eval.batch_size), then start again"
                    )
                log.warning(
                    f"worker {event.worker} was lost ({event.why}); another takes its place, and "
                    f"{counted(len(again), 'problem')} of its {len(shard):,} are asked again"
                )
                waiting.extendleft(reversed(again))
                workers.replace(event.worker)
            feed()
    finally:
        if held:
            workers.stop()


def shard_size(total: int, waiting: int, workers: int, samples: int) -> int:
    """Return how many problems the next worker is given.

    Args:
        total: Problems in all.
        waiting: Problems that no worker has been given.
        workers: How many workers there are.
        samples: Completions per problem.
    """
    even = math.ceil(total / workers)
    if even * samples <= EVEN_COMPLETIONS:
        return even
    return max(1, LEAST_COMPLETIONS // samples, math.ceil(waiting / (2 * workers)))
