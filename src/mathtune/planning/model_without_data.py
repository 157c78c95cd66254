"""Models with shapes, dtypes and lifetimes but no weights, to find out what training takes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState
from transformers import AutoModelForCausalLM

from mathtune.config.schema import ModelConfig, Recipe
from mathtune.errors import ModelError
from mathtune.models.adapters import add_adapter, check_targets
from mathtune.models.compute import Compute


def build(recipe: Recipe, hf_config: Any, compute: Compute) -> Any:
    """Return the model on the meta device: shapes and dtypes, no storage."""
    kernel = recipe.model.attn_implementation
    if kernel and (kernel.startswith(("flash_attention", "flex_attention")) or "/" in kernel):
        kernel = "sdpa"  # takes as much memory, and needs neither the package nor a GPU
    options = {"dtype": compute.dtype, "attn_implementation": kernel}
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(hf_config, **options)
        except (ValueError, TypeError, ImportError) as error:
            first = str(error).strip().partition("\n")[0].rstrip(".")
            raise ModelError(
                f"model.name_or_path={recipe.model.name_or_path} cannot be planned: {first}; name "
                "a causal language model that Transformers has code for"
            ) from error
        if recipe.model.load_in_4bit:
            _quantise(model, recipe.model, compute)
        if recipe.adapter is not None:
            check_targets(model, recipe.adapter)
            # No SVD where there are no weights; PiSSA has the same parameters.
            plain = recipe.adapter.model_copy(update={"init_lora_weights": True})
            model = add_adapter(model, plain, recipe.seed)
    return model


def _quantise(model: Any, config: ModelConfig, compute: Compute) -> None:
    """Swap in bitsandbytes' 4-bit layers for all but the output layer, as ``from_pretrained``."""
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and module is not head:
            model.set_submodule(name, _Linear4bit(module, config, compute.dtype))
    model.is_loaded_in_4bit = True  # PEFT checks this


class _Linear4bit(bnb.nn.Linear4bit):
    """bitsandbytes' layer around a weight without data, which its own constructor refuses."""

    def __init__(self, source: torch.nn.Linear, config: ModelConfig, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = source.in_features, source.out_features
        self.compute_dtype, self.compute_type_is_set = dtype, True
        self.support_avx512bf16_for_cpu = False
        self.bias = source.bias
        packed = torch.empty((source.weight.numel() + 1) // 2, 1, dtype=torch.uint8)
        self.weight: Any = torch.nn.Parameter(packed, requires_grad=False)
        self.weight.quant_type = self._type = config.bnb_4bit_quant_type
        self.weight.compress_statistics = self._doubled = config.bnb_4bit_use_double_quant

    def scales(self) -> QuantState:
        """Return one constant for 64 weights: float32, or 8 bits with its own scales."""
        blocks = math.ceil(self.in_features * self.out_features / 64)
        state = partial(
            QuantState,
            shape=torch.Size((self.out_features, self.in_features)),
            dtype=self.compute_dtype,
            blocksize=64,
            code=torch.empty(16),
            quant_type=self._type,
        )
        if not self._doubled:
            return state(absmax=torch.empty(blocks))
        of_scales = QuantState(
            absmax=torch.empty(math.ceil(blocks / 256)),
            blocksize=256,
            code=torch.empty(256),
            dtype=torch.float32,
        )
        absmax = torch.empty(blocks, dtype=torch.uint8)
        return state(absmax=absmax, offset=torch.empty(()), state2=of_scales)


def give_storage(model: torch.nn.Module) -> None:
    """Replace each tensor on the meta device by one with storage; tied ones stay tied."""
    made: dict[int, Any] = {}
    for module in list(model.modules()):
        for held in (module._parameters, module._buffers):
            for name, old in held.items():
                if old is None:
                    continue
                if id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    if held is module._parameters:
                        new = torch.nn.Parameter(new, requires_grad=old.requires_grad)
                    made[id(old)] = new
                held[name] = made[id(old)]
        if isinstance(module, _Linear4bit):
            module.weight.quant_state = module.quant_state = module.scales()
