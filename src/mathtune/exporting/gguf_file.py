"""A model folder written as one GGUF file, a tensor at a time.

The names of tensors come from the ``gguf`` package, which has those of every architecture. Tensors
of one dimension stay in 32 bits, as in llama.cpp's own files: they are small and norms are
sensitive. With Q4_0 embeddings and output layer have 8 bits, since an error there moves every
logit.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mathtune import progress
from mathtune.errors import MissingPackage, ModelError
from mathtune.exporting import architecture, vocabulary
from mathtune.exporting.architecture import Architecture, Array

log = logging.getLogger(__name__)

TYPES = ("f16", "bf16", "f32", "q8_0", "q4_0")
"""Types of weights that can be written."""

K_QUANTS = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k")
"""Types that only llama.cpp's own tool writes."""

_LARGEST_F16 = 65504.0
_BUFFERS = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file.

    Attributes:
        name: llama.cpp's name.
        source: Transformers' name; empty for what is computed from the configuration.
        file: The safetensors file that holds it.
        shape: As in Transformers.
        kind: Member of ``gguf.GGMLQuantizationType``.
        nbytes: Size in the file.
    """

    name: str
    source: str
    file: Path
    shape: tuple[int, ...]
    kind: Any
    nbytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """A file about to be written.

    Attributes:
        to: Its architecture.
        config: The model's configuration, as Transformers completes it.
        tensors: In the order of the file.
    """

    to: Architecture
    config: Mapping[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors if tensor.source)


def check_type(kind: str) -> None:
    """Raise ModelError unless weights can be written in a type."""
    if kind in TYPES:
        return
    if kind in K_QUANTS:
        raise ModelError(
            f"type {kind} is written by llama.cpp alone; export f16 here and run llama.cpp's "
            f"llama-quantize FILE-f16.gguf FILE-{kind}.gguf {kind.upper()}"
        )
    raise ModelError(f"type {kind!r} does not exist; give one of {', '.join(TYPES)}")


def check_package() -> None:
    """Raise MissingPackage if the package that writes the format is not installed."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            "writing GGUF needs the package gguf, which is not installed; run "
            "pip install 'mathtune[export]'"
        ) from error


def read(folder: Path, kind: str) -> Contents:
    """Return what the GGUF file of a model folder will hold.

    Args:
        folder: The model, as safetensors.
        kind: One of ``TYPES``.

    Raises:
        ModelError: The model has tensors or settings that llama.cpp has no place for.
    """
    import gguf
    from transformers import AutoConfig

    check_type(kind)
    try:
        config = AutoConfig.from_pretrained(folder).to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}/config.json cannot be read ({error})") from error
    to = architecture.architecture_of(config)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == to.name),
        config["num_hidden_layers"],
    )
    tensors, unknown = [], []
    tied = config.get("tie_word_embeddings", False)
    for source, (file, shape) in sorted(_stored(folder).items(), key=_in_order):
        if source.endswith(_BUFFERS) or (tied and source == "lm_head.weight"):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            unknown.append(source)
        else:
            tensors.append(_tensor(name, source, file, shape, kind))
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise ModelError(
            f"llama.cpp's {to.name} has no place for {len(unknown)} tensors of this model "
            f"({shown}); it cannot be written as GGUF"
        )
    if architecture.rope_factors(config) is not None:
        size = architecture.head_dim(config) // 2
        tensors.append(_tensor("rope_freqs.weight", "", folder, (size,), kind))
    if wide := sum(t.kind.name == "F16" for t in tensors if kind.startswith("q")):
        log.info(f"{wide} tensors have rows that blocks of 32 do not divide; they stay in 16 bits")
    return Contents(to, config, tuple(tensors))


def write(contents: Contents, tokenizer: Any, path: Path, *, kind: str, name: str) -> None:
    """Write a GGUF file.

    Args:
        contents: What it holds.
        tokenizer: The model's tokenizer.
        path: The file, which must not exist.
        kind: Type of the weights.
        name: ``general.name`` in its metadata.

    Raises:
        ModelError: Weights do not fit the type, or llama.cpp would tokenise differently.
        OSError: The disk is full or cannot be written.
    """
    import gguf

    found = vocabulary.vocabulary_of(tokenizer, contents.config["vocab_size"])
    writer = gguf.GGUFWriter(path, contents.to.name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    label = "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"
    writer.add_file_type(gguf.LlamaFileType[label])
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    architecture.describe(writer, contents.to, contents.config)
    vocabulary.write(writer, tokenizer, found)
    for tensor in contents.tensors:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.kind
        )
    with contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        (out,) = writer.fout
        done = 0
        with progress.bar(f"writing {path.name}", contents.nbytes) as bar:
            for tensor, weights in _values(contents):
                data = gguf.quants.quantize(weights, tensor.kind)
                writer.write_padding(out, out.tell())
                out.write(np.ascontiguousarray(data).data)  # its own tofile hides a full disk
                done += tensor.nbytes
                bar.update(done)
        writer.write_padding(out, out.tell())


def _values(contents: Contents) -> Iterator[tuple[Tensor, Array]]:
    """Yield each tensor with its weights, as the file keeps them before rounding."""
    from safetensors import safe_open

    for tensor in contents.tensors:
        if not tensor.source:
            factors = architecture.rope_factors(contents.config)
            assert factors is not None
            yield tensor, factors
            continue
        with safe_open(tensor.file, framework="pt") as stored:
            weights: Array = stored.get_tensor(tensor.source).float().numpy()
        convert = architecture.converter(contents.to, contents.config, tensor.source)
        if convert is not None:
            weights = convert(weights)
        largest = float(np.abs(weights).max(initial=0.0))
        if not math.isfinite(largest):
            raise ModelError(f"tensor {tensor.source} holds NaN or infinite numbers; train again")
        if tensor.kind.name == "F16" and largest > _LARGEST_F16:
            raise ModelError(
                f"tensor {tensor.source} holds {largest:,.0f}, and F16 ends at 65,504; give "
                "--type bf16 or f32"
            )
        yield tensor, weights


def _tensor(name: str, source: str, file: Path, shape: tuple[int, ...], kind: str) -> Tensor:
    import gguf

    types = gguf.GGMLQuantizationType
    held = types[kind.upper()]
    if len(shape) == 1:
        held = types.F32
    elif kind == "q4_0" and name.startswith(("token_embd.", "output.")):
        held = types.Q8_0
    block, size = gguf.GGML_QUANT_SIZES[held]
    if shape[-1] % block:
        held = types.F16
        block, size = gguf.GGML_QUANT_SIZES[held]
    return Tensor(name, source, file, shape, held, math.prod(shape) // block * size)


def _stored(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Return file and shape of each tensor in a model folder."""
    from mathtune.models.checks.weight_files import read_header

    return {
        name: (file, tuple(facts["shape"]))
        for file in sorted(folder.glob("*.safetensors"))
        for name, facts in read_header(file).items()
    }


def _in_order(item: tuple[str, object]) -> tuple[int, ...] | tuple[int, int, str]:
    """Sort embeddings first and layers by number, so that a file is read from front to end."""
    parts = item[0].split(".")
    number = next((int(part) for part in parts if part.isdigit()), None)
    if number is None:
        return (0 if "embed" in item[0] else 2, 0, item[0])
    return (1, number, item[0])
