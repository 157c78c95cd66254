"""Weights and tokenizer on disk, checked without torch: headers, index, vocabulary size.

A safetensors file is an 8-byte length, a JSON header of that length, and the tensors' bytes in the
order of the header, without gaps (https://github.com/huggingface/safetensors#format). Nothing in a
header is trusted before it is checked against the size of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mathtune.errors import ModelError

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"

PICKLED = (
    "a pickle, which can run code when opened; convert it to safetensors if you trust it "
    "(save_pretrained of Transformers or PEFT writes them)"
)

_HEADER_LIMIT = 100 * 2**20  # the longest header that safetensors itself reads
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

Header = Mapping[str, Mapping[str, Any]]
"""``dtype``, ``shape`` and ``data_offsets`` per tensor."""


def read_header(path: Path) -> Header:
    """Return the header of a safetensors file, without its metadata.

    Raises:
        ModelError: It is not such a file, is cut off, or its header does not match its bytes.
    """
    again = "save or download the model again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start == b"version " and size < 1024:
                raise ModelError(
                    f"{path} is a Git LFS pointer, not the weights themselves; run git lfs pull "
                    f"in its repository, or {again}"
                )
            length = int.from_bytes(start, "little")
            if size < 8 or length > min(size - 8, _HEADER_LIMIT):
                raise ModelError(
                    f"{path} is not a safetensors file: its header would be {length:,} bytes "
                    f"long and the file has {size:,}; {again}"
                )
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if size < 8 + length + end:
            raise ModelError(f"{path} has {size:,} of its {8 + length + end:,} bytes; {again}")
        fault = _layout_fault(header, size - 8 - length)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is not a safetensors file; {again}") from error
    except RecursionError as error:
        raise ModelError(f"{path} is not a safetensors file; {again}") from error
    if fault:
        raise ModelError(f"{path} is damaged: {fault}; {again}")
    return dict(header)


def _layout_fault(header: Header, size: int) -> str | None:
    """Return what is wrong with a header's tensor positions in ``size`` bytes of data."""
    at = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        start, end = tensor["data_offsets"]
        shape = tensor["shape"]
        if any(type(number) is not int or number < 0 for number in (start, end, *shape)):
            return f"tensor {name!r} has a shape or a position that is not a whole number"
        if start < at:
            return f"tensor {name!r} overlaps another"
        if start > at:
            return f"{start - at:,} bytes before tensor {name!r} belong to none"
        bits = _BITS.get(tensor["dtype"])  # new dtypes are safetensors' business
        if bits is not None and (end - start) * 8 != math.prod(shape) * bits:
            return f"tensor {name!r} takes {end - start:,} bytes, not those of its shape {shape}"
        at = max(at, end)
    return f"{size - at:,} bytes at the end belong to no tensor" if size > at else None


def index_faults(folder: Path, weight_map: object) -> list[str]:
    """Return what a sharded model's index lists but the folder lacks, one sentence each.

    Args:
        folder: The model.
        weight_map: File of each tensor, from ``model.safetensors.index.json``.
    """
    index = folder / INDEX
    if not isinstance(weight_map, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in weight_map.values()
    ):
        return [
            f"{index} has no weight_map of tensors to files next to it; save or download the model "
            "again"
        ]
    files = sorted(set(weight_map.values()))
    if lost := [file for file in files if not (folder / file).is_file()]:
        return [
            f"{index} names {first_few(lost, 'file')} missing from the folder; download the "
            "model again"
        ]
    there = {file: read_header(folder / file).keys() for file in files}
    absent = [name for name, file in weight_map.items() if name not in there[file]]
    if not absent:
        return []
    return [
        f"{index} names {first_few(absent, 'tensor')} missing from its files; save or download "
        "the model again"
    ]


def first_few(names: Iterable[str], what: str, shown: int = 3) -> str:
    """Return a count with the first names, as ``9 tensors (a, b, c, …)``."""
    listed = sorted(names)
    plural = what if len(listed) == 1 else f"{what}s"
    more = ", …" if len(listed) > shown else ""
    return f"{len(listed):,} {plural} ({', '.join(listed[:shown])}{more})"


def vocabulary_fault(
    name: str, vocabulary: Mapping[str, int], added: Sequence[str], needed: Iterable[str], rows: int
) -> str | None:
    """Return why a tokenizer does not fit a model's embeddings, or None if it does.

    An added token that is not BOS, EOS and the like may be beyond the embeddings: Gemma 3's text
    models lack the row of ``<image_soft_token>``, which occurs in no text.

    Args:
        name: The model.
        vocabulary: Id of each token, added tokens included.
        added: The added tokens.
        needed: Special tokens that occur in every text.
        rows: Number of tokens the model has embeddings for.
    """
    spare = set(added) - set(needed)
    beyond = {token: at for token, at in vocabulary.items() if at >= rows and token not in spare}
    if not beyond:
        return None
    listed = [f"{token!r} is {at:,}" for token, at in sorted(beyond.items(), key=lambda i: i[1])]
    return (
        f"the tokenizer of {name!r} has ids up to {max(beyond.values()):,}, and the model has "
        f"embeddings for {rows:,} tokens: {first_few(listed, 'token')} beyond them; give the "
        "tokenizer that the model was trained with, or load both, call "
        "model.resize_token_embeddings(len(tokenizer)), train and save them"
    )


def tokenizer_fault(name: str, folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return why the tokenizer in a folder does not fit its ``config.json``, or None.

    A tokenizer without ``tokenizer.json`` is checked when it is loaded.
    """
    text = config.get("text_config")
    rows = config.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    path = folder / "tokenizer.json"
    if not isinstance(rows, int) or not path.is_file():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = saved["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: token and score
            vocabulary = {token: at for at, (token, _) in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in saved.get("added_tokens", ())}
        settings = folder / "tokenizer_config.json"
        special = json.loads(settings.read_text("utf-8")) if settings.is_file() else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # loading it reports why
    needed = [special.get(f"{role}_token") for role in ("bos", "eos", "pad", "unk")]
    needed = [each.get("content") if isinstance(each, dict) else each for each in needed]
    return vocabulary_fault(
        name, {**vocabulary, **added}, list(added), [each for each in needed if each], rows
    )
