"""A model under FSDP, of which each rank reads its share from the files and never the whole.

It is built without memory for its weights and sharded; then each rank reads its slices from the
safetensors files, through PyTorch's distributed checkpoints, which know which rank holds what. That
needs files whose tensors are the model's own. Where Transformers renames, fuses or dequantises
tensors as it loads them, each rank loads the whole model, and this is said.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from mathtune import hub, ranks
from mathtune.config.schema import ModelConfig
from mathtune.models.checks.before_loading import adapter_folder
from mathtune.models.checks.weight_files import INDEX, WEIGHTS, read_header
from mathtune.models.checks.weights import check_finite, is_buffer
from mathtune.models.compute import Compute
from mathtune.models.files import local_folder, resolve

log = logging.getLogger(__name__)

_ADAPTED = "base_model.model."
"""What PEFT puts before the names of a model's weights."""


def build_without_weights(config: ModelConfig, compute: Compute) -> Any | None:
    """Return the model with its weights on the meta device, for ``read_weights`` after sharding.

    None, with the reason in the log, where its files do not hold the model's tensors one to one.
    """
    name = config.name_or_path or ""
    try:
        reason = None
        if adapter_folder(name, config.revision) is not None:
            reason = "it is an adapter"
        model = None if reason else _on_meta(config, compute)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        model, reason = None, str(error).splitlines()[0]  # loading it whole reports it
    if model is not None:
        if getattr(model.config, "quantization_config", None) is not None:
            reason = "its weights are quantised"
        elif not _same_tensors(model, files_of(name, config.revision)):
            reason = "its files hold other tensors, or name them otherwise, than the model"
    if reason is None:
        return model
    log.info(f"each process loads the whole model before it is divided: {reason}")
    return None


def _on_meta(config: ModelConfig, compute: Compute) -> Any:
    path = resolve(config.name_or_path or "")
    options = {
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": not Path(path).is_dir() and hub.why_unreachable() is not None,
    }
    hf_config = AutoConfig.from_pretrained(path, **options)
    # Buffers, such as rotary frequencies, are small, and in no file.
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            hf_config,
            dtype=compute.dtype,
            attn_implementation=config.attn_implementation,
            trust_remote_code=config.trust_remote_code,
        )
    model.tie_weights()
    if model.can_generate():
        try:
            model.generation_config = GenerationConfig.from_pretrained(path, **options)
        except OSError:  # there is none
            model.generation_config = GenerationConfig.from_model_config(hf_config)
    return model.eval()  # as from_pretrained returns it


def files_of(name: str, revision: str | None) -> list[Path]:
    """Return a model's safetensors files; those on the hub are fetched, by rank 0 first."""
    folder = local_folder(name, revision) if Path(resolve(name)).is_dir() else None

    def find(file: str) -> Path | None:
        if folder is not None:
            return folder / file if (folder / file).is_file() else None
        cached_only = hub.why_unreachable() is not None
        return hub.model_file(name, file, revision, cached_only=cached_only)

    with ranks.main_process_first():
        if (index := find(INDEX)) is None:
            found = [find(WEIGHTS)]
        else:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            found = [find(file) for file in sorted(set(weight_map.values()))]
    return [path for path in found if path is not None]


def _same_tensors(model: Any, files: list[Path]) -> bool:
    """Return whether a folder's files hold exactly the model's tensors, in their shapes."""
    if {*files} != {*files[0].parent.glob("*.safetensors")}:
        return False
    saved = {name: each["shape"] for path in files for name, each in read_header(path).items()}
    saved = {name: shape for name, shape in saved.items() if not is_buffer(name)}
    own = {name: list(weight.shape) for name, weight in model.named_parameters()}
    own |= {name: list(each.shape) for name, each in _saved_buffers(model)}
    return saved == own


def _saved_buffers(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the buffers that belong to a model's files."""
    kept = model.state_dict(keep_vars=True).keys()
    for name, buffer in model.named_buffers():
        if name in kept and not is_buffer(name):
            yield name, buffer


@contextmanager
def stand_ins(model: Any) -> Iterator[None]:
    """Give weights on the meta device zeros without memory, so that PEFT can put adapters on them.

    It makes an adapter on its layer's device, and must draw its first values on the CPU.
    """
    missing = [weight for weight in model.parameters() if weight.is_meta]
    zeros = {id(w): torch.zeros((), dtype=w.dtype).expand(w.shape) for w in missing}
    standing = _replace(model, zeros)
    try:
        yield
    finally:
        _replace(model, {id(w): torch.empty_like(w, device="meta") for w in standing})


def read_weights(model: Any, config: ModelConfig, device: torch.device) -> None:
    """Give each weight that is still on the meta device this rank's share, from the files.

    Every rank calls it, after sharding and before an optimiser sees the weights.

    Raises:
        ModelError: Weights are NaN or infinite.
    """
    missing = [(name, weight) for name, weight in model.named_parameters() if weight.is_meta]
    if not missing:
        return
    name = config.name_or_path or ""
    with torch.no_grad():
        own = {key: torch.empty_like(weight, device=device) for key, weight in missing}
        wanted = {_name_in_files(key): share for key, share in own.items()}
        wanted |= {_name_in_files(key): buffer for key, buffer in _saved_buffers(model)}
        folder = str(files_of(name, config.revision)[0].parent)
        dcp.load(
            wanted,
            storage_reader=dcp.HuggingFaceStorageReader(folder),
            process_group=ranks.group(),
        )
    _replace(model, {id(weight): own[key] for key, weight in missing})
    check_finite(name, model, None)


def _name_in_files(name: str) -> str:
    return name.removeprefix(_ADAPTED).replace(".base_layer.", ".")


def _replace(model: Any, own: Mapping[int, torch.Tensor]) -> list[torch.nn.Parameter]:
    """Replace weights, known by their ids, and return the new ones; tied ones stay tied."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if (key := id(weight)) in own:
                if key not in made:
                    made[key] = torch.nn.Parameter(own[key], weight.requires_grad)
                module._parameters[name] = made[key]
    return [*made.values()]
