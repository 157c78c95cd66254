"""Which processor computes, and in which type: picked from what it really does well."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from mathtune import ranks


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how a model computes, with the reason for the report.

    Attributes:
        device: ``cuda``, ``mps`` or ``cpu``.
        name: Name of the processor for people.
        dtype: Type of the weights that are held.
        autocast_bf16: Train in bf16 over float32 weights.
        reason: One sentence.
    """

    device: str
    name: str
    dtype: torch.dtype
    autocast_bf16: bool
    reason: str


def pick_compute(dtype: str = "auto", *, trains_all_weights: bool = False) -> Compute:
    """Pick device and dtype; ``dtype`` other than ``auto`` is taken as given.

    bf16 counts as fast on a GPU only from compute capability 8.0 on (a T4 emulates it), and on a
    CPU only where a measured matrix product says so: without AMX or working AVX-512-BF16 kernels
    bf16 is 50 to 200 times slower than float32, whatever the processor's flags promise.
    """
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        native = torch.cuda.get_device_capability() >= (8, 0)
        return gpu_compute(name, dtype, native_bf16=native, trains_all_weights=trains_all_weights)
    return cpu_compute(dtype)


def gpu_compute(name: str, dtype: str, *, native_bf16: bool, trains_all_weights: bool) -> Compute:
    """Return how a GPU of this name computes; it need not be in this machine."""
    if dtype != "auto":
        return Compute("cuda", name, getattr(torch, dtype), False, f"{dtype} as asked")
    if not native_bf16:
        return Compute("cuda", name, torch.float32, False, f"{name} only emulates bf16")
    if trains_all_weights:
        reason = "float32 weights computed in bf16: small updates would be lost in bf16 weights"
        return Compute("cuda", name, torch.float32, True, reason)
    return Compute("cuda", name, torch.bfloat16, False, f"{name} computes bf16 natively")


def cpu_compute(dtype: str = "auto") -> Compute:
    """Return how this machine's CPU computes."""
    if dtype != "auto":
        return Compute("cpu", "CPU", getattr(torch, dtype), False, f"{dtype} as asked")
    ratio = ranks.from_first(_bf16_time_ratio)
    if ratio < 0.5:
        reason = (
            "trained in bf16 over float32 weights: "
            f"a bf16 product took {ratio:.2f} of the float32 time"
        )
        return Compute("cpu", "CPU", torch.float32, True, reason)
    reason = f"a bf16 matrix product took {ratio:.1f} times as long as a float32 one here"
    return Compute("cpu", "CPU", torch.float32, False, reason)


def matmul_rate(device: str, dtype: torch.dtype, size: int = 0, seconds: float = 0.3) -> float:
    """Return the FLOP/s of a product of square matrices here, the best of those that fit the time.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: Type of the factors.
        size: Rows; default: 1,024 on a CPU, 8,192 on a GPU, so that all of it is busy.
        seconds: How long to measure.
    """
    size = size or (8192 if device == "cuda" else 1024)
    left = torch.ones(size, size, dtype=dtype, device=device)
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        start = time.perf_counter()
        _ = (left @ left)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _bf16_time_ratio(size: int = 256) -> float:
    """Time of a bf16 matrix product over that of a float32 one (best of ten, against noise)."""

    def seconds(dtype: torch.dtype) -> float:
        left = torch.ones(size, size, dtype=dtype)
        left @ left
        times = []
        for _ in range(10):
            start = time.perf_counter()
            left @ left
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) / seconds(torch.float32)
