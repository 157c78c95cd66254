"""Whether a model can use the packed path: tested on the model, not looked up by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mathtune.attention.onednn_linear import FastLinears
from mathtune.generation.hf.interface import UnsupportedModel
from mathtune.generation.hf.packed import PackedForward, unwrap

_HALF_TOLERANCE, _FULL_TOLERANCE = 0.1, 1e-3  # of the logits' standard deviation


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of a trial of the packed path.

    Attributes:
        reason: Why the path cannot be used, or None.
        bytes_per_token: Memory of one token's keys and values; 0 if the path cannot be used.
    """

    reason: str | None
    bytes_per_token: int = 0


@torch.no_grad()
def probe(model: Any, linears: FastLinears) -> Probe:
    """Compute two short rows over a prefix on both paths and compare their logits.

    An unforeseen architecture is then noticed instead of decoded wrongly.

    Args:
        model: A causal language model in evaluation mode, bare or wrapped by PEFT.
        linears: Its linear layers.
    """
    base = unwrap(model)
    if not getattr(base, "_supports_attention_backend", False):
        return Probe("its attention does not use the Transformers attention interface")
    vocabulary = base.config.get_text_config(decoder=True).vocab_size
    ids = [(7 + 13 * i) % vocabulary for i in range(16)]
    prefix, rows, following = ids[:6], [ids[6:11], ids[11:14]], ids[14:16]
    try:
        forward = PackedForward(model, linears, prefix)
        forward.reserve(2, 8)
        packed = [forward.step([], rows), forward.step(following, [])]
    except UnsupportedModel as error:
        return Probe(str(error))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        return Probe(f"the packed path raised {type(error).__name__}: {error}")
    # Quantised layers and autocast round to half precision inside, whatever the logits' type.
    exact = all(parameter.dtype == torch.float32 for parameter in model.parameters())
    exact = exact and not torch.is_autocast_enabled(packed[0].device.type)
    tolerance = _FULL_TOLERANCE if exact else _HALF_TOLERANCE
    for row, (own, after) in enumerate(zip(rows, following, strict=True)):
        whole = torch.tensor([[*prefix, *own, after]], device=packed[0].device)
        plain = model(input_ids=whole).logits[0, -2:].float()
        ours = torch.stack([packed[0][row], packed[1][row]]).float()
        if not (ours - plain).abs().max() <= tolerance * plain.std():
            return Probe("its logits on a packed batch differ from those on single rows")
    return Probe(None, forward.bytes_per_token())


def rope_reason(model: Any, longest: int) -> str | None:
    """Return why rows of up to ``longest`` tokens cannot share a step, or None if they can.

    Longrope (Ding et al. 2024) rotates every row by different factors once one row is long.
    """
    config = unwrap(model).config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    short = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    if rope.get("rope_type") == "longrope" and short and longest > short:
        return f"its longrope positions change for all rows once one exceeds {short} tokens"
    return None
