"""Models: found, loaded, quantised, given an adapter, counted."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from mathtune import hub
from mathtune.config.schema import AdapterConfig, ModelConfig
from mathtune.errors import ModelError
from mathtune.model_files import check_is_there, read_config, resolve
from mathtune.training.device import Compute


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """How many parameters there are and how many are trained.

    ``packed`` counts two 4-bit weights as one, as a look at the stored tensors shows them; shares
    computed from it are common in published work and twice as flattering, so both are named.
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
    read_config(name, config.revision)  # what is missing is told better than by Transformers
    folder = Path(resolve(name))
    if (folder / "adapter_config.json").is_file():
        return _load_adapter(folder, config, compute)
    try:
        return _from_pretrained(resolve(name), config, compute)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(_why_not("model", name, error)) from error
    except RuntimeError as error:
        if "mismatched" not in str(error):
            raise
        raise ModelError(
            f"model {name!r} has weights of other shapes than its config.json says; save or "
            "download the model again"
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
    model = AutoModelForCausalLM.from_pretrained(
        path,
        revision=config.revision,
        dtype=compute.dtype,
        attn_implementation=config.attn_implementation,
        quantization_config=quantization,
        device_map={"": compute.device},
        trust_remote_code=config.trust_remote_code,
        use_safetensors=True,
        local_files_only=_out_of_reach(path),
    )
    for module in model.modules():
        # bitsandbytes repacks 4-bit weights on CPUs with AVX512-BF16 at the first forward in
        # evaluation mode, with scales rounded to bf16 and for good: validation would change what is
        # trained.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _load_adapter(folder: Path, config: ModelConfig, compute: Compute) -> Any:
    """Load an adapter on the very base it was trained on, in the same 4-bit form if it was."""
    import json

    from peft import PeftModel

    adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base_name = adapter["base_model_name_or_path"]
    quantised = (folder / "quantization.json").is_file()
    base = config.model_copy(
        update={
            "name_or_path": base_name,
            "revision": adapter.get("revision"),
            "load_in_4bit": quantised or config.load_in_4bit,
        }
    )
    model = load_model(base, compute)
    return PeftModel.from_pretrained(model, str(folder))


def build_from_config(config: ModelConfig, tokenizer: Any, compute: Compute, seed: int) -> Any:
    """Make a model with random weights from ``model.from_config``.

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
        return AutoModelForCausalLM.from_config(built, dtype=compute.dtype).to(compute.device)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"model.from_config={config.from_config} cannot be built: {error}; check the values "
            "against the architecture's Transformers configuration"
        ) from error


def check_targets(model: Any, adapter: AdapterConfig) -> None:
    """Raise ModelError if a name in ``adapter.target_modules`` fits no module of the model.

    PEFT passes over such a name as long as another one fits.
    """
    wanted = adapter.target_modules
    if wanted == "all-linear":
        return
    names = [name for name, _ in model.named_modules()]
    if isinstance(wanted, str):  # a pattern for whole names, as PEFT reads it
        unknown = [] if any(re.fullmatch(wanted, name) for name in names) else [wanted]
    else:
        unknown = [part for part in wanted if not any(f".{n}".endswith(f".{part}") for n in names)]
    if unknown:
        linear = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()
        }
        raise ModelError(
            f"adapter.target_modules={', '.join(unknown)} fits no layer of this model; give "
            f"all-linear or some of {', '.join(sorted(linear))}"
        )


def add_adapter(model: Any, adapter: AdapterConfig, seed: int) -> Any:
    """Freeze the model and put a LoRA adapter on it; its weights are float32.

    Raises:
        ModelError: If a target module does not exist in the model.
    """
    from peft import LoraConfig, get_peft_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    torch.manual_seed(seed)
    try:
        return get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=adapter.r,
                lora_alpha=adapter.lora_alpha,
                lora_dropout=adapter.lora_dropout,
                target_modules=adapter.target_modules,
                use_rslora=adapter.use_rslora,
                use_dora=adapter.use_dora,
            ),
        )
    except ValueError as error:
        raise ModelError(
            f"adapter.target_modules={adapter.target_modules} does not fit this model: {error}; "
            "use all-linear, or names of its linear layers"
        ) from error


def count_parameters(model: Any) -> ParameterCounts:
    """Count a model's parameters, 4-bit weights both as they are and as they are packed."""
    total = trainable = packed = 0
    for parameter in model.parameters():
        stored = parameter.numel()
        # bitsandbytes keeps two 4-bit weights in a byte; quant_state knows the true shape.
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
            model = add_adapter(model, adapter, seed=0)
    counts = count_parameters(model)
    return ParameterCounts(counts.total, counts.trainable, counts.total - four_bit // 2)


def context_length(model: Any) -> int | None:
    """Return how many positions the model was made for, where its configuration says so."""
    value = getattr(model.config, "max_position_embeddings", None)
    return int(value) if value else None


def _out_of_reach(name: str) -> bool:
    """Return whether only the hub's cache can be asked for a model."""
    return not Path(resolve(name)).is_dir() and hub.why_unreachable() is not None


def _why_not(what: str, name: str, error: Exception) -> str:
    text = str(error)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    if _out_of_reach(name):
        return hub.out_of_reach(name, hub.why_unreachable() or first)
    if Path(resolve(name)).is_dir():
        remedy = "check that the folder holds config.json, model.safetensors and tokenizer.json"
    elif "gated" in text or "401" in text or "403" in text:
        remedy = "accept the model's licence on the hub and run `hf auth login`"
    else:
        remedy = "check the id and the network, or download the model and give its folder"
    return f"{what} {name!r} could not be loaded: {first.rstrip('.')}; {remedy}"
