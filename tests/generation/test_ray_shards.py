"""How problems are shared out to workers that die, without Ray: the workers are threads' stand-in.

Each worker is a real engine whose iterator is advanced one completion at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from log_for_tests import logged
from mathtune.errors import ModelError
from mathtune.generation.engine import Decoding
from mathtune.generation.ray.shards import Came, Finished, Lost, shard_size, share_out
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Completion, Prompt


class InTurn:
    """Workers that each make one completion in turn, and die where told.

    ``deaths`` are counts of completions after which the worker whose turn it is dies.
    """

    def __init__(self, count: int, answers: dict[str, list[str]], deaths: Sequence[int] = ()):
        self.count = count
        self._answers = answers
        self._deaths = list(deaths)
        self._running: dict[int, Iterator[Completion]] = {}
        self.made = 0
        self.shards: list[list[str]] = []
        self.replaced: list[int] = []
        self.stopped = False

    def ask(self, worker: int, prompts: Sequence[Prompt], decoding: Decoding) -> None:
        assert worker not in self._running, "a worker has one shard at a time"
        self.shards.append([prompt.problem_id for prompt in prompts])
        self._running[worker] = ScriptedEngine(self._answers).generate(prompts, decoding)

    def next_event(self) -> Came | Finished | Lost:
        worker = next(iter(self._running))
        if self._deaths and self.made >= self._deaths[0]:
            self._deaths.pop(0)
            del self._running[worker]
            return Lost(worker, "the test killed it")
        found = next(self._running[worker], None)
        if found is None:
            del self._running[worker]
            return Finished(worker)
        self.made += 1
        self._running[worker] = self._running.pop(worker)  # the others' turn
        return Came(worker, [found])

    def replace(self, worker: int) -> None:
        self.replaced.append(worker)

    def stop(self) -> None:
        self.stopped = True


def questions(n: int, samples: int = 1) -> tuple[list[Prompt], dict[str, list[str]]]:
    prompts = [Prompt(f"p{i}", f"question {i}", ()) for i in range(n)]
    return prompts, {p.problem_id: [f"{p.problem_id}.{s}" for s in range(samples)] for p in prompts}


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("deaths", [(), (0,), (5, 6, 50, 51, 90)])
def test_each_completion_comes_once_whoever_dies(samples, deaths):
    prompts, answers = questions(100, samples)
    workers = InTurn(3, answers, deaths)
    decoding = Decoding(samples=samples, temperature=1.0)
    found = list(share_out(workers, prompts, decoding))
    wanted = {(p.problem_id, s): f"{p.problem_id}.{s}" for p in prompts for s in range(samples)}
    assert {(c.problem_id, c.sample): c.text for c in found} == wanted
    assert len(found) == len(wanted)
    assert len(workers.replaced) == len(deaths)
    assert not workers.stopped


def test_of_a_lost_shard_only_what_is_missing_is_asked_again():
    prompts, answers = questions(64)
    workers = InTurn(1, answers, [10])
    with logged() as said:
        list(share_out(workers, prompts, Decoding()))
    assert workers.shards[0] == [f"p{i}" for i in range(64)]
    assert workers.shards[1] == [f"p{i}" for i in range(10, 64)]
    assert "worker 0 was lost (the test killed it)" in said.getvalue()
    assert "54 problems of its 64 are asked again" in said.getvalue()


def test_shards_are_large_first_and_small_last():
    prompts, answers = questions(1000)
    workers = InTurn(4, answers)
    list(share_out(workers, prompts, Decoding()))
    sizes = [len(shard) for shard in workers.shards]
    assert sizes[0] == 125 and sizes == sorted(sizes, reverse=True) and sum(sizes) == 1000
    assert min(sizes[:-1]) == 64
    assert shard_size(1000, 1000, 4, samples=16) == 125
    assert shard_size(1000, 2, 4, samples=16) == 4


def test_few_problems_are_divided_evenly():
    prompts, answers = questions(200)
    workers = InTurn(2, answers)
    list(share_out(workers, prompts, Decoding()))
    assert [len(shard) for shard in workers.shards] == [100, 100]
    assert shard_size(200, 200, 2, samples=16) == 50


def test_a_problem_that_kills_every_worker_ends_it():
    prompts, answers = questions(8)
    workers = InTurn(2, answers, [3] * 5)
    found = []
    with pytest.raises(ModelError, match=r"5 workers were lost one after the other.*saved"):
        found.extend(share_out(workers, prompts, Decoding()))
    assert workers.made == 3


def test_workers_are_stopped_when_the_reader_goes():
    prompts, answers = questions(8)
    workers = InTurn(2, answers)
    completions = share_out(workers, prompts, Decoding())
    next(completions)
    completions.close()
    assert workers.stopped
