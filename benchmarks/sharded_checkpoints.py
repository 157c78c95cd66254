"""Memory of a rank, and seconds, while an FSDP2 training's model is loaded, saved and resumed.

    python benchmarks/sharded_checkpoints.py                # 4 gloo ranks, 160 MB of weights
    python benchmarks/sharded_checkpoints.py --ranks 2 --mb 320 --shard-size 2

A Llama with random float32 weights is saved; then ranks are forked, which do with mathtune's own
code what ``mathtune train`` does: build the model without weights, shard it, read each rank's part,
take one AdamW step, save a checkpoint in shares, and read it back into a new model. Memory is the
process's anonymous memory (``RssAnon``, what it holds itself; pages of files that it reads do not
count), sampled every millisecond: its peak in a phase above what it was at the phase's beginning,
as a multiple of the share of this rank (weights, or weights with both moments). Only its largest
share in the ranks is printed. ``whole`` is what was done before: each rank loads the whole model,
and rank 0 gathers weights and optimiser state.

Prints one JSON line a phase. ``seconds`` is wall-clock time; of ``save``, ``blocked_seconds`` is
the part in which training cannot go on.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def anonymous_memory() -> int:
    """Return the bytes of memory that belong to this process alone."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell RssAnon")


class Phases:
    """Measures phases of the work, one after another.

    Attributes:
        results: Name of a phase → extra bytes at its peak, seconds, and bytes of the share.
    """

    def __init__(self) -> None:
        self.results: dict[str, dict[str, float]] = {}

    @contextmanager
    def measure(self, name: str, share: int) -> Iterator[dict[str, float]]:
        """Measure what the block takes, against a share of so many bytes."""
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        before = anonymous_memory()
        peak, done = [before], threading.Event()

        def sample() -> None:
            while not done.wait(0.001):
                peak[0] = max(peak[0], anonymous_memory())

        sampler = threading.Thread(target=sample)
        sampler.start()
        began = time.perf_counter()
        result: dict[str, float] = {}
        try:
            yield result
        finally:
            seconds = time.perf_counter() - began
            done.set()
            sampler.join()
        extra = max(peak[0], anonymous_memory()) - before
        self.results[name] = result | {
            "extra_bytes": extra,
            "share_bytes": share,
            "times_share": extra / share,
            "seconds": seconds,
        }


def save_llama(folder: Path, mb: int) -> int:
    """Save a Llama of about so many MB of float32 weights; return its number of weights."""
    from shapes import llama

    hidden, layers = 512, max(1, round((mb * 2**20 / 4 - 2 * 8192 * 512) / 3.2e6))
    sizes = {"vocab_size": 8192, "hidden_size": hidden, "intermediate_size": 1408, "layers": layers}
    model = llama(sizes).float()
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def work(place: Path, weights: int, whole: bool) -> dict[str, dict[str, float]]:
    """Do it all on this rank; return what each phase took."""
    import torch
    from transformers import AutoModelForCausalLM, TrainingArguments

    from mathtune import config, ranks
    from mathtune.models.compute import Compute
    from mathtune.models.sharded import build_without_weights
    from mathtune.training.accelerator import make_accelerator
    from mathtune.training.checkpointing import fsdp_state, sharded

    torch.set_num_threads(1)
    ranks.group()
    arguments = TrainingArguments(str(place), use_cpu=True, report_to="none")
    compute = Compute("cpu", "CPU", torch.float32, False, "as asked")
    phases = Phases()

    def load(name: str) -> Any:
        recipe = config.load("demo", [f"model={place / name}"])
        model = None if whole else build_without_weights(recipe.model, compute)
        model = AutoModelForCausalLM.from_pretrained(place / name) if model is None else model
        return make_accelerator(recipe, arguments, model)[1]

    def step(model: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        optimizer.zero_grad()
        return optimizer

    step(load("warm-up"))  # imports, and the libraries' own caches
    group = int(os.environ.get("PARALLELISM_CONFIG_DP_SHARD_SIZE", ranks.world_size()))
    share = 4 * weights // group
    with phases.measure("load", share):
        model = load("model")
    optimizer = step(model)
    checkpoint = place / ("whole" if whole else "shares")
    checkpoint.mkdir(exist_ok=True)
    with phases.measure("save", 3 * share) as result:
        began = time.perf_counter()
        if whole:
            state = (fsdp_state.whole_weights(model), fsdp_state.whole_optimizer(optimizer))
            if ranks.is_first():
                torch.save(state, checkpoint / "all.pt")
            result["blocked_seconds"] = time.perf_counter() - began
            del state
        else:
            pending = sharded.begin_saving(model, optimizer, checkpoint, lambda: None)
            result["blocked_seconds"] = time.perf_counter() - began
            pending.result()
    kept = [weight.detach().to_local().clone() for weight in model.parameters()]
    moments = [optimizer.state[weight]["exp_avg"].to_local().sum() for weight in model.parameters()]
    if not whole:
        del model, optimizer
        with phases.measure("resume", 3 * share):
            fresh = load("model")
            empty = torch.optim.AdamW(fresh.parameters(), lr=1e-3)
            sharded.load_weights(fresh, checkpoint)
            sharded.load_optimizer(empty, fresh, checkpoint)
        assert all(
            torch.equal(a, b.to_local()) for a, b in zip(kept, fresh.parameters(), strict=True)
        )
        found = [empty.state[weight]["exp_avg"].to_local().sum() for weight in fresh.parameters()]
        assert moments == found
        model = fresh
    with phases.measure("model", share):
        fsdp_state.write_whole_weights(model, checkpoint)
    ranks.part()
    return phases.results


def _rank(environment: dict[str, str], *arguments: Any) -> None:
    os.environ.update(environment)
    *rest, queue = arguments
    from mathtune import ranks

    size = int(environment["SHARD_SIZE"])
    how = "hybrid_shard" if size else "full_shard"
    ranks.use_fsdp(how, "SHARDED_STATE_DICT", size or None)
    queue.put(work(*rest))


def measure(count: int, mb: int, shard_size: int = 0, *, whole: bool = False) -> dict[str, Any]:
    """Fork so many ranks; return each phase's results on the rank where memory grew most."""
    import mathtune.training.run  # noqa: F401 - before forking

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        weights = save_llama(place / "model", mb)
        save_llama(place / "warm-up", 1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        fork = multiprocessing.get_context("fork")
        queue = fork.Queue()
        processes = []
        for rank in range(count):
            environment = {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank),
                "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
                "SHARD_SIZE": str(shard_size),
            }  # fmt: skip
            processes.append(
                fork.Process(target=_rank, args=(environment, place, weights, whole, queue))
            )
            processes[-1].start()
        found = [queue.get(timeout=600) for _ in processes]
        for process in processes:
            process.join()
    worst = {
        name: max((each[name] for each in found), key=lambda result: result["extra_bytes"])
        for name in found[0]
    }
    return worst


def main() -> None:
    """Print one JSON line a phase."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--mb", type=int, default=160, help="size of the weights")
    parser.add_argument("--shard-size", type=int, default=0, help="HSDP: ranks of a group")
    given = parser.parse_args()
    for whole in (False, True):
        for phase, result in measure(given.ranks, given.mb, given.shard_size, whole=whole).items():
            arm = "whole" if whole else "shares"
            rounded = {key: round(value, 3) for key, value in result.items()}
            print(
                json.dumps({"arm": arm, "phase": phase, "ranks": given.ranks, **rounded}),
                flush=True,
            )


if __name__ == "__main__":
    main()
