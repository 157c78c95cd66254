"""Which base an adapter was trained on: recorded with the adapter, checked when it is loaded.

An adapter on another base still answers, only wrongly, and nothing in its own files shows it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mathtune.config.schema import ModelConfig
from mathtune.errors import ModelError
from mathtune.models import files as model_files
from mathtune.models.checks import weight_files
from mathtune.models.checks.before_loading import adapter_folder

BASE = "base.json"
QUANTIZATION = "quantization.json"

_BLOCK = 4096


def note_base(folder: Path, config: ModelConfig, dtype: str) -> None:
    """Record in an adapter's folder what it was trained on.

    ``adapter_config.json`` names the base so that it can be found from anywhere: a folder by its
    absolute path, a model on the hub by its id and the commit that was read. ``base.json`` holds
    its fingerprint and the dtype of its weights, ``quantization.json`` their 4-bit form, if any.
    """
    path = folder / "adapter_config.json"
    adapter = json.loads(path.read_text(encoding="utf-8"))
    name, revision = _lasting(config)
    adapter |= {"base_model_name_or_path": name, "revision": revision}
    _write(path, adapter)
    if config.name_or_path is not None:  # else its weights are random and not saved anywhere
        _write(folder / BASE, {"dtype": dtype, "fingerprint": fingerprint(name or "", revision)})
    if config.load_in_4bit:
        form = {key: getattr(config, key) for key in _FORM}
        _write(folder / QUANTIZATION, form)


_FORM = ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")


def base_of(folder: Path, config: ModelConfig) -> ModelConfig:
    """Return the model section that loads an adapter's base in the form it was trained on.

    Args:
        folder: The adapter.
        config: The section as requested; its other settings are kept.

    Raises:
        ModelError: If the base has changed, or cannot be loaded in that form, or a file about it is
            damaged.
    """
    adapter = model_files.read_json(folder / "adapter_config.json")
    if str(begun := adapter.get("init_lora_weights")).startswith("pissa_niter_"):
        raise ModelError(
            f"adapter {str(folder)!r} needs what {begun} left of its base, and that SVD is "
            "random; give the model/ of its run, which works on the base itself"
        )
    name, revision = adapter["base_model_name_or_path"], adapter.get("revision")
    changes: dict[str, Any] = {"name_or_path": name, "revision": revision}
    if (folder / QUANTIZATION).is_file():
        form = model_files.read_json(folder / QUANTIZATION)
        changes |= {key: form[key] for key in _FORM if key in form}
    trained_on = recorded(folder).get("fingerprint")
    if trained_on is not None:
        model_files.read_config(name, revision)  # downloads the base if it is on the hub
        found = fingerprint(name, revision)
        if found is not None and found != trained_on:
            raise ModelError(
                f"base model {name!r} has changed since adapter {str(folder)!r} was trained on it "
                f"(fingerprint {found}, then {trained_on}); restore the original base, or train "
                "the adapter again"
            )
    return ModelConfig.model_validate({**config.model_dump(), **changes})


def base_note(name: str, revision: str | None = None) -> str | None:
    """Return a line on an adapter's base and whether it is certain to be the right one, or None."""
    folder = adapter_folder(name, revision)
    if folder is None:
        return None
    base = model_files.read_json(folder / "adapter_config.json")["base_model_name_or_path"]
    known = recorded(folder).get("fingerprint")
    if known is None:
        return f"adapter on {base}; no {BASE} shows whether it was trained on exactly these weights"
    return f"adapter on {base}, whose weights are the ones it was trained on ({known})"


def recorded(folder: Path) -> dict[str, Any]:
    """Return ``base.json`` of an adapter; empty for an adapter made elsewhere."""
    return dict(model_files.read_json(folder / BASE)) if (folder / BASE).is_file() else {}


def fingerprint(name: str, revision: str | None = None) -> str | None:
    """Return 16 hex digits that change with a model's weights, however they are split into files.

    Each tensor's name, dtype, shape and three blocks of 4 KiB are hashed, which is instant at any
    size and distinguishes any two trainings.

    Returns:
        The fingerprint; None where no safetensors file of the model is on this machine.
    """
    folder = model_files.local_folder(name, revision)
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        with path.open("rb") as file:
            header = weight_files.read_header(path)
            length = int.from_bytes(file.read(8), "little")
            for tensor, facts in header.items():
                start, end = facts["data_offsets"]
                digest = hashlib.sha256(json.dumps([facts["dtype"], facts["shape"]]).encode())
                for offset in sorted({start, (start + end) // 2, max(start, end - _BLOCK)}):
                    file.seek(8 + length + offset)
                    digest.update(file.read(min(_BLOCK, end - offset)))
                found[tensor] = digest.digest()
    if not found:
        return None
    whole = hashlib.sha256()
    for tensor, part in sorted(found.items()):
        whole.update(tensor.encode() + b"\0" + part)
    return whole.hexdigest()[:16]


def _lasting(config: ModelConfig) -> tuple[str | None, str | None]:
    """Return the name and revision by which to find a base again."""
    name = config.name_or_path
    if name is None or name == model_files.TINY_BASE:
        return name, None
    folder = Path(model_files.resolve(name))
    if folder.is_dir():
        return str(folder.absolute()), None
    cached = model_files.local_folder(name, config.revision)
    return name, cached.name if cached else config.revision


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
