"""Names that Transformers knows, for checking a recipe before training.

They are read from its source: importing it takes seconds, and a typo should be reported at once.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
from pathlib import Path

OPTIMIZER_PACKAGES = {
    "adamw_anyprecision": "torchdistx",
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "adamw_torch_npu_fused": "torch_npu",
    "adamw_torch_xla": "torch_xla",
    "adalomo": "lomo_optim",
    "apollo": "apollo_torch",
    "galore": "galore_torch",
    "grokadamw": "grokadamw",
    "lomo": "lomo_optim",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
}
"""Prefix of an optimiser's name → the module it needs that mathtune does not install."""

ATTENTION_PACKAGES = {
    "flash_attention_2": "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}
"""Attention kernel → the package that it needs; where ``kernels`` is installed, Transformers uses
one from the hub instead."""

OWN_GROUPS = ("adalomo", "apollo", "galore", "lomo")
"""Prefixes of optimisers that build their own parameter groups, as LoRA+ needs to."""


@functools.cache
def optimizers() -> tuple[str, ...]:
    """Return the names for ``train.optim``."""
    return _values("training_args.py", "OptimizerNames")


@functools.cache
def schedules() -> tuple[str, ...]:
    """Return the names for ``train.lr_scheduler_type``."""
    return _values("trainer_utils.py", "SchedulerType")


def package_of(optimizer: str) -> str | None:
    """Return the module that an optimiser needs but is not installed, if any."""
    for beginning, module in OPTIMIZER_PACKAGES.items():
        if optimizer.startswith(beginning) and importlib.util.find_spec(module) is None:
            return module
    return None


def package_of_attention(kernel: str | None) -> str | None:
    """Return the package that an attention kernel needs but is not installed, if any."""
    package = "kernels" if "/" in (kernel or "") else ATTENTION_PACKAGES.get(kernel or "")
    return None if package is None or any(map(_is_installed, (package, "kernels"))) else package


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _values(file: str, enum: str) -> tuple[str, ...]:
    """Return the values of an enum of strings in one of Transformers' files."""
    spec = importlib.util.find_spec("transformers")  # finds a package without running it
    assert spec is not None and spec.origin is not None  # a dependency
    source = Path(spec.origin).with_name(file).read_text(encoding="utf-8")
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == enum
    )
    return tuple(
        item.value.value
        for item in found.body
        if isinstance(item, ast.Assign)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )
