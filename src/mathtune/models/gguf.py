"""GGUF files as models: converted once into a folder that Transformers loads like any other.

Transformers reads the file with the ``gguf`` package and dequantises it; tokenizer, special tokens
and chat template come from the file too. The folder is in a cache, named by the file's content, and
appears only when complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import shutil
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mathtune.errors import DiskError, ModelError
from mathtune.storage import saving, staged, sync_folder, write_json

log = logging.getLogger(__name__)

ENDING = ".gguf"
ORIGIN = "converted_from.json"
"""In a converted folder: the original file, its SHA-256 and its quantisation."""

_SETTLED_NS = 2_000_000_000
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FLOAT32_BYTES = 4 * 2**30
"""Up to this many bytes weights stay in float32, as dequantised; above, they are in bfloat16."""


def cache_folder() -> Path:
    """Return the folder of converted and fetched models; ``MATHTUNE_CACHE`` overrides it."""
    return Path(os.environ.get("MATHTUNE_CACHE") or Path.home() / ".cache" / "mathtune")


def make_folder(folder: Path) -> None:
    """Make a folder in the cache.

    Raises:
        DiskError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"cache folder {folder} cannot be made ({error.strerror or error}); set MATHTUNE_CACHE "
            "to a folder that can be written"
        ) from error


def converted(file: Path) -> Path:
    """Return the folder of a GGUF file's model, converting it if necessary.

    Raises:
        ModelError: The file is missing, cut off or not a GGUF file, its architecture or
            quantisation is not supported, or the ``gguf`` package is not installed.
        DiskError: The folder could not be written.
    """
    _check(file)
    digest = digest_of(file)
    folder = cache_folder() / "gguf" / f"{file.stem}-{digest[:16]}"
    if not (folder / ORIGIN).is_file():
        _convert(file, digest, folder)
    return folder


def _check(file: Path) -> None:
    if not file.is_file():
        raise ModelError(f"GGUF file {str(file)!r} does not exist; check the path")
    with file.open("rb") as stream:
        head = stream.read(24)
    if head[:4] != _MAGIC:
        shown = "a Git LFS pointer, not the model itself" if head.startswith(b"version ") else ""
        raise ModelError(
            f"{str(file)!r} is {shown or 'not a GGUF file (does not begin with GGUF)'}; "
            "download the model again, or give its Transformers folder"
        )
    version = struct.unpack("<I", head[4:8])[0] if len(head) == 24 else 0
    if version not in _VERSIONS:
        raise ModelError(
            f"{str(file)!r} has GGUF version {version}, and only 2 and 3 can be read; convert or "
            "download the model again"
        )
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"reading {str(file)!r} needs the package gguf, which is not installed; run "
            "pip install 'mathtune[gguf]'"
        )


def digest_of(file: Path) -> str:
    """Return the file's SHA-256, cached by path, inode, size and both times of change.

    Of a file that changed within the last seconds nothing is cached: it may change again within
    one tick of the file system's clock.
    """
    status = file.stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    key = "|".join(map(str, (file.resolve(), status.st_ino, status.st_size, *times)))
    index = cache_folder() / "gguf" / "digests.json"
    try:
        known = json.loads(index.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    if key not in known:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        known[key] = digest.hexdigest()
        if time.time_ns() - max(times) > _SETTLED_NS:
            make_folder(index.parent)
            write_json(index, known)
    return str(known[key])


def _convert(file: Path, digest: str, folder: Path) -> None:
    reader = _read(file)
    kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    quantised, _ = kinds.most_common(1)[0] if kinds else ("nothing", 0)
    parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
    _check_blocks(file, reader)
    wide = 4 * parameters <= _FLOAT32_BYTES
    del reader
    log.info(
        f"converting {file.name} ({parameters / 1e6:,.0f}M parameters, mostly {quantised}) to "
        f"{'float32' if wide else 'bfloat16'} safetensors, once, in {folder}"
    )
    make_folder(folder.parent)
    with staged(folder) as staging, saving(staging, needed=parameters * (4 if wide else 2)):
        _save(file, staging, "float32" if wide else "bfloat16")
        origin = {"file": file.name, "sha256": digest, "tensor_types": dict(kinds)}
        write_json(staging / ORIGIN, origin)
        sync_folder(staging)
        shutil.rmtree(folder, ignore_errors=True)  # from a start that left it unsealed
        staging.rename(folder)


def _check_blocks(file: Path, reader: Any) -> None:
    """Refuse a file whose layers are not as many as it says; Transformers would drop the others."""
    named = (re.match(r"blk\.(\d+)\.", tensor.name) for tensor in reader.tensors)
    layers = max((int(match[1]) + 1 for match in named if match), default=0)
    for name, field in reader.fields.items():
        if name.endswith(".block_count") and int(field.contents()) != layers:
            raise ModelError(
                f"{str(file)!r} holds tensors of {layers} layers and says that it has "
                f"{int(field.contents())}; it is damaged or was put together wrongly: download it "
                "again"
            )


def _read(file: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except (ValueError, KeyError, IndexError, OSError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"{str(file)!r} is cut off or damaged ({_first_line(error)}); download it again"
        ) from error


def _save(file: Path, folder: Path, dtype: str) -> None:
    """Let Transformers dequantise a file and save model and tokenizer as its own."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
            tokenizer = AutoTokenizer.from_pretrained(**place)
            model, found = AutoModelForCausalLM.from_pretrained(
                **place, dtype=getattr(torch, dtype), output_loading_info=True
            )
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError, OSError) as error:
        raise ModelError(
            f"{str(file)!r} cannot be read by Transformers ({_first_line(error)}); give the "
            "model's own folder or hub id"
        ) from error
    lost = sorted(found["missing_keys"])
    if lost:
        raise ModelError(
            f"{str(file)!r} lacks {len(lost)} tensors of its architecture ({', '.join(lost[:3])}…);"
            " download it again, or give the model's own folder or hub id"
        )
    if hasattr(model.config, "quantization_config"):  # it is no longer quantised
        del model.config.quantization_config
    model.hf_quantizer = None
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
