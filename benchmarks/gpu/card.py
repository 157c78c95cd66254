"""The card: what it is, and the measured rates that all shares refer to.

    GPU_WORK=FOLDER python benchmarks/gpu/card.py

A large matrix product in bf16 and in float32, on random numbers, and a copy within the memory.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import time

import accelerate
import peft
import torch
import transformers
from shared import DRY_RUN, WORK, bf16, device, emit, reported

from mathtune.models.compute import matmul_rate

OPTIONAL = ("bitsandbytes", "datasets", "trl", "liger_kernel", "flash_attn", "kernels")


def copy_rate() -> float:
    """Return bytes read and written per second by a copy of a large tensor, the best of five."""
    numbers = torch.empty(2**20 if DRY_RUN else 2**30, dtype=torch.float32, device=device())
    target, best = torch.empty_like(numbers), float("inf")
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(numbers)[0].item()  # waits for the GPU
        best = min(best, time.perf_counter() - start)
    return 2 * numbers.nbytes / best


def main() -> None:
    """Measure and print."""
    size = 256 if DRY_RUN else 0
    low = matmul_rate(device().type, bf16(), size, seconds=1.0)
    high = matmul_rate(device().type, torch.float32, size, seconds=0.5)
    (WORK / "rates.json").write_text(json.dumps({"matmul_flops": low}))
    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    emit(
        "card",
        matmul_tflops_bf16=round(low / 1e12, 2),
        matmul_tflops_float32=round(high / 1e12, 2),
        copy_tb_per_second=round(copy_rate() / 1e12, 3),
        memory_gb=round(memory / 2**30, 2),
        capability=torch.cuda.get_device_capability() if torch.cuda.is_available() else None,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        peft=peft.__version__,
        accelerate=accelerate.__version__,
        missing=[name for name in OPTIONAL if importlib.util.find_spec(name) is None],
    )


if __name__ == "__main__":
    with reported("card"):
        main()
