"""Ray actors as workers, on a cluster or on this machine.

``RAY_ADDRESS`` names a cluster, as for Ray itself (``auto``: the one that ``ray start`` started
here). Without it Ray is started for this process alone: on the loopback interface, without
dashboard and usage statistics, and it ends with the process.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mathtune.errors import MathtuneError, ModelError
from mathtune.generation.engine import Decoding, Engine
from mathtune.generation.ray.shards import Came, Finished, Lost
from mathtune.records import Completion, Prompt
from mathtune.text.counts import counted

log = logging.getLogger(__name__)

SECONDS_HELD_BACK = 0.5
"""A worker sends what it has after this time: the most that its loss costs."""
MOST_AT_ONCE = 64
"""Completions in one message."""
MOST_UNREAD = 8
"""Messages that a worker may be ahead of the reader before it waits (back-pressure)."""


ALONE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 256 * 2**20}
"""How Ray is started for this process; messages are small."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where workers go.

    Attributes:
        workers: How many; None is as many as there is room for, one per problem at most.
        num_cpus: Processor cores of each; its threads, too.
        num_gpus: GPUs of each; None is ``gpus_if_any`` where the cluster has GPUs, else none.
        gpus_if_any: See there.
    """

    workers: int | None = None
    num_cpus: float = 1.0
    num_gpus: float | None = None
    gpus_if_any: int = 1


@dataclass
class RayWorkers:
    """Numbered Ray actors (``shards.Workers``).

    Raises:
        ModelError: Ray is not installed, no cluster answers, or it has no room for one worker.
    """

    load: Callable[[], Engine]
    placement: Placement
    count: int = 0
    _ray: Any = None
    _num_gpus: float = 0.0
    _actors: dict[int, Any] = field(default_factory=dict)
    _streams: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ray = connect()
        place, total = self.placement, self._ray.cluster_resources()
        gpus = total.get("GPU", 0.0)
        self._num_gpus = place.num_gpus if place.num_gpus is not None else (
            float(place.gpus_if_any) if gpus else 0.0
        )  # fmt: skip
        rooms = [total.get("CPU", 0.0) / place.num_cpus] if place.num_cpus else []
        rooms += [gpus / self._num_gpus] if self._num_gpus else []
        room = math.floor(min(rooms, default=1.0) + 1e-9)
        needs = f"{place.num_cpus:g} CPUs and {self._num_gpus:g} GPUs each"
        self.count = place.workers or room
        if not 0 < self.count <= room:
            raise ModelError(
                f"{counted(max(1, self.count), 'worker')} with {needs} do not fit: the Ray cluster "
                f"has {total.get('CPU', 0.0):g} CPUs and {gpus:g} GPUs, room for {room}; set "
                "eval.workers, eval.num_cpus or eval.num_gpus lower"
            )
        log.info(f"Ray: {counted(self.count, 'worker')} with {needs}")

    def ask(self, worker: int, prompts: Sequence[Prompt], decoding: Decoding) -> None:
        """Let a worker decode a shard."""
        if worker not in self._actors:
            self._actors[worker] = self._start()
        method = self._actors[worker].generate.options(
            num_returns="streaming", _generator_backpressure_num_objects=MOST_UNREAD
        )
        self._streams[worker] = method.remote(list(prompts), decoding)

    def next_event(self) -> Came | Finished | Lost:
        """Return the next message, end or loss of any worker."""
        numbers = {stream: worker for worker, stream in self._streams.items()}
        ready, _ = self._ray.wait(list(numbers), num_returns=1)
        worker = numbers[ready[0]]
        try:
            completions, remarks = self._ray.get(next(ready[0]))
        except StopIteration:
            del self._streams[worker]
            return Finished(worker)
        except self._ray.exceptions.RayTaskError as error:
            del self._streams[worker]
            if isinstance(error.cause, MathtuneError):
                raise error.cause from None
            raise ModelError(
                f"worker {worker} failed: {error.cause!r}; the answers before are saved"
            ) from error
        except self._ray.exceptions.RayError as error:
            del self._streams[worker]
            return Lost(worker, _reason(error))
        for level, remark in remarks:
            log.log(level, f"worker {worker}: {remark}")
        return Came(worker, completions)

    def replace(self, worker: int) -> None:
        """Forget an actor that was lost; the next shard starts another."""
        self._actors.pop(worker, None)

    def stop(self) -> None:
        """End the actors in the middle of a shard."""
        for worker in list(self._streams):
            del self._streams[worker]
            self._ray.kill(self._actors.pop(worker))

    def _start(self) -> Any:
        return (
            self._ray.remote(Worker)
            .options(num_cpus=self.placement.num_cpus, num_gpus=self._num_gpus, max_restarts=0)
            .remote(self.load)
        )


class Worker:
    """What runs in an actor: an engine, loaded by the first shard."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._engine: Engine | None = None

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding
    ) -> Iterator[tuple[list[Completion], list[tuple[int, str]]]]:
        """Yield completions, several at a time, with what was logged meanwhile."""
        remarks = _Remarks()
        logger = logging.getLogger("mathtune")
        logger.addHandler(remarks)
        try:
            if self._engine is None:
                self._engine = self._load()
            found: list[Completion] = []
            sent = time.monotonic()
            for completion in self._engine.generate(prompts, decoding):
                found.append(completion)
                now = time.monotonic()
                if len(found) >= MOST_AT_ONCE or now - sent >= SECONDS_HELD_BACK:
                    yield found, remarks.taken()
                    found, sent = [], now
            yield found, remarks.taken()
        finally:
            logger.removeHandler(remarks)


class _Remarks(logging.Handler):
    """Keeps warnings, which a worker can show to nobody."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._kept.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        """Return the messages since the last call."""
        kept, self._kept = self._kept, []
        return kept


def connect() -> Any:
    """Return the ``ray`` module, connected.

    Raises:
        ModelError: It is not installed, or no cluster answers.
    """
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:  # as on macOS: no other machine can be added, so all listen on loopback only
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15: other processes come first
    try:
        import ray
    except ImportError as error:
        raise ModelError(
            f"the ray engine needs the package ray, which cannot be imported ({error}); "
            "'pip install mathtune[ray]', or use the hf engine"
        ) from error
    if ray.is_initialized():
        return ray
    try:
        ray.init(
            address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else ALONE),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = (
            f"no Ray cluster answers at RAY_ADDRESS={address}" if address else "Ray did not start"
        )
        raise ModelError(
            f"{where} ({error}); start one with 'ray start --head', correct RAY_ADDRESS, or unset "
            "it to use this machine alone"
        ) from error
    return ray


def _reason(error: Exception) -> str:
    """Return the first line of Ray's message, which goes on for many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
