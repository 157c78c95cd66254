"""Types of the weights in a GGUF file: which tensor gets which, and what packs it.

The ``gguf`` package packs all but K-quants (blocks of 256 weights, whose scales have few bits too),
which ``libgguf`` does. Which tensors get more bits in a ``q4_k_m`` file is as llama.cpp chooses
(``llama_tensor_get_type`` in its ``src/llama-quant.cpp``).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathtune.errors import MissingPackage, ModelError

TYPES = ("f16", "bf16", "f32", "q8_0", "q4_0", "q6_k", "q5_k_m", "q4_k_m")
"""Types of weights that can be written."""

K_QUANTS = {"q6_k": "Q6_K", "q5_k_m": "Q5_K", "q4_k_m": "Q4_K"}
"""Those that need ``libgguf``, with the type of most of their tensors."""

OTHERS = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q5_k_s")
"""Types that only llama.cpp's own tool writes."""

_UNDIVIDED = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0"}
"""What takes the place of a K-quant in rows that blocks of 256 do not divide, as in llama.cpp."""


def check_type(kind: str) -> None:
    """Raise ModelError unless weights can be written in a type."""
    if kind in TYPES:
        return
    if kind in OTHERS:
        raise ModelError(
            f"type {kind} is written by llama.cpp alone; export f16 here and run llama.cpp's "
            f"llama-quantize FILE-f16.gguf FILE-{kind}.gguf {kind.upper()}"
        )
    raise ModelError(f"type {kind!r} does not exist; give one of {', '.join(TYPES)}")


def check_packages(kind: str) -> None:
    """Raise MissingPackage unless what writes a type is installed."""
    if not _is_installed("gguf"):
        raise MissingPackage(
            "writing GGUF needs the package gguf, which is not installed; run "
            "pip install 'mathtune[export]'"
        )
    if kind in K_QUANTS and not _is_installed("libgguf"):
        raise MissingPackage(
            f"type {kind} needs the package libgguf, which is not installed; run pip install "
            "libgguf, or export f16 and run llama.cpp's "
            f"llama-quantize FILE-f16.gguf FILE-{kind}.gguf {kind.upper()}"
        )


def _is_installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def label(kind: str) -> str:
    """Return the name of a type in ``gguf.LlamaFileType``."""
    return "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"


def type_of(name: str, shape: Sequence[int], kind: str, *, layers: int, tied: bool) -> Any:
    """Return the type of one tensor.

    Args:
        name: llama.cpp's name.
        shape: As in Transformers.
        kind: Type of the file, of ``TYPES``.
        layers: Layers of the model.
        tied: Whether its output layer is the embedding.

    Returns:
        A member of ``gguf.GGMLQuantizationType``. Tensors of one dimension stay in 32 bits.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    held = K_QUANTS.get(kind, kind.upper())
    if len(shape) == 1:
        held = "F32"
    elif kind == "q4_0" and name.startswith(("token_embd.", "output.")):
        held = "Q8_0"
    elif kind in K_QUANTS:
        held = _k_quant(name, held, shape[-1], layers=layers, tied=tied)
    found = GGMLQuantizationType[held]
    return GGMLQuantizationType.F16 if shape[-1] % GGML_QUANT_SIZES[found][0] else found


def _k_quant(name: str, held: str, row: int, *, layers: int, tied: bool) -> str:
    is_output = name.startswith("output.") or (tied and name.startswith("token_embd."))
    divided = row % 256 == 0
    if is_output:
        return "Q6_K" if divided else "Q8_0"
    parts = name.split(".")
    if parts[0] == "blk" and parts[2] in ("attn_v", "ffn_down"):
        held = "Q6_K" if _gets_more_bits(int(parts[1]), layers) else held
    return held if divided else _UNDIVIDED[held]


def _gets_more_bits(layer: int, layers: int) -> bool:
    """Return llama.cpp's choice: the first and the last eighth of the layers, and each third."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def nbytes(shape: Sequence[int], held: Any) -> int:
    """Return the size of a tensor in the file."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[held]
    return math.prod(shape) // block * size


def packed(weights: NDArray[np.float32], held: Any) -> NDArray[Any]:
    """Return weights as the file holds them."""
    import gguf

    if held.name not in K_QUANTS.values():
        found: NDArray[Any] = gguf.quants.quantize(weights, held)
        return found
    import libgguf

    rows = np.ascontiguousarray(weights.reshape(-1, weights.shape[-1]))
    return np.ascontiguousarray(libgguf.quantize_rows(rows, int(held)))
