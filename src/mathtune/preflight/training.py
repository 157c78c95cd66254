"""What would stop a training: unknown names, missing packages, incompatible settings."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mathtune import ranks
from mathtune.config.schema import Recipe, TrainConfig
from mathtune.errors import MathtuneError, did_you_mean
from mathtune.models.files import read_config


def training_faults(recipe: Recipe) -> Iterator[str]:
    """Check names that belong to Transformers against its own lists."""
    from mathtune.config import hf_names as names

    train, answer = recipe.train, recipe.eval.max_new_tokens
    for key, value, known in (
        ("train.optim", train.optim, names.optimizers()),
        ("train.lr_scheduler_type", train.lr_scheduler_type, names.schedules()),
    ):
        if value.startswith(names.UNSUPPORTED_OPTIMIZERS):
            yield (
                f"{key}={value} is not supported: it needs more of a training loop than a call "
                "per step; set train.optim=adamw_torch or another optimiser"
            )
        elif value not in known:
            longer = [name for name in known if value and name.startswith(value)]
            yield f"{key}={value} is unknown; give {_listed(longer or known)}" + did_you_mean(
                value, known
            )
    if package := names.package_of(train.optim):
        yield (
            f"train.optim={train.optim} needs the package {package}, which is not installed; "
            "install it or set train.optim=adamw_torch"
        )
    if train.use_liger_kernel and importlib.util.find_spec("liger_kernel") is None:
        yield (
            "train.use_liger_kernel=true needs the package liger-kernel, which is not installed; "
            "run pip install liger-kernel or set train.use_liger_kernel=false"
        )
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")
    if train.torch_compile and not any(map(shutil.which, compilers)):
        yield (
            "train.torch_compile=true needs a C++ compiler, and there is none; install g++ or set "
            "train.torch_compile=false"
        )
    if train.objective in ("dpo", "verifier"):
        samples = getattr(recipe, train.objective).samples
        if samples is not None and not Path(samples).is_file():
            yield f"{train.objective}.samples={samples} does not exist; check the path"
    yield from _teacher_faults(recipe)
    if recipe.eval.engine != "hf":
        then = {
            "vllm": "mathtune eval RUN_DIR/model --engine vllm",
            "ray": "mathtune eval RUN_DIR/model --engine ray",
            "openai": "serve RUN_DIR/model and measure it by mathtune eval --engine openai",
        }[recipe.eval.engine]
        yield (
            f"eval.engine={recipe.eval.engine} in a recipe that trains: the model in training is "
            "in this process, and base and tuned must be measured alike; set eval.engine=hf, or "
            f"use mathtune train and then {then}"
        )
    if answer >= train.max_length:
        yield (
            f"eval.max_new_tokens={answer} is not below train.max_length={train.max_length}, so "
            "answers could be longer than anything trained on; raise train.max_length or lower "
            "eval.max_new_tokens"
        )


def _teacher_faults(recipe: Recipe) -> Iterator[str]:
    if (teacher := recipe.gkd.teacher_model_name_or_path) is not None:
        try:
            read_config(teacher, recipe.gkd.teacher_revision)
        except MathtuneError as error:
            yield from (f"gkd.teacher_model_name_or_path: {fault}" for fault in error.faults)


def tracker_faults(recipe: Recipe) -> Iterator[str]:
    """Check that the packages of the requested trackers are installed."""
    from mathtune.tracking.setup import missing_packages

    yield from missing_packages(recipe.tracking.report_to)


def sharding_faults(recipe: Recipe) -> Iterator[str]:
    """Check for what does not work when weights are sharded, as launcher or recipe requests."""
    how = ranks.sharding() or ("FSDP" if recipe.train.fsdp else None)
    if how is None:
        return
    yield from _fsdp_faults(recipe.train)
    samples, optimizer = recipe.train.exact_match_samples, recipe.train.optim
    if recipe.train.objective in ("grpo", "gkd"):
        yield (
            f"train.objective={recipe.train.objective} under {how}: to sample answers, each rank "
            "needs the whole model; launch without it"
        )
    if samples:
        yield (
            f"train.exact_match_samples={samples} under {how}: to solve problems, each rank needs "
            "the whole model; set train.exact_match_samples=0 or launch without it"
        )
    if recipe.model.load_in_4bit:
        yield (
            f"model.load_in_4bit=true under {how}: 4-bit weights cannot be sharded; "
            "launch without it, so that each rank holds them all"
        )
    if optimizer.startswith("paged_") or optimizer.endswith("bit"):
        yield (
            f"train.optim={optimizer} under {how}: bitsandbytes' optimisers work on whole weights; "
            "set train.optim=adamw_torch"
        )
    if how == "FSDP" and optimizer == "adafactor":
        yield (
            "train.optim=adafactor under FSDP: its means over rows and columns need whole weights; "
            "set train.optim=adamw_torch"
        )
    if how == "DeepSpeed" and recipe.train.non_finite == "skip":
        yield (
            "train.non_finite=skip under DeepSpeed: its engine has changed the weights before the "
            "gradient can be looked at; set train.non_finite=stop"
        )
    if ranks.sharding() == "FSDP" and os.environ.get("FSDP_VERSION") != "2":
        yield "fsdp_version in accelerate's configuration is not 2; set fsdp_version: 2"
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false").lower() == "true":
        yield (
            "fsdp_cpu_ram_efficient_loading in accelerate's configuration is true, and every rank "
            "reads its share itself in training and needs all weights to measure; set it to false"
        )


def _fsdp_faults(train: TrainConfig) -> Iterator[str]:
    """Check ``train.fsdp`` against the launcher and the number of processes."""
    count, size = ranks.world_size(), train.dp_shard_size
    if size is not None and train.fsdp != "hybrid_shard":
        yield (
            f"train.dp_shard_size={size} without train.fsdp=hybrid_shard would do nothing; set "
            "train.fsdp=hybrid_shard or leave it out"
        )
    if train.fsdp and ranks.sharding() == "DeepSpeed":
        yield f"train.fsdp={train.fsdp} and a launcher that asks for DeepSpeed; leave one out"
    if train.fsdp == "hybrid_shard" and count > 1:
        group = size or ranks.local_world_size()
        if count % group:
            yield (
                f"train.fsdp=hybrid_shard: {count} processes cannot be divided into groups of "
                f"{group}; set train.dp_shard_size to a divisor of {count}"
            )
        elif group == 1:
            yield (
                "train.fsdp=hybrid_shard in groups of 1 process: nothing would be shared; leave "
                "train.fsdp out for DDP, or set train.dp_shard_size"
            )


def _listed(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0]
