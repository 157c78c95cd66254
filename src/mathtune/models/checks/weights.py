"""Is a loaded model complete? Every tensor came from its files, with its shape, and is finite.

Transformers fills what a checkpoint lacks with random numbers and drops what it has no place for,
and PEFT does the same for adapters; both only warn. Such a model answers, and its figures look like
any other's. Transformers knows what a family may lack or add (tied output layers, rotary buffers),
and the comparison comes after it has renamed or fused tensors while loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from mathtune import ranks
from mathtune.errors import ModelError
from mathtune.models.checks.weight_files import first_few, read_header, vocabulary_fault

_AGAIN = "save or download the model again"


_BUFFERS = re.compile(r"\.(masked_bias|causal_mask|position_ids|inv_freq|rotary_emb\.\w+)$")
_MASKS = re.compile(r"\.(attn|attention)\.bias$")
"""What older checkpoints hold besides weights; a model creates these itself."""


def check_loading(name: str, model: Any, info: Mapping[str, Any], folder: Path | None) -> None:
    """Raise ModelError if a model's weights are not the ones in its files.

    Args:
        name: The model.
        model: As returned by ``from_pretrained``.
        info: Its ``output_loading_info``: missing, unexpected and mismatched keys.
        folder: Its files.
    """
    missing = set(info["missing_keys"])
    unexpected = _weights_among(info["unexpected_keys"], folder)
    mismatched = {key: (tuple(saved), tuple(own)) for key, saved, own in info["mismatched_keys"]}
    missing -= mismatched.keys()
    if missing and (prefix := _prefix(missing, unexpected)):
        raise ModelError(
            f"the names of {first_few(unexpected, 'tensor')} of model {name!r} begin with "
            f"{prefix!r}, so none is found by its own name; save the model on its own "
            "(merge_and_unload() and save_pretrained() if PEFT put an adapter on it)"
        )
    architecture = type(model).__name__
    faults = []
    if mismatched:
        shapes = [
            f"{key}: {list(saved)} saved, {list(own)} by config.json"
            for key, (saved, own) in mismatched.items()
        ]
        faults.append(
            f"model {name!r} has weights of other shapes than in its config.json: "
            f"{first_few(shapes, 'tensor')}; {_AGAIN}"
        )
    if missing:
        faults.append(
            f"model {name!r} lacks {first_few(missing, 'tensor')} of {architecture}, which would "
            f"be random numbers; {_saved_as(model) or _AGAIN}"
        )
    if unexpected:
        faults.append(
            f"model {name!r} holds {first_few(unexpected, 'tensor')} that {architecture} by its "
            "config.json has no place for; give the config.json that belongs to these weights, or "
            "save the model without them"
        )
    if faults:
        raise ModelError(faults)


def is_buffer(name: str) -> bool:
    """Return whether a name in a model's files is a buffer's that the model creates itself."""
    return _BUFFERS.search(name) is not None


def _weights_among(unexpected: Iterable[str], folder: Path | None) -> set[str]:
    """Return the names that are not buffers, which are known by name or, if masks, by shape."""
    left = {name for name in unexpected if not is_buffer(name)}
    if folder is not None and any(map(_MASKS.search, left)):
        shapes = {
            name: facts["shape"]
            for path in folder.glob("*.safetensors")
            for name, facts in read_header(path).items()
        }
        masks = (name for name in left if _MASKS.search(name))
        left -= {name for name in masks if len(shapes.get(name, ())) == 4}  # [1, 1, length, length]
    return left


def _prefix(missing: set[str], unexpected: set[str]) -> str | None:
    """Return the prefix that turns the missing names into the unexpected ones, if any."""
    shortest = min(missing, key=len)
    for name in unexpected:
        prefix = name.removesuffix(shortest)
        if prefix and prefix != name and {prefix + each for each in missing} <= unexpected:
            return prefix
    return None


def _saved_as(model: Any) -> str | None:
    """Return the remedy for a model saved with another head, such as a classifier's."""
    (saved, *_) = getattr(model.config, "architectures", None) or [""]
    if not saved.endswith(("Classification", "QuestionAnswering", "ForMaskedLM")):
        return None
    return f"it was saved as {saved}, which generates no text: give a causal language model"


def check_finite(name: str, model: Any, folder: Path | None) -> None:
    """Raise ModelError if weights are NaN or infinite.

    The minimum and maximum of each tensor show it, at memory speed. 4-bit weights are checked in
    the model's files, because rounding to 4 bits turns NaN into numbers.
    """
    bad = {key for key, tensor in model.named_parameters() if not _is_finite(_own_part(tensor))}
    if any(isinstance(tensor, DTensor) for tensor in model.parameters()):  # this rank's part
        bad = set().union(*ranks.gather(bad))
    if folder is not None and getattr(model, "is_quantized", False):
        bad |= {key for key, tensor in _saved(folder) if not _is_finite(tensor)}
    if bad:
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        remedy = " or set model.dtype=float32, if finite there" if dtype == "float16" else ""
        raise ModelError(
            f"model {name!r} holds NaN or infinite numbers, as {dtype}, in "
            f"{first_few(bad, 'tensor')}; {_AGAIN}{remedy}"
        )


def _own_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a sharded tensor; any other is whole."""
    part: Tensor = tensor.detach().to_local() if isinstance(tensor, DTensor) else tensor
    return part


def _is_finite(tensor: Tensor) -> bool:
    if tensor.is_meta or not tensor.numel() or not tensor.is_floating_point():
        return True
    if tensor.dtype.itemsize == 1:  # 8-bit types have no minimum on every device
        return bool(tensor.float().isfinite().all())
    low, high = tensor.detach().aminmax()  # NaN propagates
    return bool(low.isfinite() & high.isfinite())


def _saved(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                yield key, file.get_tensor(key)


def check_adapter(folder: Path, model: Any) -> None:
    """Raise ModelError unless an adapter's tensors are exactly those the adapted model needs.

    Args:
        folder: The adapter.
        model: The base with the adapter on it.
    """
    from peft import set_peft_model_state_dict

    (adapter,) = model.peft_config
    saved = load_file(folder / "adapter_model.safetensors")
    loaded = set_peft_model_state_dict(model, dict(saved), adapter_name=adapter)
    marked = re.compile(rf"\.{re.escape(adapter)}(\.|$)")  # the base's are not in the file
    missing = [key for key in loaded.missing_keys if marked.search(key)]
    faults = []
    if missing:
        faults.append(_lacking(folder, missing))
    if loaded.unexpected_keys:
        faults.append(
            f"adapter {str(folder)!r} holds {first_few(loaded.unexpected_keys, 'tensor')} that "
            "neither its adapter_config.json nor its base has a place for; give it the base that "
            "it was trained on, or save it again"
        )
    if bad := [key for key, tensor in saved.items() if not _is_finite(tensor)]:
        faults.append(
            f"adapter {str(folder)!r} holds NaN or infinite numbers in "
            f"{first_few(bad, 'tensor')}; train it again"
        )
    if faults:
        raise ModelError(faults)


def adapter_fault(folder: Path, error: Exception) -> str | None:
    """Return which tensors of an adapter PEFT rejected; None if it failed for another reason."""
    if isinstance(error, KeyError) and isinstance(error.args[0], str):  # in a module saved whole
        return _lacking(folder, error.args)
    found: Iterable[tuple[str, str, str]] = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\((\[[\d, ]*\])\) from "
        r"checkpoint, the shape in current model is torch\.Size\((\[[\d, ]*\])\)",
        str(error),
    )
    shapes = [f"{key}: {saved} saved, {own} on this base" for key, saved, own in found]
    if not shapes:
        return None
    return (
        f"adapter {str(folder)!r} has other shapes than its base: {first_few(shapes, 'tensor')}; "
        "give it the base that it was trained on"
    )


def _lacking(folder: Path, names: Iterable[str]) -> str:
    return (
        f"adapter {str(folder)!r} lacks {first_few(names, 'tensor')} that its adapter_config.json "
        "requires, which would be as if never trained; save or train it again"
    )


def check_vocabulary(name: str, tokenizer: Any, model: Any) -> None:
    """Raise ModelError if the tokenizer has ids that the model has no embeddings for."""
    rows = embedding_rows(model)
    needed = [token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)]
    fault = vocabulary_fault(
        name, tokenizer.get_vocab(), list(tokenizer.get_added_vocab()), needed, rows
    )
    if fault:
        raise ModelError(fault)


def embedding_rows(model: Any) -> int:
    """Return how many tokens a model has embeddings for."""
    return int(model.get_input_embeddings().num_embeddings)
