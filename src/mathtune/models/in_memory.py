"""A model that the caller has loaded: what it runs on, and which weights it has."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from mathtune.errors import ModelError
from mathtune.models.compute import Compute

_BLOCK = 4096


def compute_of(model: Any) -> Compute:
    """Return the device and dtype of a loaded model."""
    weight = next(model.parameters())
    dtype = getattr(model, "dtype", weight.dtype)
    name = torch.cuda.get_device_name(weight.device) if weight.device.type == "cuda" else "CPU"
    return Compute(weight.device.type, name, dtype, False, "as the model was loaded")


def fingerprint_in_memory(model: Any, tokenizer: Any) -> str:
    """Return 16 hex digits that change with a loaded model's weights, tokenizer or chat template.

    As in ``base_fingerprint.fingerprint``, three blocks of 4 KiB per tensor are hashed.

    Raises:
        ModelError: If weights are not in memory, or the tokenizer is not a fast one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"tokenizer is a {type(tokenizer).__name__}, not a fast Transformers tokenizer; load "
            "it with AutoTokenizer.from_pretrained"
        )
    whole = hashlib.sha256(backend.to_str().encode())
    whole.update(json.dumps([tokenizer.chat_template, tokenizer.eos_token_id]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.is_meta:
            raise ModelError(
                f"weight {name} of the model is not in memory (meta device); load the model whole, "
                "or give its name or folder"
            )
        whole.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        flat = tensor.detach().reshape(-1)
        count = max(1, _BLOCK // flat.element_size())
        for start in sorted({0, len(flat) // 2, max(0, len(flat) - count)}):
            block = flat[start : start + count].contiguous().cpu()
            whole.update(block.view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]
