"""LoRA adapters: added to a model, initialised, and saved so that any library can load them.

PiSSA (Meng et al. 2024) splits each weight W into its largest singular directions, which become the
adapter B₀A₀, and a frozen rest W − B₀A₀. Training then works on that rest, which is on no hub. So
B₀ and A₀ are kept in the run folder: a resumed run computes the same rest from them, bit for bit
and without another SVD, and the trained adapter is saved as BA − B₀A₀, a plain LoRA of twice the
rank on the original base.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mathtune.config.schema import AdapterConfig
from mathtune.errors import ModelError
from mathtune.storage import is_whole, publish, saving, seal

WEIGHTS = "adapter_model.safetensors"


def check_targets(model: Any, adapter: AdapterConfig) -> None:
    """Raise ModelError if a name in ``adapter.target_modules`` matches no module of the model.

    PEFT ignores such a name as long as another one matches.
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
            f"adapter.target_modules={', '.join(unknown)} matches no layer of this model; give "
            f"all-linear or some of {', '.join(sorted(linear))}"
        )


def add_adapter(model: Any, adapter: AdapterConfig, seed: int, initial: Path | None = None) -> Any:
    """Freeze the model and put a LoRA adapter on it; its weights are float32.

    Args:
        model: A causal language model; with PiSSA its weights are changed.
        adapter: The recipe's section.
        seed: Seed of the adapter's weights.
        initial: With PiSSA, the folder for the adapter's initial weights: written the first time,
            read from then on.

    Raises:
        ModelError: If a target module does not exist in the model, or ``initial`` is damaged.
    """
    from peft import LoraConfig, get_peft_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    kept = adapter.is_pissa and initial is not None and initial.exists()
    torch.manual_seed(seed)
    try:
        adapted = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=adapter.r,
                lora_alpha=adapter.lora_alpha,
                lora_dropout=adapter.lora_dropout,
                target_modules=adapter.target_modules,
                use_rslora=adapter.use_rslora,
                use_dora=adapter.use_dora,
                init_lora_weights=True if kept else adapter.init_lora_weights,
            ),
        )
    except ValueError as error:
        raise ModelError(
            f"adapter.target_modules={adapter.target_modules} does not fit this model: {error}; "
            "use all-linear, or names of its linear layers"
        ) from error
    if adapter.is_pissa and initial is not None:
        if kept:
            _restore_initial(adapted, initial)
        else:
            _keep_initial(adapted, initial)
    return adapted


def _keep_initial(model: Any, initial: Path) -> None:
    from peft import get_peft_model_state_dict

    temporary = initial.with_name(initial.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with saving(temporary):
        save_file(
            {name: part.contiguous() for name, part in get_peft_model_state_dict(model).items()},
            temporary / WEIGHTS,
        )
        seal(temporary)
        publish(temporary, initial)


def _restore_initial(model: Any, initial: Path) -> None:
    """Set the adapter's initial weights and subtract them from the base's."""
    from peft import set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import transpose

    if not is_whole(initial):
        raise ModelError(
            f"{initial} is damaged, and without it the base weights of the checkpoints "
            "cannot be restored; choose another --run-dir"
        )
    set_peft_model_state_dict(model, load_file(initial / WEIGHTS))
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            (name,) = layer.lora_A.keys()
            # The same arithmetic as PEFT's pissa_init, bit for bit.
            weight = layer.get_base_layer().weight
            flipped = layer.fan_in_fan_out
            whole = transpose(weight.to(torch.float32), flipped).data
            lora_a, lora_b = layer.lora_A[name].weight.data, layer.lora_B[name].weight.data
            rest = whole - layer.scaling[name] * lora_b @ lora_a
            weight.data = transpose(rest.to(weight.dtype), flipped)


def save_as_lora(folder: Path, initial: Path) -> None:
    """Turn a saved PiSSA adapter into a LoRA adapter on the original base, in its own folder.

    W − B₀A₀ + BA = W + [B, −B₀][A; A₀], of rank 2r. The scale stays: ``lora_alpha`` grows with the
    rank (with its root for rsLoRA). DoRA's magnitudes belong to the same sum and stay as they are.
    """
    trained, begun = load_file(folder / WEIGHTS), load_file(initial / WEIGHTS)
    for name, part in trained.items():
        if ".lora_A." in name:
            trained[name] = torch.cat([part, begun[name]], dim=0)
        elif ".lora_B." in name:
            trained[name] = torch.cat([part, -begun[name]], dim=1)
    temporary = folder / (WEIGHTS + ".tmp")
    save_file(trained, temporary, metadata={"format": "pt"})
    os.replace(temporary, folder / WEIGHTS)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["init_lora_weights"] = True
    config["r"] *= 2
    config["lora_alpha"] *= 2**0.5 if config["use_rslora"] else 2
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
