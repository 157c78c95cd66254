"""A model folder written as one GGUF file, a tensor at a time.

The names of tensors come from the ``gguf`` package, which has those of every architecture. Tensors
of one dimension stay in 32 bits, as in llama.cpp's own files: they are small and norms are
sensitive.
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
from mathtune.errors import ModelError
from mathtune.exporting.gguf_format import architecture, vocabulary, weight_types
from mathtune.exporting.gguf_format.architecture import Architecture, Array

log = logging.getLogger(__name__)

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


def read(folder: Path, kind: str) -> Contents:
    """Return what the GGUF file of a model folder will hold.

    Args:
        folder: The model, as safetensors.
        kind: One of ``weight_types.TYPES``.

    Raises:
        ModelError: The model has tensors or settings that llama.cpp has no place for.
    """
    import gguf
    from transformers import AutoConfig

    weight_types.check_type(kind)
    try:
        config = AutoConfig.from_pretrained(folder).to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}/config.json cannot be read ({error})") from error
    to = architecture.architecture_of(config)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == to.name),
        config["num_hidden_layers"],
    )
    tensors: list[Tensor] = []
    unknown = []
    tied = config.get("tie_word_embeddings", False)

    def add(name: str, source: str, file: Path, shape: tuple[int, ...]) -> None:
        layers = config["num_hidden_layers"]
        held = weight_types.type_of(name, shape, kind, layers=layers, tied=tied)
        size = weight_types.nbytes(shape, held)
        tensors.append(Tensor(name, source, file, shape, held, size))

    for source, (file, shape) in sorted(_stored(folder).items(), key=_in_order):
        if source.endswith(_BUFFERS) or (tied and source == "lm_head.weight"):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            unknown.append(source)
        else:
            add(name, source, file, shape)
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise ModelError(
            f"llama.cpp's {to.name} has no place for {len(unknown)} tensors of this model "
            f"({shown}); it cannot be written as GGUF"
        )
    if architecture.rope_factors(config) is not None:
        size = architecture.head_dim(config) // 2
        add("rope_freqs.weight", "", folder, (size,))
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
    writer.add_file_type(gguf.LlamaFileType[weight_types.label(kind)])
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
                data = weight_types.packed(weights, tensor.kind)
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
