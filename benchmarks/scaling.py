"""Cost of a training step against length, batch, vocabulary and model size.

    python benchmarks/scaling.py --quick
    python benchmarks/scaling.py

One thing at a time is varied around one point: a Llama of 3M weights in its layers with tied
embeddings, 8 examples of 256 tokens a step. Each point trains a few steps in a process of its own,
through the code that ``mathtune train`` uses, on a GPU where there is one. Weights and examples are
random, for speed does not depend on what they are; half of an example's tokens are supervised.
Float32 by default; ``--dtype auto`` takes what the processor computes fast.

Prints one JSON line a measurement and a last one that sums up. The seconds of a step are the median
without the first. Peak memory is the most that the process took (on a GPU: that was allocated
there) in the whole training, the model and its checkpoint included, above what it had before the
model was built. The share of the matmul rate is as in ``train_vs_trl.py``.

The last line has, for each axis, the exponent e of a fit of seconds ~ value^e over all its points
and of one between its last two, and the same for memory: 0 is free, 1 grows in proportion.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shapes import llama
from train_vs_trl import memory, run_mathtune, useful_work


@dataclasses.dataclass(frozen=True)
class Point:
    """What a measurement is of; ``micro_batch_tokens`` 0 leaves them to mathtune."""

    length: int = 256
    examples: int = 8
    micro_batch_tokens: int = 0
    vocabulary: int = 8192
    hidden: int = 256

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the model; depth grows with width, as in published families."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.hidden * 8 // 3,
            "layers": self.hidden // 64,
        }


BASE = Point()
GRID: dict[str, list[int]] = {
    "length": [64, 128, 256, 512, 1024, 2048],
    "examples": [1, 2, 4, 8, 16, 32],
    "micro_batch_tokens": [256, 512, 1024, 2048],
    "vocabulary": [1024, 8192, 32_000, 128_000, 256_000],
    "hidden": [128, 256, 384, 512, 768],
}
QUICK_GRID: dict[str, list[int]] = {
    "length": [128, 256, 512],
    "examples": [4, 8, 16],
    "micro_batch_tokens": [256, 2048],
    "vocabulary": [8192, 32_000, 128_000],
    "hidden": [128, 256, 384],
}


def examples_of(point: Point, steps: int) -> list[Any]:
    """Return so many steps' examples of exactly the point's length."""
    from mathtune.records import Example

    drawn = random.Random(0)
    prompt = point.length // 2
    flags = (False,) * prompt + (True,) * (point.length - prompt)
    return [
        Example(
            problem_id=str(number),
            ids=tuple(drawn.choices(range(point.vocabulary), k=point.length)),
            supervised=flags,
            prompt_tokens=prompt,
        )
        for number in range(point.examples * steps)
    ]


def measure(point: Point, dtype: str, threads: int, budget: float) -> dict[str, Any]:
    """Train in this process for about ``budget`` seconds and return what it cost."""
    import torch
    import transformers

    from mathtune.models.compute import matmul_rate, pick_compute
    from plan_vs_measured import NoTokenizer

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    compute = pick_compute(dtype, trains_all_weights=True)
    on_gpu = compute.device == "cuda"
    factors = torch.bfloat16 if compute.autocast_bf16 else compute.dtype
    rate = matmul_rate(compute.device, factors, 0 if on_gpu else 2048)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = memory("VmRSS")
    model = llama(point.sizes).to(compute.device, compute.dtype)
    work = useful_work(model, examples_of(point, 1)) * point.examples
    steps = 1 + max(4, min(30, round(budget * 0.4 * rate / work)))  # 0.4: the share to expect
    settings = {"per_device_train_batch_size": point.examples}
    if point.micro_batch_tokens:
        settings["micro_batch_tokens"] = point.micro_batch_tokens
    records = run_mathtune(
        model,
        NoTokenizer(),
        examples_of(point, steps),
        steps,
        compute=compute,
        settings=settings,
    )
    peak = (torch.cuda.max_memory_allocated() if on_gpu else memory("VmHWM")) - before
    rate = max(rate, matmul_rate(compute.device, factors, 0 if on_gpu else 2048))
    ends = [seconds for seconds, _ in records]
    seconds = statistics.median(b - a for a, b in itertools.pairwise(ends))
    return {
        "benchmark": "scaling",
        **dataclasses.asdict(point),
        "layers": point.sizes["layers"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": compute.name,
        "dtype": str(factors).removeprefix("torch."),
        "steps": steps,
        "seconds_per_step": round(seconds, 4),
        "tokens_per_second": round(point.examples * point.length / seconds, 1),
        "peak_memory_mb": round(peak / 2**20, 1),
        "matmul_gflops": round(rate / 1e9, 1),
        "matmul_share": round(work / seconds / rate, 3),
    }


def in_own_process(point: Point, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a point in a new process."""
    command = [sys.executable, __file__, "--point", json.dumps(dataclasses.asdict(point))]
    command += ["--dtype", options.dtype, "--threads", str(options.threads)]
    command += ["--quick"] if options.quick else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{point} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(values: Sequence[float], costs: Sequence[float]) -> dict[str, float]:
    """Return the exponent of a power law through all points, and through the last two."""
    x, y = [math.log(value) for value in values], [math.log(cost) for cost in costs]
    return {
        "exponent": round(statistics.linear_regression(x, y).slope, 2),
        "exponent_at_the_end": round((y[-1] - y[-2]) / (x[-1] - x[-2]), 2),
    }


def summary(axis: str, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how cost grows along an axis; of the model's size, with its number of weights."""
    by = "parameters" if axis == "hidden" else axis
    values = [line[by] for line in lines]
    return {
        "values": values,
        "seconds": growth(values, [line["seconds_per_step"] for line in lines]),
        "memory": growth(values, [line["peak_memory_mb"] for line in lines]),
        "most_tokens_per_second_at": max(lines, key=lambda line: line["tokens_per_second"])[by],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer points, shorter each")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "auto"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--point", type=json.loads, help="one point, in this process")
    options = parser.parse_args()
    if options.point:
        budget = 1.0 if options.quick else 5.0
        found = measure(Point(**options.point), options.dtype, options.threads, budget)
        print(json.dumps(found), flush=True)
        return
    grid = QUICK_GRID if options.quick else GRID
    axes = {
        axis: [dataclasses.replace(BASE, **{axis: value}) for value in values]
        for axis, values in grid.items()
    }
    found_at: dict[Point, dict[str, Any]] = {}
    for point in (point for points in axes.values() for point in points):
        if point not in found_at:  # all axes meet in one
            found_at[point] = in_own_process(point, options)
            print(json.dumps(found_at[point]), flush=True)
    sums = {axis: summary(axis, [found_at[p] for p in points]) for axis, points in axes.items()}
    print(json.dumps({"benchmark": "scaling", "growth": sums}), flush=True)


if __name__ == "__main__":
    main()
