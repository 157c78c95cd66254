"""What the GPU benchmark's sections share: the card, its measured rate, JSON lines, shapes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mathtune.planning.published_configs import PUBLISHED_CONFIGS

WORK = Path(os.environ.get("GPU_WORK", "."))
"""Folder for weights, for what trainings write, and for the measured rates."""

DRY_RUN = os.environ.get("GPU_DRY_RUN") == "1"

SHAPES: dict[str, dict[str, Any]] = {
    "gemma-2b": dict(PUBLISHED_CONFIGS["google/gemma-2b"]),
    "llama-2-7b": dict(PUBLISHED_CONFIGS["meta-llama/Llama-2-7b-hf"]),
}
if DRY_RUN:
    _TINY = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128}
    _TINY |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    SHAPES = {name: {**shape, **_TINY} for name, shape in SHAPES.items()}
    SHAPES["gemma-2b"]["head_dim"] = 32


def device() -> torch.device:
    """Return the GPU; in a dry run the CPU.

    Raises:
        RuntimeError: If there is none.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if DRY_RUN:
        return torch.device("cpu")
    raise RuntimeError("PyTorch sees no CUDA device; --dry-run goes through all sections on CPU")


def card() -> str:
    """Return the GPU's name."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"


def bf16() -> torch.dtype:
    """Return the dtype that is measured: bf16; in a dry run float32, which every CPU computes."""
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def matmul_rate() -> float:
    """Return the card's FLOP/s in ``bf16()``, as the first section measured it, or now."""
    rates = WORK / "rates.json"
    if rates.is_file():
        return float(json.loads(rates.read_text())["matmul_flops"])
    from mathtune.models.compute import matmul_rate as measure

    return measure(device().type, bf16())


def peak_gb() -> float:
    """Return the most GPU memory that tensors of this process took, in GB of 2^30 bytes."""
    taken = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return round(taken / 2**30, 3)


def emit(section: str, **figures: object) -> None:
    """Print one JSON line."""
    dry = {"dry_run": True} if DRY_RUN else {}
    print(json.dumps({"section": section, "card": card(), **dry, **figures}), flush=True)


@contextmanager
def reported(section: str) -> Iterator[None]:
    """Turn an error into a JSON line, a traceback on standard error and exit code 1."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        emit(section, error=f"{type(error).__name__}: {lines[0][:500]}")
        sys.exit(1)


def built(shape: str, dtype: torch.dtype) -> Any:
    """Return a model of a shape with random weights, made on the device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device()):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[shape]), dtype=dtype)
