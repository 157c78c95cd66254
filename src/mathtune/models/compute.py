"""Which device computes, and in which dtype: picked by what it really does fast."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mathtune import ranks
from mathtune.attention.onednn_linear import linear, onednn_available
from mathtune.storage import damaged, read_json, write_json


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how a model computes, with the reason for the report.

    Attributes:
        device: ``cuda``, ``mps`` or ``cpu``.
        name: Name of the device, as shown to users.
        dtype: Dtype in which the weights are held.
        autocast_bf16: Train in bf16 over float32 weights.
        reason: Why this dtype; continues a sentence after its name and a comma.
    """

    device: str
    name: str
    dtype: torch.dtype
    autocast_bf16: bool
    reason: str


def pick_compute(
    dtype: str = "auto", *, trains_all_weights: bool = False, kept: Path | None = None
) -> Compute:
    """Pick device and dtype; a ``dtype`` other than ``auto`` is used as given.

    bf16 counts as fast on a GPU only from compute capability 8.0 on (a T4 emulates it), and on a
    CPU only where a measured matrix product shows it: without AMX or working AVX-512-BF16 kernels
    bf16 is 50 to 200 times slower than float32, whatever the processor's flags promise.

    Args:
        dtype: As in the recipe.
        trains_all_weights: Whether there is no adapter.
        kept: File that records the choice, so that the next start makes the same one, on any
            machine.
    """
    before = ranks.from_first(lambda: _kept(kept)) if kept is not None and dtype == "auto" else None
    if before is not None:
        on_gpu = torch.cuda.is_available()
        name = torch.cuda.get_device_name() if on_gpu else "CPU"
        held, autocast, reason = before["dtype"], before["autocast_bf16"], before["reason"]
        return Compute("cuda" if on_gpu else "cpu", name, getattr(torch, held), autocast, reason)
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        native = torch.cuda.get_device_capability() >= (8, 0)
        picked = gpu_compute(name, dtype, native_bf16=native, trains_all_weights=trains_all_weights)
    else:
        picked = cpu_compute(dtype)
    if kept is not None and dtype == "auto" and ranks.is_first():
        kept.parent.mkdir(exist_ok=True)
        held = str(picked.dtype).removeprefix("torch.")
        facts = {"dtype": held, "autocast_bf16": picked.autocast_bf16, "reason": picked.reason}
        write_json(kept, facts)
    return picked


def _kept(path: Path) -> dict[str, Any] | None:
    """Return what was picked before.

    Raises:
        RunError: The file is damaged.
    """
    if not path.is_file():
        return None
    facts = read_json(path, keys=("dtype", "autocast_bf16", "reason"))
    if facts["dtype"] not in ("float32", "bfloat16"):
        raise damaged(path, f"dtype is {facts['dtype']!r}")
    return facts


def gpu_compute(name: str, dtype: str, *, native_bf16: bool, trains_all_weights: bool) -> Compute:
    """Return how a GPU of this name computes; it need not be in this machine."""
    if dtype != "auto":
        return Compute("cuda", name, getattr(torch, dtype), False, "as asked")
    if not native_bf16:
        reason = f"because {name} only emulates bf16"
        return Compute("cuda", name, torch.float32, False, reason)
    if trains_all_weights:
        reason = "computed in bf16; in bf16 weights small updates would be lost"
        return Compute("cuda", name, torch.float32, True, reason)
    reason = f"which {name} computes natively"
    return Compute("cuda", name, torch.bfloat16, False, reason)


def cpu_compute(dtype: str = "auto") -> Compute:
    """Return how this machine's CPU computes."""
    if dtype != "auto":
        return Compute("cpu", "CPU", getattr(torch, dtype), False, "as asked")
    if ranks.from_first(_bf16_time_ratio) < 0.5:
        reason = "computed in bf16, which is fast on this processor"
        return Compute("cpu", "CPU", torch.float32, True, reason)
    reason = "because bf16 is slow on this processor"
    return Compute("cpu", "CPU", torch.float32, False, reason)


def matmul_rate(device: str, dtype: torch.dtype, size: int = 0, seconds: float = 0.3) -> float:
    """Return the FLOP/s of a product of square matrices here, the best of all runs in the time.

    On a CPU it is what all threads do if each does as much as one: processor time is measured, so
    that other work on the machine does not count. In float32 on an x86 CPU it goes
    through oneDNN, as linear layers do.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: Dtype of the factors.
        size: Rows; default: 1,024 on a CPU, 8,192 on a GPU, enough to keep all of it busy.
        seconds: How long to measure.
    """
    size = size or (8192 if device == "cuda" else 1024)
    # Random: on equal numbers a GPU is faster, since fewer bits flip and it takes less power.
    left = torch.randn(size, size, dtype=dtype, device=device)
    product = linear if onednn_available(left) else torch.nn.functional.linear
    threads = torch.get_num_threads()
    alone = device == "cpu"
    clock = time.thread_time if alone else time.perf_counter
    best, end = math.inf, time.perf_counter() + seconds
    try:
        if alone:
            torch.set_num_threads(1)
        while time.perf_counter() < end or best == math.inf:
            start = clock()
            _ = product(left, left)[0, 0].item()  # waits for the GPU
            best = min(best, clock() - start)
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / best * (threads if alone else 1)


def _bf16_time_ratio(size: int = 256, rounds: int = 20) -> float:
    """Return the time of a bf16 matrix product over that of a float32 one.

    It is the processor time of one thread, the best of several, so that other work on the machine
    does not change the choice.
    """
    factors = [torch.ones(size, size, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
    best = [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(rounds + 1):
            for index, left in enumerate(factors):
                start = time.thread_time()
                left @ left
                best[index] = min(best[index], time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return best[0] / best[1]
