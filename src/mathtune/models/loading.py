"""Models: found, loaded, quantised, counted."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from mathtune import hub
from mathtune.config.schema import AdapterConfig, ModelConfig
from mathtune.errors import ModelError
from mathtune.models.adapters import add_adapter
from mathtune.models.base_fingerprint import base_of
from mathtune.models.checks.before_loading import (
    UNTRUSTED,
    adapter_folder,
    check_safetensors,
    code_faults,
)
from mathtune.models.checks.weights import (
    adapter_fault,
    check_adapter,
    check_finite,
    check_loading,
)
from mathtune.models.compute import Compute
from mathtune.models.files import check_is_there, local_folder, read_config, resolve

# On CPU it reports at every import that an optional kernel is missing; 4-bit works without it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """How many parameters there are and how many are trained.

    ``packed`` counts two 4-bit weights as one, as in the stored tensors; shares computed from it
    are common in published work and twice as flattering, so both are reported.
    """

    total: int
    trainable: int
    total_packed: int

    @property
    def trainable_share(self) -> float:
        """Trainable over true total."""
        return self.trainable / self.total

    @property
    def trainable_share_packed(self) -> float:
        """Trainable over the packed count."""
        return self.trainable / self.total_packed

    def to_json(self) -> dict[str, float]:
        """Return counts and shares for the manifest."""
        return {
            **asdict(self),
            "trainable_share": self.trainable_share,
            "trainable_share_packed": self.trainable_share_packed,
        }


def quiet_libraries() -> None:
    """Silence the libraries' own bars and notices; errors are still raised."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
    # checks/weights.py refuses such an adapter.
    warnings.filterwarnings("ignore", message="Found missing adapter keys")
    # accelerate takes the mesh of train.fsdp=hybrid_shard apart as PyTorch will not allow for ever.
    warnings.filterwarnings("ignore", message="Slicing a flattened dim from root mesh")
    # training/arguments.py reports this in its own line.
    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")


def load_tokenizer(name_or_path: str, revision: str | None = None, *, trust: bool = False) -> Any:
    """Load a tokenizer by hub id or from a folder (a model or an adapter).

    Raises:
        ModelError: If there is none, with the reason and the remedy.
    """
    check_is_there(name_or_path)
    try:
        return AutoTokenizer.from_pretrained(
            resolve(name_or_path),
            revision=revision,
            trust_remote_code=trust,
            local_files_only=_out_of_reach(name_or_path),
        )
    except (OSError, ValueError) as error:
        raise ModelError(_why_not("tokenizer", name_or_path, error)) from error


def load_model(config: ModelConfig, compute: Compute) -> Any:
    """Load the base model of a recipe; an adapter's folder gives the base with the adapter on it.

    Raises:
        ModelError: If it cannot be loaded, with the reason and the remedy.
    """
    if config.from_config is not None:
        raise ModelError("model.from_config has no saved weights to load; name a saved model")
    name = config.name_or_path or ""
    saved = read_config(name, config.revision)  # reports better than Transformers what is missing
    faults = [] if config.trust_remote_code else list(code_faults(name, saved or {}))
    if faults:
        raise ModelError(faults)
    if (folder := adapter_folder(name, config.revision)) is not None:
        return _with_adapter(load_model(base_of(folder, config), compute), folder)
    check_safetensors(name, config.revision)
    try:
        return _from_pretrained(resolve(name), config, compute)
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(_why_not("model", name, error)) from error
    except RuntimeError as error:
        if "automatic conversion of the weights" not in str(error):
            raise
        raise ModelError(
            f"the tensors of model {name!r} do not match its architecture: "
            "some are missing or of another shape; save or download the model again"
        ) from error


def _from_pretrained(path: str, config: ModelConfig, compute: Compute) -> Any:
    quantization = None
    if config.load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=config.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=config.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=compute.dtype,
        )
    model, info = AutoModelForCausalLM.from_pretrained(
        path,
        revision=config.revision,
        dtype=compute.dtype,
        attn_implementation=config.attn_implementation,
        quantization_config=quantization,
        device_map={"": _place(compute)},
        trust_remote_code=config.trust_remote_code,
        use_safetensors=True,
        local_files_only=_out_of_reach(path),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # check_loading refuses them, with names and shapes
    )
    name, folder = config.name_or_path or path, local_folder(path, config.revision)
    check_loading(name, model, info, folder)
    check_finite(name, model, folder)
    for module in model.modules():
        # bitsandbytes repacks 4-bit weights on CPUs with AVX512-BF16 at the first forward in
        # evaluation mode, with scales rounded to bf16, permanently: validation would change what is
        # trained.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _place(compute: Compute) -> torch.device:
    """Return the device of a model, with its number: accelerate refuses 4-bit weights without."""
    index = torch.cuda.current_device() if compute.device == "cuda" else None
    return torch.device(compute.device, index)


def _with_adapter(base: Any, folder: Path) -> Any:
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(base, str(folder))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        known = adapter_fault(folder, error)
        raise ModelError(known or _why_not("adapter", str(folder), error)) from error
    check_adapter(folder, adapted)
    return adapted


def build_from_config(config: ModelConfig, tokenizer: Any, compute: Compute, seed: int) -> Any:
    """Build a model with random weights from ``model.from_config``.

    Raises:
        ModelError: If the configuration is not one Transformers can build.
    """
    assert config.from_config is not None
    values = dict(config.from_config)
    try:
        built = AutoConfig.for_model(
            values.pop("model_type"),
            **values,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(
            built, dtype=compute.dtype, attn_implementation=config.attn_implementation
        ).to(compute.device)
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"model.from_config={config.from_config} cannot be built: {error}; check the values "
            "against the architecture's Transformers configuration"
        ) from error


def count_parameters(model: Any) -> ParameterCounts:
    """Count a model's parameters, 4-bit weights both individually and packed."""
    total = trainable = packed = 0
    for parameter in model.parameters():
        stored = parameter.numel()
        # bitsandbytes packs two 4-bit weights in a byte; quant_state has the true shape.
        state = getattr(parameter, "quant_state", None)
        true = math.prod(state.shape) if state is not None else stored
        total += true
        packed += stored
        if parameter.requires_grad:
            trainable += true
    return ParameterCounts(total, trainable, packed)


def plan_parameters(
    hf_config: Any, adapter: AdapterConfig | None, *, load_in_4bit: bool = False
) -> ParameterCounts:
    """Count what a recipe would train from the model's configuration alone, on the meta device."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(hf_config)
    head = model.get_output_embeddings()
    four_bit = sum(
        module.weight.numel()
        for module in model.modules()
        if load_in_4bit and isinstance(module, torch.nn.Linear) and module is not head
    )
    if adapter is not None:
        with torch.device("meta"):
            # No SVD where there are no weights; PiSSA has the same parameters.
            plain = adapter.model_copy(update={"init_lora_weights": True})
            model = add_adapter(model, plain, seed=0)
    counts = count_parameters(model)
    return ParameterCounts(counts.total, counts.trainable, counts.total - four_bit // 2)


def context_length(model: Any) -> int | None:
    """Return how many positions the model was made for, if its configuration states it."""
    value = getattr(model.config, "max_position_embeddings", None)
    return int(value) if value else None


def _out_of_reach(name: str) -> bool:
    """Return whether a model can come only from the hub's cache."""
    return not Path(resolve(name)).is_dir() and hub.why_unreachable() is not None


def _why_not(what: str, name: str, error: Exception) -> str:
    text = str(error)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    if _out_of_reach(name):
        return hub.out_of_reach(name, hub.why_unreachable() or first)
    if "trust_remote_code" in text:
        return f"the {what} of {name!r} needs its own code (auto_map), which {UNTRUSTED}"
    if any(word in text for word in ("attn_implementation", "FlashAttention", "`kernels`")):
        remedy = "set model.attn_implementation=sdpa"
    elif what == "adapter":
        remedy = "save it again with PEFT, or train it again"
    elif Path(resolve(name)).is_dir():
        remedy = "check that the folder holds config.json, model.safetensors and tokenizer.json"
    elif "gated" in text or "401" in text or "403" in text:
        remedy = "accept the model's licence on the hub and run `hf auth login`"
    else:
        remedy = "check the id and the network, or download the model and give its folder"
    return f"{what} {name!r} could not be loaded: {first.rstrip('.')}; {remedy}"
