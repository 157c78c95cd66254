"""What a GGUF file says about a model's architecture, and how llama.cpp wants its tensors.

llama.cpp has code for each architecture and takes from the file only what may differ between two of
its models. What the file cannot say must be what that code assumes, or the model would answer
differently: ``faults`` finds these cases in the configuration before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathtune.errors import ModelError

Array = NDArray[np.float32]

_GELU = ("gelu_pytorch_tanh", "gelu")  # llama.cpp's is the tanh form; Gemma 1 says "gelu" for it
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
"""Gemma models of this many layers divide queries by another root in llama.cpp."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one of Transformers' model types is written.

    Attributes:
        name: llama.cpp's name of it.
        activations: Values of ``hidden_act`` that its code computes.
        rotates_pairs: Whether RoPE rotates neighbouring dimensions, as in Meta's own Llama code;
            rows of q and k are then in another order than Transformers keeps them in.
        norm_adds_one: Whether a norm multiplies by 1 + weight, which the file holds as one number.
        local_every: Layers to a period of sliding-window attention, of which the last sees all.
    """

    name: str
    activations: tuple[str, ...] = ("silu",)
    rotates_pairs: bool = False
    norm_adds_one: bool = False
    local_every: int = 0


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", rotates_pairs=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "gemma": Architecture("gemma", _GELU, norm_adds_one=True),
    "gemma2": Architecture("gemma2", _GELU, norm_adds_one=True, local_every=2),
    "gemma3_text": Architecture("gemma3", _GELU, norm_adds_one=True, local_every=6),
}
"""By ``model_type``."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return how a model is written.

    Args:
        config: Its configuration as Transformers completes it (``PretrainedConfig.to_dict``).

    Raises:
        ModelError: It is not supported, with every reason.
    """
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"a model of type {kind!r} cannot be written as GGUF here, only "
            f"{', '.join(ARCHITECTURES)}; use llama.cpp's convert_hf_to_gguf.py on the merged "
            "folder (--to merged)"
        )
    found = ARCHITECTURES[kind]
    if told := list(faults(found, config)):
        raise ModelError(told)
    return found


def faults(to: Architecture, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting that llama.cpp would compute in another way."""

    def fault(key: str, computed: object) -> str:
        return (
            f"config.json has {key}={config.get(key)}, and llama.cpp's {to.name} computes with "
            f"{computed}; this model cannot be written as GGUF"
        )

    if config.get("quantization_config"):
        yield (
            "the model's weights are quantised (quantization_config in config.json); give the "
            "model that was quantised, or dequantise it in Transformers and save it"
        )
    activation = config.get("hidden_activation") or config.get("hidden_act")
    if activation not in to.activations:
        key = "hidden_activation" if config.get("hidden_activation") else "hidden_act"
        yield fault(key, to.activations[0])
    if (local := _local_layers(config)) != _expected_local(to, len(local)):
        yield fault("layer_types", f"one full layer in {to.local_every}" if any(local) else "none")
    if to.local_every:
        layers, scalar = config["num_hidden_layers"], config["query_pre_attn_scalar"]
        whole = layers == _LAYERS_OF_27B[to.name]
        expected = (
            config["hidden_size"] / config["num_attention_heads"] if whole else head_dim(config)
        )
        if scalar != expected:
            yield fault("query_pre_attn_scalar", f"{expected:g}")
    if to.name == "gemma2":
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if not config.get(key):
                yield fault(key, "soft-capping")
    elif config.get("attn_logit_softcapping"):
        yield fault("attn_logit_softcapping", "none")
    if config.get("use_bidirectional_attention"):
        yield fault("use_bidirectional_attention", "causal attention")
    for name, rope in _ropes(config).items():
        kind = rope.get("rope_type", "default")
        allowed = ("default", "linear", *(("llama3",) if to.name == "llama" else ()))
        if kind not in allowed or (kind != "default" and name == "sliding_attention"):
            yield (
                f"config.json has RoPE scaling of type {kind!r}, and only {', '.join(allowed)} can "
                f"be written for {to.name}; use llama.cpp's convert_hf_to_gguf.py"
            )
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            yield "config.json has partial_rotary_factor, and llama.cpp rotates whole heads here"


def describe(writer: Any, to: Architecture, config: Mapping[str, Any]) -> None:
    """Write a model's sizes and constants into the metadata of a ``GGUFWriter``."""
    import gguf

    ropes = _ropes(config)
    rope, local = ropes.get("full_attention", ropes.get("", {})), ropes.get("sliding_attention")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(_kv_heads(config))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_rope_dimension_count(head_dim(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_vocab_size(config["vocab_size"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if to.local_every:
        writer.add_sliding_window(config["sliding_window"])
        if local is not None:
            writer.add_rope_freq_base_swa(float(local["rope_theta"]))
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def converter(
    to: Architecture, config: Mapping[str, Any], name: str
) -> Callable[[Array], Array] | None:
    """Return how a tensor is changed on its way into the file, or None where it is not.

    Args:
        to: The architecture.
        config: The model's configuration.
        name: Transformers' name of the tensor.
    """
    if to.norm_adds_one and name.endswith("norm.weight"):
        return lambda weight: weight + np.float32(1)
    if to.rotates_pairs and ".q_proj." in name:
        return lambda weight: paired(weight, config["num_attention_heads"])
    if to.rotates_pairs and ".k_proj." in name:
        return lambda weight: paired(weight, _kv_heads(config))
    return None


def paired(weight: Array, heads: int) -> Array:
    """Return rows of q or k so that the two dimensions that RoPE rotates together are neighbours.

    Args:
        weight: ``[heads * head_dim, …]``, the two halves of each head one after the other.
        heads: Number of heads.
    """
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)


def rope_factors(config: Mapping[str, Any]) -> Array | None:
    """Return what llama.cpp divides RoPE's frequencies by under Llama 3.1's scaling, else None.

    Frequencies whose wave is longer than the original context are divided by ``factor``, short ones
    are kept, and between them it is interpolated (Llama 3.1's ``apply_scaling``).
    """
    rope = _ropes(config).get("", {})
    if rope.get("rope_type") != "llama3":
        return None
    size, factor = head_dim(config), float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    context = rope["original_max_position_embeddings"]
    waves = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, size, 2) / size)
    smooth = np.clip((context / waves - low) / (high - low), 0.0, 1.0)
    found: Array = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
    return found


def head_dim(config: Mapping[str, Any]) -> int:
    """Return the size of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _kv_heads(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _ropes(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return RoPE's parameters by kind of layer; under ``""`` where all layers share them."""
    found = config.get("rope_parameters") or {}
    nested = {key: value for key, value in found.items() if isinstance(value, Mapping)}
    return nested or {"": found}


def _local_layers(config: Mapping[str, Any]) -> list[bool]:
    """Return for each layer whether it sees only a window."""
    kinds: Sequence[str] = config.get("layer_types") or ()
    if kinds:
        return [kind == "sliding_attention" for kind in kinds]
    return [False] * int(config["num_hidden_layers"])


def _expected_local(to: Architecture, layers: int) -> list[bool]:
    every = to.local_every
    return [bool(every) and layer % every != every - 1 for layer in range(layers)]
