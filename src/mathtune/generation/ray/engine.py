"""The engine that decodes on the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mathtune.generation.engine import Decoding, Engine
from mathtune.generation.ray.shards import share_out
from mathtune.generation.ray.workers import Placement, RayWorkers
from mathtune.records import Completion, Prompt


class RayEngine:
    """Shares problems out to Ray actors that each hold an engine.

    Workers are started by the first ``generate``, and stay for the next. A completion is the one
    that a single process would have made: greedy decoding up to rounding (matrix products round
    differently for other batches), sampling by the seed of each problem and sample.

    Args:
        load: Makes a worker's engine there; pickled, so a function of a module or a ``partial``.
        placement: How many workers, and what each of them needs.
    """

    name = "ray"

    def __init__(self, load: Callable[[], Engine], placement: Placement) -> None:
        self._load = load
        self._placement = placement
        self._workers: RayWorkers | None = None

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield ``len(prompts) * decoding.samples`` completions as they come.

        Raises:
            ModelError: Ray is not installed, no cluster answers, the model cannot be loaded, or
                workers are lost again and again.
        """
        if not prompts:
            return iter(())
        if self._workers is None:
            self._workers = RayWorkers(self._load, self._placement)
        return share_out(self._workers, prompts, decoding)
